"""Files of a home that cannot be used: found, moved aside under a name that says so, and named in a sentence.

Owns the finding and the moving. Nothing is deleted; a file that is merely busy, or of a newer version, is not touched.
"""

from __future__ import annotations

import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from bfl_events.boundaries import Boundary, passing

_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


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
