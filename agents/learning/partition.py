"""Who gets which samples in an experiment, and what is held out. Owns index sets only: seeded, disjoint,
reproducible.

`numpy.random.RandomState` throughout: its streams are frozen for ever, so workers with different numpy
versions draw disjoint parts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from agents.learning.failure import Failure

Indices = NDArray[np.int64]
Kind = Literal["iid", "dirichlet", "shards", "size"]

_TRIES = 1000


@dataclass(frozen=True, slots=True)
class Partition:
    """Part `index` of `of`. `alpha`: Dirichlet concentration; `labels_per_worker`: for shards; `shares`:
    relative sizes, one per worker."""

    kind: Kind
    index: int
    of: int
    seed: int
    alpha: float = 0.5
    labels_per_worker: int = 2
    shares: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class HoldOut:
    """How much of a part is kept for validation: `share` of it, but at least `least` and at most `most`
    samples."""

    share: float = 0.25
    least: int = 50
    most: int = 2000


def parts(labels: NDArray[Any], plan: Partition) -> list[Indices]:
    """All `plan.of` parts: disjoint ascending indices into `labels` [N]; every sample belongs to exactly one
    part, except that shards leave out labels nobody was given. Raises `Failure("data")` if somebody would get
    nothing."""
    rng = np.random.RandomState(plan.seed % 2**32)
    match plan.kind:
        case "iid":
            drawn = _by_size(rng, len(labels), [1.0] * plan.of)
        case "size":
            drawn = _by_size(rng, len(labels), plan.shares or tuple(range(1, plan.of + 1)))
        case "dirichlet":
            drawn = _dirichlet(rng, labels, plan)
        case "shards":
            drawn = _shards(rng, labels, plan)
        case _:
            assert_never(plan.kind)
    if any(part.size == 0 for part in drawn):
        raise Failure(
            "data",
            f"{plan.kind} partition of {len(labels)} samples leaves a worker of {plan.of} without any",
            "use fewer workers or another partition",
        )
    return [np.sort(part) for part in drawn]


def everything(total: int) -> Indices:
    """All indices of `total` samples."""
    return np.arange(total, dtype=np.int64)


def part(labels: NDArray[Any], plan: Partition | None) -> Indices:
    """This worker's indices; all of them without a plan."""
    return everything(len(labels)) if plan is None else parts(labels, plan)[plan.index]


def hold_out(own: Indices, rule: HoldOut, seed: int) -> tuple[Indices, Indices]:
    """Splits a worker's indices into (train, validation). Raises `Failure("data")` if nothing would be left
    to train on."""
    count = min(max(round(len(own) * rule.share), rule.least), max(rule.most, rule.least))
    if count >= len(own):
        raise Failure(
            "data",
            f"{len(own)} samples are too few to hold out {count} for validation",
            "use fewer workers, more data or a smaller validation_min",
        )
    order = np.random.RandomState((seed + 0x5EED) % 2**32).permutation(len(own))
    return np.sort(own[order[count:]]), np.sort(own[order[:count]])


def test_part(total: int, share: float) -> tuple[Indices, Indices]:
    """Splits a data set that has no test part of its own into (pool, test), the same for everybody."""
    order = np.random.RandomState(20_000).permutation(total)
    count = round(total * share)
    return np.sort(order[count:]), np.sort(order[:count])


def from_settings(settings: Mapping[str, Any] | None) -> Partition | None:
    """The plan that a setup request describes. Raises `Failure("data")` for anything that makes no sense."""
    if settings is None:
        return None
    unknown = set(settings) - {"kind", "index", "of", "seed", "alpha", "labels_per_worker", "shares"}
    if unknown:
        raise _bad(f"unknown keys {', '.join(sorted(unknown))}")
    try:
        plan = Partition(
            settings["kind"],
            int(settings["index"]),
            int(settings["of"]),
            int(settings.get("seed") or 0),
            float(settings.get("alpha") or 0.5),
            int(settings.get("labels_per_worker") or 2),
            tuple(float(share) for share in settings.get("shares") or ()),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _bad(f"{type(error).__name__}: {error}") from error
    if plan.kind not in ("iid", "dirichlet", "shards", "size"):
        raise _bad(f"kind {plan.kind!r}")
    if not 0 <= plan.index < plan.of:
        raise _bad(f"part {plan.index} of {plan.of}; parts count from 0")
    if not 0.0 < plan.alpha < 1e6 or plan.labels_per_worker < 1:
        raise _bad("alpha and labels_per_worker must be positive")
    if plan.shares and (len(plan.shares) != plan.of or not all(0.0 < share < float("inf") for share in plan.shares)):
        raise _bad(f"shares must be {plan.of} positive numbers")
    return plan


def _bad(why: str) -> Failure:
    return Failure(
        "data",
        f"the partition cannot be used: {why}",
        "give kind (iid, dirichlet, shards or size), index, of and seed",
    )


def _by_size(rng: np.random.RandomState, total: int, shares: Sequence[float]) -> list[Indices]:
    edges = np.rint(np.cumsum(np.array(shares) / sum(shares)) * total).astype(np.int64)
    return np.split(rng.permutation(total), edges[:-1])


def _dirichlet(rng: np.random.RandomState, labels: NDArray[Any], plan: Partition) -> list[Indices]:
    """Hsu et al. 2019: of each label, shares drawn from Dir(alpha). Drawn again until everybody has a tenth
    of an equal share."""
    least = max(1, len(labels) // (10 * plan.of))
    for _ in range(_TRIES):
        drawn: list[list[Indices]] = [[] for _ in range(plan.of)]
        for label in np.unique(labels):
            members = rng.permutation(np.flatnonzero(labels == label))
            edges = np.rint(np.cumsum(rng.dirichlet([plan.alpha] * plan.of)) * len(members)).astype(np.int64)
            for worker, chunk in enumerate(np.split(members, edges[:-1])):
                drawn[worker].append(chunk)
        joined = [np.concatenate(chunks) for chunks in drawn]
        if min(part.size for part in joined) >= least:
            return joined
    raise Failure(
        "data",
        f"Dirichlet({plan.alpha}) gives one of {plan.of} workers next to nothing, {_TRIES} times in a row",
        "use a larger alpha or fewer workers",
    )


def _shards(rng: np.random.RandomState, labels: NDArray[Any], plan: Partition) -> list[Indices]:
    """McMahan et al. 2017: each worker sees `labels_per_worker` labels; a label's samples are split evenly
    among those who see it."""
    known = rng.permutation(np.unique(labels))
    width = min(plan.labels_per_worker, len(known))
    sees = [{int(known[(worker * width + k) % len(known)]) for k in range(width)} for worker in range(plan.of)]
    drawn: list[list[Indices]] = [[] for _ in range(plan.of)]
    for label in known:
        holders = [worker for worker in range(plan.of) if int(label) in sees[worker]]
        if holders:
            members = rng.permutation(np.flatnonzero(labels == label))
            for worker, chunk in zip(holders, np.array_split(members, len(holders)), strict=True):
                drawn[worker].append(chunk)
    return [np.concatenate(chunks) for chunks in drawn]
