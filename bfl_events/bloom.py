"""What a header's bloom says about its block's logs: a no is certain, a yes is not (yellow paper, 4.3.1).

Owns the bits. Reads no chain.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from bfl_events.keccak import keccak256

_BITS: Final = 2048
_TELLING: Final = _BITS // 8
"""So full, three bits of anything are set by chance in one block of five hundred; fuller, a yes says too little."""


def may_hold(bloom: bytes, *items: bytes) -> bool:
    """False only if no log of the block has all of these as its address or topics."""
    bits = int.from_bytes(bloom, "big")
    return all(bits & mask == mask for mask in map(_mask, items))


def hides(bloom: bytes, shown: Iterable[tuple[bytes, bytes]], emitters: Iterable[bytes], topics: Iterable[bytes]
          ) -> bool:
    """Whether it speaks of logs that are not `shown`, as (emitter, first topic): of an emitter without one, or with
    a first topic that nobody has. A full bloom is not taken at its word."""
    if int.from_bytes(bloom, "big").bit_count() > _TELLING:
        return False
    seen, said = {emitter for emitter, _ in shown}, {topic for _, topic in shown}
    there = [emitter for emitter in emitters if may_hold(bloom, emitter)]
    return any(emitter not in seen for emitter in there) or (
        bool(there) and any(topic not in said and may_hold(bloom, topic) for topic in topics))


@lru_cache(maxsize=8192)
def _mask(item: bytes) -> int:
    digest, mask = keccak256(item), 0
    for place in (0, 2, 4):
        mask |= 1 << (int.from_bytes(digest[place:place + 2], "big") & (_BITS - 1))
    return mask
