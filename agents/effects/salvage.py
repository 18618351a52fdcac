"""Files of a home that cannot be used: found, moved aside under a name that says so, and named in a sentence.

Owns the finding and the moving. Nothing is deleted; a file that is merely busy, or of a newer version, is not touched.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from bfl_events.boundaries import Boundary, passing

_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_HASHED_BYTES = 512 * 1024**2      # what a power cut damages is new: the newest are read, the older only looked at


def set_aside(path: Path) -> Path:
    """Rename a file, and what SQLite keeps beside it, to `<name>.damaged-<time>`; the new path. Raises OSError."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    target = path.with_name(f"{path.name}.damaged-{stamp}")
    with passing(Boundary.SALVAGE_MOVE):
        for end in ("-wal", "-shm"):
            beside = path.with_name(path.name + end)
            if beside.exists():
                os.replace(beside, target.with_name(target.name + end))
        os.replace(path, target)
    return target


def defect(path: Path) -> str | None:
    """Why this database is damaged; None if it is sound or not there. An empty file is not damaged but lost."""
    if not holds_something(path):
        return None
    try:
        database = sqlite3.connect(path, isolation_level=None)
        try:
            (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
        finally:
            database.close()
    except sqlite3.DatabaseError as error:
        damaged = getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE
        return str(error) if damaged else None
    return None if verdict == "ok" else str(verdict)


def holds_something(path: Path) -> bool:
    """Whether the file is there and not empty."""
    return path.is_file() and path.stat().st_size > 0


def damaged_models(folder: Path, suffix: str) -> Iterator[Path]:
    """Model files whose bytes do not have the hash in their name, newest first; of the oldest only the empty ones."""
    read = 0
    stats = sorted(((path.stat(), path) for path in folder.glob(f"*{suffix}")), key=lambda one: -one[0].st_mtime)
    for stat, path in stats:
        if stat.st_size == 0 or (read < _HASHED_BYTES and _sha256(path) != path.name.removesuffix(suffix)):
            yield path
        read += stat.st_size


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
