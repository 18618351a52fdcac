"""The first difference between two histories of the same chain, such as two agents' logs.

Owns the comparison only. A history that was recorded for longer is not different: blocks that one of the two has not
read are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from bfl_events.archive import Archive
from bfl_events.export import record_json
from bfl_events.schema import Address, Record, TaskCreated


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two histories part: `what` in words, and the lines with their records (None: that side has none)."""

    what: str
    line_a: int | None = None
    line_b: int | None = None
    record_a: Record | None = None
    record_b: Record | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """`difference` None: equal in `events` events up to block `to_block`, the last that both have read."""

    events: int
    to_block: int
    difference: Difference | None


def compare(a: Archive, b: Archive, task: Address | None = None) -> Comparison:
    """Compare event by event, all or one task's. Raises what reading the archives raises."""
    to_block = min(a.header.end.number, b.header.end.number)
    for name in ("chain_id", "factory"):
        mine, theirs = getattr(a.header, name), getattr(b.header, name)
        if mine != theirs:
            return Comparison(0, to_block, Difference(f"{name.replace('_', ' ')} {mine} and {theirs}"))
    events = 0
    for (line_a, one), (line_b, other) in zip_longest(
        _up_to(a, to_block, task), _up_to(b, to_block, task), fillvalue=(None, None)
    ):
        if one != other:
            what = _what(one, other)
            return Comparison(events, to_block, Difference(what, line_a, line_b, one, other))
        events += 1
    if a.header.end.number == b.header.end.number and a.header.end.hash != b.header.end.hash:
        return Comparison(events, to_block, Difference(f"block {to_block}, which holds no event, has two hashes"))
    return Comparison(events, to_block, None)


def _up_to(archive: Archive, block: int, task: Address | None) -> Iterator[tuple[int | None, Record | None]]:
    for line, record in archive.records():
        if record.block <= block and task in (None, task_of(record)):
            yield line, record


def task_of(record: Record) -> Address:
    """The task that a record is about, also the factory's announcement of it."""
    return record.event.task if isinstance(record.event, TaskCreated) else record.emitter


def _what(a: Record | None, b: Record | None) -> str:
    if a is None or b is None:
        present, side = (b, "B") if a is None else (a, "A")
        assert present is not None
        return f"only {side} has {type(present.event).__name__} in block {present.block}"
    if type(a.event) is not type(b.event):
        return f"{type(a.event).__name__} in block {a.block} and {type(b.event).__name__} in block {b.block}"
    parts = dict(_flat(record_json(a))), dict(_flat(record_json(b)))
    unequal = [name for name in parts[0] if parts[0][name] != parts[1].get(name)]
    shown = "; ".join(f"{name} {parts[0][name]} and {parts[1].get(name)}" for name in unequal[:8])
    return f"{type(a.event).__name__} in block {a.block}: {shown}"


def _flat(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, item in value.items():
        if isinstance(item, dict):
            yield from _flat(item, f"{name}.")
        else:
            yield prefix + name, item
