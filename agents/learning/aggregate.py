"""Averaging that gives every honest worker the same bytes (PROTOCOL 5), streamed chunk by chunk into a new file.

Owns the rules. Only elementwise IEEE operations in numpy, each its own, in ascending order of index; `exact`
says why that matters.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from agents.learning import weights
from agents.learning.exact import (
    F32,
    F64,
    Workspace,
    check_arithmetic,
    distance,
    lower_median,
    squared_distance,
)
from agents.learning.layout import read_layout
from agents.learning.weights import Mapped

Rule = Literal["clipped-mean", "mean", "trimmed-mean", "median", "multi-krum"]

_BLOCK = 1 << 18
_TILE = 1 << 15
_SORT_BUDGET = 1 << 20


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The new model's SHA-256 and bytes; `norms` = ‖w − G‖ by ascending index (clipped-mean only, else empty);
    `clipped` and `left_out` hold the indices that were scaled down or, by multi-krum, not averaged."""

    hash: str
    bytes: int
    norms: tuple[float, ...] = ()
    clipped: tuple[int, ...] = ()
    left_out: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one pass over the values needs: which models (positions), the factor c_i of each, and how many
    extremes of each element fall away on either side (None: no sorting)."""

    kept: Sequence[int]
    factors: Sequence[float]
    trim: int | None = None
    norms: tuple[float, ...] = ()


def aggregate(base: Path, models: Mapping[int, Path], out: Path, rule: Rule, trim: int = 1) -> Aggregate:
    """Averages `models` (index -> file) around `base` and writes `out`; without models, `out` equals `base`.

    `trim` is the number b of members a robust rule withstands; it is lowered to what the number of models
    carries (trimmed-mean 2b + 1, multi-krum 2b + 3). Raises `Failure("model")` for a file that is not valid,
    `Inexact` where this thread cannot compute exactly.
    """
    check_arithmetic()
    layout = read_layout(base)
    ground = weights.demand(base, layout)
    order = sorted(models)
    opened = [weights.demand(models[index], layout) for index in order]
    space = Workspace()
    plan = _plan(rule, trim, ground, opened, space)
    digest, size = weights.write(out, layout, _new_values(ground, opened, plan, space))
    return Aggregate(
        digest,
        size,
        plan.norms,
        clipped=tuple(order[k] for k, c in zip(plan.kept, plan.factors, strict=True) if c != 1.0),
        left_out=tuple(index for k, index in enumerate(order) if k not in plan.kept),
    )


def _plan(rule: Rule, trim: int, ground: Mapped, opened: Sequence[Mapped], space: Workspace) -> _Plan:
    everyone, ones = range(len(opened)), [1.0] * len(opened)
    match rule:
        case "mean":
            return _Plan(everyone, ones)
        case "clipped-mean":
            norms = [distance(m.floats, ground.floats, space, weights.releasing(m, ground)) for m in opened]
            return _Plan(everyone, clip_factors(norms), norms=tuple(norms))
        case "trimmed-mean":
            return _Plan(everyone, ones, min(trim, (len(opened) - 1) // 2))
        case "median":
            return _Plan(everyone, ones, (len(opened) - 1) // 2)
        case "multi-krum":
            kept = krum_selection(opened, trim, space)
            return _Plan(kept, [1.0] * len(kept))
        case _:
            assert_never(rule)


def clip_factors(norms: Sequence[float]) -> list[float]:
    """c_i = 1 if nrm_i ≤ τ else τ / nrm_i, with τ twice the lower median norm."""
    if not norms:
        return []
    tau = 2.0 * lower_median(norms)
    return [1.0 if norm <= tau else tau / norm for norm in norms]


def krum_selection(models: Sequence[Mapped], b: int, space: Workspace) -> list[int]:
    """Positions that multi-Krum keeps, ascending: the n − b with the least sum of squared distances to their
    n − b − 2 nearest.

    Blanchard et al. 2017, with b lowered to (n − 3) // 2; ties go to the lower index. Up to two models are
    all kept.
    """
    n = len(models)
    if n < 3:
        return list(range(n))
    b = min(b, (n - 3) // 2)
    apart = [[0.0] * n for _ in range(n)]
    for i in range(n):
        for k in range(i):
            apart[i][k] = apart[k][i] = squared_distance(
                models[i].floats, models[k].floats, space, weights.releasing(models[i], models[k])
            )
    sums: list[float] = []
    for i in range(n):
        total = 0.0
        for square in sorted(apart[i][:i] + apart[i][i + 1 :])[: n - b - 2]:
            total = total + square
        sums.append(total)
    return sorted(sorted(range(n), key=lambda i: (sums[i], i))[: n - b])


def _new_values(ground: Mapped, opened: Sequence[Mapped], plan: _Plan, space: Workspace) -> Iterator[NDArray[Any]]:
    """The new model's data in file order. Integer and boolean buffers: elementwise lower median of all
    models, whatever the rule."""
    yield from _lower_medians("I64", ground, opened)
    floats, sources = ground.floats, [opened[k].floats for k in plan.kept]
    release = weights.releasing(ground, *opened)
    tile = _TILE if plan.trim is None else max(1 << 10, _SORT_BUDGET // max(1, len(sources)))
    for start in range(0, floats.size, _BLOCK):
        stop = min(start + _BLOCK, floats.size)
        block = np.empty(stop - start, dtype="<f4")
        for low in range(start, stop, tile):
            high = min(low + tile, stop)
            block[low - start : high - start] = _averaged(floats[low:high], [s[low:high] for s in sources], plan, space)
        release(start, stop)
        yield block
    yield from _lower_medians("U8", ground, opened)
    yield from _lower_medians("BOOL", ground, opened)


def _averaged(ground: F32, sources: Sequence[F32], plan: _Plan, space: Workspace) -> F32:
    """f32(f64(G) + acc / f64(|A|)), one tile."""
    if not sources:
        return ground
    acc = space.f64("acc", ground.size)
    origin = space.f64("origin", ground.size)
    origin[:] = ground
    count = (
        _sum(acc, origin, sources, plan.factors, space)
        if plan.trim is None
        else _sum_of_middle(acc, origin, sources, plan.trim)
    )
    np.divide(acc, np.float64(count), out=acc)
    np.add(origin, acc, out=acc)
    return acc.astype(np.float32)


def _sum(acc: F64, origin: F64, sources: Sequence[F32], factors: Sequence[float], space: Workspace) -> int:
    """acc = Σ c_i·d_i from 0.0 on, in order; a factor of 1 is not multiplied."""
    difference = space.f64("tile", acc.size)
    acc.fill(0.0)
    for source, factor in zip(sources, factors, strict=True):
        np.subtract(source, origin, out=difference)
        if factor != 1.0:
            np.multiply(difference, np.float64(factor), out=difference)
        np.add(acc, difference, out=acc)
    return len(sources)


def _sum_of_middle(acc: F64, origin: F64, sources: Sequence[F32], trim: int) -> int:
    """acc = sum, ascending from 0.0 on, of the differences left after the `trim` least and greatest of each
    element are gone."""
    differences = np.empty((len(sources), acc.size), dtype=np.float64)
    for row, source in zip(differences, sources, strict=True):
        np.subtract(source, origin, out=row)
    differences.sort(axis=0)
    middle = differences[trim : len(sources) - trim]
    acc.fill(0.0)
    for row in middle:
        np.add(acc, row, out=acc)
    return len(middle)


def _lower_medians(dtype: str, ground: Mapped, models: Sequence[Mapped]) -> Iterator[NDArray[Any]]:
    sources = [m.values(dtype) for m in models] or [ground.values(dtype)]
    for start in range(0, sources[0].size, _TILE):
        ordered = np.sort(np.stack([values[start : start + _TILE] for values in sources]), axis=0)
        yield ordered[(len(sources) - 1) // 2]
