"""The audit model of PROTOCOL 3.1: a point between the first model and the last, that nobody can know before
Score begins. Numpy only."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.learning import weights
from agents.learning.exact import check_arithmetic
from agents.learning.layout import read_layout
from agents.learning.weights import Mapped

_TILE = 1 << 18


def write_audit_model(genesis: Path, base: Path, beta: float, out: Path) -> tuple[str, int]:
    """w = G₀ + β·(G − G₀), elementwise in float64, cast to float32; other tensors from G. Returns (SHA-256 as
    hex, bytes).

    β = (seed mod 401) / 1000. Raises `Failure("model")` unless both files are valid models of one layout.
    """
    check_arithmetic()
    layout = read_layout(genesis)
    first, last = weights.demand(genesis, layout), weights.demand(base, layout)
    return weights.write(out, layout, _values(first, last, beta))


def _values(first: Mapped, last: Mapped, beta: float) -> Iterator[NDArray[Any]]:
    yield last.values("I64")
    origin, target = first.floats, last.floats
    for start in range(0, origin.size, _TILE):
        stop = min(start + _TILE, origin.size)
        ground = origin[start:stop].astype(np.float64)
        moved = np.subtract(target[start:stop].astype(np.float64), ground)
        np.multiply(moved, np.float64(beta), out=moved)
        np.add(ground, moved, out=moved)
        yield moved.astype("<f4")
        first.release(start, stop)
        last.release(start, stop)
    yield last.values("U8")
    yield last.values("BOOL")
