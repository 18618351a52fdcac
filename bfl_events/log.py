"""The append-only log of decoded events: rows, known blocks and cursor move in one transaction or not at all.

Owns what a log holds: a prefix of one chain's history, complete up to the cursor, also after a kill at any point.
Does not decide what to follow or when to rewind, and never reads a chain.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Self

from bfl_events.boundaries import Boundary
from bfl_events.codec import CodecError, event_from_json, to_json
from bfl_events.lineage import Ref
from bfl_events.log_file import Identity, LogDamaged, LogError, LogFile, LogTooNew, LogUnwritable, OtherLog
from bfl_events.schema import Address, Record, TaskCreated

__all__ = ["EventLog", "Identity", "LogDamaged", "LogError", "LogTooNew", "LogUnwritable", "OtherLog"]

KEEP_REFS: Final = 256
_COLUMNS: Final = "block, block_hash, time, log_index, tx, emitter, name, fields"
_LAST_INDEX: Final = (1 << 63) - 1
_OVER_WITHOUT: Final = """
    SELECT task FROM event WHERE name = 'TaskEnded' AND task != ? EXCEPT
    SELECT task FROM event WHERE name IN ('TaskCreated', 'WorkerJoined') AND instr(fields, ?)"""


class EventLog:
    """A log in a file, or in memory for ":memory:". One writer; any number of readers, also while it is written.

    With `identity` the file is created if need be, and refused if it is another's. Without, it must exist and is only
    read. Every method raises LogError if the file cannot be used.
    """

    def __init__(self, path: Path | str, identity: Identity | None = None) -> None:
        self._file = LogFile(path, identity)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    @property
    def path(self) -> str:
        return self._file.path

    @property
    def identity(self) -> Identity:
        """What this log is the log of."""
        return self._file.identity()

    @property
    def deployment(self) -> Ref | None:
        """The first block as the chain holds it: tells instances of a development chain apart. None: never read."""
        stored = self._file.meta().get("deployment")
        return None if stored is None else Ref(self.identity.start_block, bytes.fromhex(stored))

    def anchor(self, start: Ref) -> None:
        """Note the hash of the first block. Raises ValueError unless the log is empty and it is that block."""
        if self.cursor() is not None or start.number != self.identity.start_block:
            raise ValueError("only an empty log is anchored, at its first block")
        with self._file.transaction(Boundary.LOG_ANCHOR, durable=True):
            self._file.put_meta("deployment", start.hash.hex())

    def cursor(self) -> Ref | None:
        """The block up to which the log is complete; None while nothing was read."""
        row = self._file.execute("SELECT number, hash FROM ref ORDER BY number DESC LIMIT 1").fetchone()
        return None if row is None else Ref(*row)

    def refs(self) -> list[Ref]:
        """All known blocks, ascending: the first, the last that were read, and every block that holds an event."""
        rows = self._file.execute("SELECT number, hash FROM ref UNION SELECT block, block_hash FROM event ORDER BY 1")
        known, start = [Ref(*row) for row in rows], self.deployment
        return [start, *known] if known and start is not None and start.number < known[0].number else known

    def append(self, records: Sequence[Record], end: Ref) -> None:
        """Add what the blocks after the cursor up to and including `end` hold, and move the cursor there.

        Raises ValueError if the records are not in order, repeat a place or lie outside those blocks.
        """
        _check(records, self.cursor(), end)
        # An empty advance may be lost with the power: it is read again. Not waiting for the disk saves milliseconds.
        with self._file.transaction(Boundary.LOG_APPEND, durable=bool(records)):
            self._file.execute_many("INSERT INTO event VALUES (?,?,?,?,?,?,?,?,?)", [_row(one) for one in records])
            self._file.execute("INSERT INTO ref VALUES (?,?)", (end.number, end.hash))
            self._file.execute(
                "DELETE FROM ref WHERE number <= (SELECT number FROM ref ORDER BY number DESC LIMIT 1 OFFSET ?)",
                (KEEP_REFS,),
            )

    def rewind(self, to: int | None) -> None:
        """Forget everything after block `to`; None forgets all. Raises ValueError if that block is not known."""
        with self._file.transaction(Boundary.LOG_REWIND, durable=True):
            if to is None:
                self._file.execute("DELETE FROM meta WHERE key = 'deployment'")
                kept = -1
            else:
                known = next((ref for ref in self.refs() if ref.number == to), None)
                if known is None:
                    raise ValueError(f"block {to} is not known")
                self._file.execute("INSERT OR IGNORE INTO ref VALUES (?,?)", (known.number, known.hash))
                kept = to
            self._file.execute("DELETE FROM event WHERE block > ?", (kept,))
            self._file.execute("DELETE FROM ref WHERE number > ?", (kept,))

    def records(self, task: Address | None = None, after: tuple[int, int] | None = None) -> Iterator[Record]:
        """The records in the chain's order: all, or one task's (its `TaskCreated` included), and only those after a
        (block, log index)."""
        block, index = (-1, _LAST_INDEX) if after is None else after
        if task is None:
            return self._select("(block, log_index) > (?, ?)", (block, index))
        return self._select("task = ? AND (block, log_index) > (?, ?)", (task, block, index))

    def records_concerning(self, account: Address, task: Address | None = None) -> Iterator[Record]:
        """As `records`, without the ended tasks in which this account never had a part, as requester or as worker:
        nothing is left to decide there. `task` is read in any case."""
        return self._select(f"task NOT IN ({_OVER_WITHOUT})", (task or "", account))

    def creations(self) -> Iterator[Record]:
        """The `TaskCreated` records, in order."""
        return self._select("name = ?", (TaskCreated.__name__,))

    def snapshot(self) -> AbstractContextManager[None]:
        """Reads inside the `with` see one state of the log, whatever is written meanwhile."""
        return self._file.snapshot()

    def _select(self, where: str, values: Sequence[Any]) -> Iterator[Record]:
        rows = self._file.execute(f"SELECT {_COLUMNS} FROM event WHERE {where} ORDER BY block, log_index", values)
        while True:
            with self._file.explained():
                batch = rows.fetchmany(500)
            if not batch:
                return
            yield from self._decoded(batch)

    def _decoded(self, rows: Sequence[tuple[Any, ...]]) -> list[Record]:
        try:
            bodies = json.loads("[" + ",".join([row[7] for row in rows]) + "]")   # one parse for all: twice as fast
            return [
                Record(block, block_hash, time, index, tx, emitter, event_from_json(name, body))
                for (block, block_hash, time, index, tx, emitter, name, _), body in zip(rows, bodies, strict=True)
            ]
        except (json.JSONDecodeError, CodecError) as error:
            raise LogError(f"{self.path} is damaged ({error}). Remove it: it is read anew from the chain.") from None


def _row(record: Record) -> tuple[Any, ...]:
    event = record.event
    task = event.task if isinstance(event, TaskCreated) else record.emitter
    body = json.dumps(to_json(event), separators=(",", ":"))
    return (record.block, record.log_index, record.block_hash, record.time, record.tx, record.emitter, task,
            type(event).__name__, body)


def _check(records: Sequence[Record], cursor: Ref | None, end: Ref) -> None:
    place = (-1, _LAST_INDEX) if cursor is None else (cursor.number, _LAST_INDEX)
    if end.number <= place[0]:
        raise ValueError(f"block {end.number} is not after the cursor at {place[0]}")
    for record in records:
        if (record.block, record.log_index) <= place or record.block > end.number:
            raise ValueError(f"log {record.log_index} of block {record.block} is out of place")
        if record.block == end.number and record.block_hash != end.hash:
            raise ValueError(f"log {record.log_index} of block {record.block} is from another block {end.number}")
        place = (record.block, record.log_index)
