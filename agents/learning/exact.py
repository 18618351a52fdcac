"""Arithmetic that is bit-identical on every machine: norms as PROTOCOL 5 folds them, the lower median, and
the check that this thread computes as IEEE 754 says. Numpy on the calling thread only; torch's threads may
flush denormals and never run this."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

T = TypeVar("T")

CHUNK = 1 << 20
"""Elements per partial sum of a norm: part of the protocol, not a tuning knob."""

_PROBE = 1 << 16


class Inexact(RuntimeError):
    """This thread's floating-point unit flushes denormals or rounds differently, so its results would not
    match the others'."""


def check_arithmetic() -> None:
    """Raises `Inexact` unless denormals survive (as operand and as result) and rounding is to nearest, scalar
    and vector lanes alike."""
    double, single = np.full(67, 2.0**-1060), np.full(67, 2.0**-140, dtype=np.float32)
    ones = np.full(67, 1.0)
    as_they_are = (
        _bits(double * 0.5, 1 << 13)
        and _bits(double + double, 1 << 15)
        and _bits(np.full(67, 2.0**-1022) * 0.25, 1 << 50)
        and _bits(single.astype(np.float64), (1023 - 140) << 52)
        and _bits(np.full(67, 2.0**-140).astype(np.float32), 1 << 9)
    )
    to_nearest = (
        _bits(ones + 2.0**-53, 1023 << 52)
        and _bits(ones + 3 * 2.0**-53, (1023 << 52) + 2)
        and _bits(2.0**-53 + ones, 1023 << 52)
    )
    if not (as_they_are and to_nearest):
        raise Inexact("this thread's arithmetic is not IEEE 754 with denormals kept and rounding to nearest")


def _bits(values: NDArray[Any], expected: int) -> bool:
    """Compares as integers: where denormals are flushed, a denormal equals 0."""
    return bool(np.all(values.view(f"i{values.itemsize}") == expected))


class ExactThread:
    """A thread that is started before any foreign code is loaded and runs nothing else: whatever torch or a
    user's code does to the floating-point unit of other threads (flushing denormals is set per thread),
    results here stay those of IEEE 754."""

    __slots__ = ("_pool",)

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="exact")
        self.run(check_arithmetic)

    def run(self, work: Callable[[], T]) -> T:
        """Runs `work` there and waits for it; what it raises is raised here."""
        return self._pool.submit(work).result()


@dataclass(slots=True)
class Workspace:
    """Buffers that are reused from chunk to chunk: fresh pages would cost more than the sums."""

    _buffers: dict[str, NDArray[Any]] = field(default_factory=dict)

    def f64(self, name: str, size: int) -> F64:
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size:
            buffer = self._buffers[name] = np.empty(size, dtype=np.float64)
        return buffer[:size]


def fold(v: F64) -> float:
    """Sum of `v` by halving (PROTOCOL 5); `v` is overwritten. The fold of nothing is 0."""
    if v.size == 0:
        return 0.0
    while v.size > 1:
        half = (v.size + 1) // 2
        low, high = v[:half], v[half:]
        np.add(low[: high.size], high, out=low[: high.size])
        if high.size < half:
            low[-1] += 0.0
        v = low
    return float(v[0])


def squared_distance(a: F32, b: F32, space: Workspace, done: Callable[[int, int], None] | None = None) -> float:
    """‖a − b‖² in float64; `a` and `b` are all float tensors of two models, concatenated in file order.
    `done(start, stop)` follows each chunk."""
    sums: list[float] = []
    for start in range(0, a.size, CHUNK):
        stop = min(start + CHUNK, a.size)
        difference = space.f64("difference", stop - start)
        np.subtract(a[start:stop], b[start:stop], out=difference, dtype=np.float64)
        np.multiply(difference, difference, out=difference)
        sums.append(fold(difference))
        if done is not None:
            done(start, stop)
    return fold(np.array(sums, dtype=np.float64))


def distance(a: F32, b: F32, space: Workspace, done: Callable[[int, int], None] | None = None) -> float:
    """‖a − b‖ of PROTOCOL 5."""
    return float(np.sqrt(np.float64(squared_distance(a, b, space, done))))


def surely_apart(a: F32, b: F32, least: float) -> bool:
    """True only if ‖a − b‖ ≥ `least` already follows from the first elements, by a margin no rounding can
    reach; False says nothing.

    Squares only add up, so a part of the sum that is 4 times what is needed settles the question without
    reading the rest.
    """
    part = a[:_PROBE].astype(np.float64) - b[:_PROBE].astype(np.float64)
    return bool(np.dot(part, part) >= 4.0 * least * least) and least > 0.0


def lower_median(values: Sequence[float]) -> float:
    """Element ⌊(n−1)/2⌋ of the ascending order; `values` is not empty."""
    return sorted(values)[(len(values) - 1) // 2]
