"""A journal's entries with their time, for looking back. Only reads; the journal's agent may be running.

`journal` owns the file and the form of an outcome.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from agents.core.intents import Outcome
from agents.effects.journal import VERSION, decode
from agents.effects.ports import Fatal

NEWER_EXIT, DAMAGED_EXIT = 19, 10


def entries(path: Path) -> list[tuple[float, str, Outcome]]:
    """(when it was written in seconds by the agent's clock, intent key, outcome) as the journal is now, in the order of
    writing, whatever that clock said.

    Raises Fatal for a file of a newer version, or one that is no journal.
    """
    # Without a write-ahead log nobody has it open; a plain reader would then leave an empty one behind.
    how = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=10.0)) as database:
            return list(_entries(path, database))
    except (sqlite3.DatabaseError, KeyError, ValueError) as error:
        raise Fatal(f"{path} cannot be read as a journal: {error}", exit_code=DAMAGED_EXIT) from error


def _entries(path: Path, database: sqlite3.Connection) -> Iterator[tuple[float, str, Outcome]]:
    found = database.execute("PRAGMA user_version").fetchone()[0]
    if found > VERSION:
        raise Fatal(f"{path} was written by a newer bfl-agent (format {found}, this one reads {VERSION}). Install that "
                    "version again to look back with its memory.", exit_code=NEWER_EXIT)
    for key, kind, body, at in database.execute("SELECT key, kind, body, at FROM outcome ORDER BY rowid"):
        yield at, key, decode(kind, json.loads(body))
