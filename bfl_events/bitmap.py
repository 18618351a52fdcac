"""Sets of workers as integers: bit i stands for the worker with index i (PROTOCOL 7.1, without the sentinel).

Owns bit arithmetic only.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from bfl_events.schema import Bitmap

EMPTY = Bitmap(0)


def bit(index: int) -> Bitmap:
    """The set that holds one index."""
    return Bitmap(1 << index)


def size(bitmap: int) -> int:
    """How many indices are in the set."""
    return bitmap.bit_count()


@lru_cache(maxsize=4096)
def members_of(bitmap: int) -> tuple[int, ...]:
    """The indices in the set, ascending. Raises ValueError for a negative number, which is no set."""
    if bitmap < 0:
        raise ValueError(f"{bitmap} is not a bitmap: it is negative")
    found = []
    while bitmap:
        lowest = bitmap & -bitmap
        found.append(lowest.bit_length() - 1)
        bitmap ^= lowest
    return tuple(found)


def bitmap_of(indices: Iterable[int]) -> Bitmap:
    """The set of these indices; repeats do not matter."""
    bitmap = 0
    for index in indices:
        bitmap |= 1 << index
    return Bitmap(bitmap)
