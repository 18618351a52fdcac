"""Where records stand: order, blocks, transactions, time. Knows no event."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from bfl_events.schema import Record
from bfl_events.verifying.finding import Finding


def check_places(records: Sequence[Record]) -> Iterator[Finding]:
    """Contradictions between places: logs are ordered, a block has one hash and one time, a transaction one block."""
    tx_blocks: dict[bytes, tuple[int, int]] = {}
    block_of_hash: dict[bytes, tuple[int, int]] = {}
    for number, (before, record) in enumerate(pairwise(records), start=2):
        problem = _follows(before, record)
        if problem:
            yield Finding(number, problem, (number - 1,))
    for number, record in enumerate(records, start=1):
        yield from _same_block(tx_blocks, record.tx, record, number, "its transaction")
        yield from _same_block(block_of_hash, record.block_hash, record, number, "its block hash")


def _follows(before: Record, record: Record) -> str:
    if record.block < before.block:
        return f"block {record.block} comes after block {before.block}"
    if record.time < before.time:
        return f"time runs back from {before.time} to {record.time}"
    if record.block != before.block:
        return ""
    if record.log_index <= before.log_index:
        return f"log {record.log_index} comes after log {before.log_index} of the same block"
    if record.block_hash != before.block_hash:
        return f"block {record.block} has two hashes"
    if record.time != before.time:
        return f"block {record.block} has two times, {before.time} and {record.time}"
    return ""


def _same_block(
    seen: dict[bytes, tuple[int, int]], key: bytes, record: Record, number: int, what: str
) -> Iterator[Finding]:
    block, line = seen.setdefault(key, (record.block, number))
    if block != record.block:
        yield Finding(number, f"block is {record.block}, but {what} stands in block {block}", (line,))
