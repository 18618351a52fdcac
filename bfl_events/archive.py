"""A recorded history, whichever form it has: an export in JSON lines, or an agent's own SQLite log.

Owns telling the two apart. Only reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bfl_events.export import ExportHeader, header_of, read_header, read_lines
from bfl_events.log import EventLog
from bfl_events.schema import Record


@dataclass(frozen=True, slots=True)
class Archive:
    """A history's header, and its records with the number of each: the line of a file, the place in a log."""

    path: Path
    header: ExportHeader
    records: Callable[[], Iterator[tuple[int, Record]]]
    is_export: bool


def open_archive(path: Path | str, *, sealed: bool = True) -> Archive:
    """Raises ExportDamaged, LogError and OSError, also while the records are read."""
    place = Path(path)
    with place.open("rb") as file:
        is_export = file.read(16) != b"SQLite format 3\0"
    if is_export:
        return Archive(place, read_header(place), lambda: read_lines(place, sealed=sealed), is_export)
    with EventLog(place) as log, log.snapshot():
        return Archive(place, header_of(log), lambda: _logged(place), is_export)


def _logged(path: Path) -> Iterator[tuple[int, Record]]:
    with EventLog(path) as log, log.snapshot():
        yield from enumerate(log.records(), start=1)
