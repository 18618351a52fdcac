"""The event log as JSON lines that need no chain: a header, one decoded event per line, a trailer.

Owns the format and its seal. Every line is one JSON object whose last member is `"chain"`: the SHA-256 of the previous
line's chain (32 zero bytes before the first) followed by the line's bytes without that member. Whoever changes, cuts,
repeats or reorders lines breaks it there; who writes the whole file anew is `verify`'s and `compare`'s business. The
same history always gives the same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Final

from bfl_events.boundaries import Boundary, passing
from bfl_events.codec import (
    CodecError,
    address_from_json,
    count_from_json,
    event_from_json,
    hash_from_json,
    to_json,
)
from bfl_events.lineage import Ref
from bfl_events.log import EventLog, LogError
from bfl_events.schema import Address, Record

FORMAT: Final = "bfl-events"
VERSION: Final = 1
LONGEST_LINE: Final = 1 << 20
_SEAL: Final = b',"chain":"'
_SEAL_LENGTH: Final = len(_SEAL) + 64 + len(b'"}')
_GZIP: Final = b"\x1f\x8b"
_MARK: Final = b"\xef\xbb\xbf"


class ExportDamaged(Exception):
    """The file is not what was written: `line` (from 1) is the first that cannot be right."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")
        self.line, self.why = line, why


@dataclass(frozen=True, slots=True)
class ExportHeader:
    """What was exported: the events of the factory and of the tasks that `follow` names, from `start` to `end`."""

    chain_id: int
    factory: Address
    follow: str
    start: Ref
    end: Ref


def header_of(log: EventLog) -> ExportHeader:
    """The header for a log as it stands. Raises LogError if nothing was read yet."""
    identity, start, end = log.identity, log.deployment, log.cursor()
    if start is None or end is None:
        raise LogError(f"{log.path} holds nothing yet: no block was read.")
    return ExportHeader(identity.chain_id, identity.factory, identity.follow, start, end)


def write_export(path: Path | str, log: EventLog) -> int:
    """Write a log to a file, complete or not at all; the number of events. Raises LogError and OSError."""
    target = Path(path)
    part = target.with_name(f"{target.name}.part")
    try:
        with part.open("wb") as out, log.snapshot():
            count = write_records(log.records(), out, header_of(log))
            out.flush()
            os.fsync(out.fileno())
        with passing(Boundary.LOG_EXPORT):
            part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return count


def write_records(records: Iterable[Record], out: BinaryIO, header: ExportHeader) -> int:
    """Write header, records and trailer; the number of records."""
    count, chain = 0, _write(out, _header_json(header), bytes(32))
    for record in records:
        chain = _write(out, record_json(record), chain)
        count += 1
    _write(out, {"count": count}, chain)
    return count


def read_header(path: Path | str) -> ExportHeader:
    """The header of an export. Raises ExportDamaged and OSError."""
    with Path(path).open("rb") as file:
        return _Reader(file, sealed=True).header()


def read_export(path: Path | str) -> Iterator[Record]:
    """The records of an export. Raises ExportDamaged at the first line that cannot be right, and OSError."""
    return (record for _, record in read_lines(path))


def read_lines(path: Path | str, *, sealed: bool = True) -> Iterator[tuple[int, Record]]:
    """The records with their line numbers. `sealed` False takes the records of a file whose seal or order is broken,
    to see what else is wrong with it."""
    with Path(path).open("rb") as file:
        yield from _Reader(file, sealed=sealed).records()


def record_json(record: Record) -> dict[str, Any]:
    """A record as a JSON object, without the seal."""
    return {
        "block": record.block,
        "log_index": record.log_index,
        "time": record.time,
        "block_hash": "0x" + record.block_hash.hex(),
        "tx": "0x" + record.tx.hex(),
        "emitter": record.emitter,
        "event": type(record.event).__name__,
        "fields": to_json(record.event),
    }


def record_from_json(line: dict[str, Any]) -> Record:
    """A record from its JSON object. Raises CodecError."""
    if line.keys() != _RECORD_KEYS:
        raise CodecError(f"an event has {', '.join(sorted(_RECORD_KEYS))}, not {', '.join(map(str, line))}")
    return Record(
        block=count_from_json(line["block"]),
        block_hash=hash_from_json(line["block_hash"]),
        time=count_from_json(line["time"]),
        log_index=count_from_json(line["log_index"]),
        tx=hash_from_json(line["tx"]),
        emitter=address_from_json(line["emitter"]),
        event=event_from_json(str(line["event"]), line["fields"]),
    )


_RECORD_KEYS: Final = {"block", "log_index", "time", "block_hash", "tx", "emitter", "event", "fields"}
_HEADER_KEYS: Final = {"format", "version", "chain_id", "factory", "follow", "from_block", "from_hash", "to_block",
                       "to_hash"}


def _write(out: BinaryIO, line: dict[str, Any], previous: bytes) -> bytes:
    body = json.dumps(line, separators=(",", ":")).encode()
    chain = sha256(previous + body).digest()
    out.write(body[:-1] + _SEAL + chain.hex().encode() + b'"}\n')
    return chain


def _header_json(header: ExportHeader) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "chain_id": header.chain_id,
        "factory": header.factory,
        "follow": header.follow,
        "from_block": header.start.number,
        "from_hash": "0x" + header.start.hash.hex(),
        "to_block": header.end.number,
        "to_hash": "0x" + header.end.hash.hex(),
    }


def _header_from_json(line: dict[str, Any]) -> ExportHeader:
    if line.get("format") != FORMAT:
        raise CodecError("this is no export of bfl-events")
    if line.get("version") != VERSION:
        raise CodecError(f"format version {line.get('version')!r} is not known here, only {VERSION}")
    if line.keys() != _HEADER_KEYS or not isinstance(line["follow"], str):
        raise CodecError(f"a header has {', '.join(sorted(_HEADER_KEYS))}")
    return ExportHeader(
        chain_id=count_from_json(line["chain_id"]),
        factory=address_from_json(line["factory"]),
        follow=line["follow"],
        start=Ref(count_from_json(line["from_block"]), hash_from_json(line["from_hash"])),
        end=Ref(count_from_json(line["to_block"]), hash_from_json(line["to_hash"])),
    )


class _Reader:
    """One pass over an open export, line by line."""

    def __init__(self, file: BinaryIO, *, sealed: bool) -> None:
        self._file, self._sealed = file, sealed
        self._line, self._chain = 0, bytes(32)

    def header(self) -> ExportHeader:
        line = self._next()
        if line is None:
            raise ExportDamaged(1, "the file is empty")
        try:
            return _header_from_json(line)
        except CodecError as error:
            raise ExportDamaged(1, str(error)) from None

    def records(self) -> Iterator[tuple[int, Record]]:
        header = self.header()
        count, last = 0, None
        while (line := self._next()) is not None:
            if "event" not in line:
                self._end(line, count)
                return
            try:
                record = record_from_json(line)
            except CodecError as error:
                raise ExportDamaged(self._line, str(error)) from None
            if self._sealed and (why := _out_of_place(record, last, header)):
                raise ExportDamaged(self._line, why)
            count, last = count + 1, record
            yield self._line, record
        if self._sealed:
            raise ExportDamaged(self._line + 1, f"the file ends after {count} events without a trailer: it was cut")

    def _end(self, line: dict[str, Any], count: int) -> None:
        if line != {"count": count} and self._sealed:
            raise ExportDamaged(self._line, f"neither an event nor a trailer for {count} events")
        if self._file.read(1) and self._sealed:
            raise ExportDamaged(self._line + 1, "there is more after the trailer")

    def _next(self) -> dict[str, Any] | None:
        """The next line without its seal, None at the end of the file."""
        raw = self._file.readline(LONGEST_LINE + 1)
        if not raw:
            return None
        self._line += 1
        if len(raw) > LONGEST_LINE:
            raise ExportDamaged(self._line, f"the line is longer than {LONGEST_LINE} bytes")
        whole, raw = raw.endswith(b"\n"), raw.removesuffix(b"\n")
        body, seal = raw[:-_SEAL_LENGTH] + b"}", raw[-_SEAL_LENGTH:]
        self._chain = sha256(self._chain + body).digest()
        if self._sealed and seal != _SEAL + self._chain.hex().encode() + b'"}':
            raise ExportDamaged(self._line, self._broken(raw))
        if self._sealed and not whole:
            raise ExportDamaged(self._line, "the line lacks its end: the file was cut")
        return self._parsed(body)

    def _broken(self, raw: bytes) -> str:
        if raw.startswith(_GZIP) and self._line == 1:
            return "the file is compressed: unpack it first (gunzip)"
        if raw.endswith(b"\r") or (raw.startswith(_MARK) and self._line == 1):
            return "an editor or a transfer changed how the text is written (line ends, byte order mark)"
        if not raw.endswith(b'"}') or _SEAL not in raw[-_SEAL_LENGTH:]:
            return "the line was cut or is no line of an export"
        return "its hash chain is broken: this line was changed, or one before it removed, repeated or moved"

    def _parsed(self, body: bytes) -> dict[str, Any]:
        try:
            line = json.loads(body)
        except (ValueError, RecursionError):
            line = None
        if not isinstance(line, dict):
            raise ExportDamaged(self._line, "the line is no JSON object")
        return line


def _out_of_place(record: Record, last: Record | None, header: ExportHeader) -> str | None:
    if not header.start.number <= record.block <= header.end.number:
        return f"block {record.block} lies outside the exported blocks {header.start.number} to {header.end.number}"
    if record.block == header.end.number and record.block_hash != header.end.hash:
        return f"block {record.block} has another hash than the header says"
    if last is None or record.block > last.block:
        return None
    if (record.block, record.log_index) <= (last.block, last.log_index):
        return f"log {record.log_index} of block {record.block} does not come after the line before it"
    if (record.block_hash, record.time) != (last.block_hash, last.time):
        return f"block {record.block} has another hash or time than in the line before"
    return None
