"""What survives a kill: one machine's databases, in memory but durable from the agent's point of view.

Owns the difference between a process's connection, which ends with it, and the database, which does not. A statement
that was committed stays; an open transaction is rolled back.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from tests.simulation.shortcut import Notebook

_EMPTY: dict[tuple[str, str], bytes] = {}


class Disk:
    """The databases below one folder."""

    def __init__(self, folder: Path, owner: str) -> None:
        self.folder, self._owner = folder, owner
        self.notebook = Notebook()
        self._databases: dict[str, sqlite3.Connection] = {}
        self._sessions: list[Session] = []

    def connect(self, name: str) -> Session:
        """A process opens a database."""
        if name not in self._databases:
            self._databases[name] = sqlite3.connect(":memory:", isolation_level=None)
            if (empty := _EMPTY.get((self._owner, name))) is not None:
                self._databases[name].deserialize(empty)
        session = Session(self._databases[name])
        self._sessions.append(session)
        return session

    def keep_empty(self) -> None:
        """Remember the databases as their tables were just created, so that the next run need not create them."""
        for name, database in self._databases.items():
            if (self._owner, name) not in _EMPTY:
                _EMPTY[self._owner, name] = database.serialize()

    def unplug(self) -> None:
        """The process is gone: none of its connections works any more."""
        for session in self._sessions:
            session.end()
        self._sessions.clear()

    def lose(self, name: str) -> None:
        """The file is deleted."""
        if name == "events.sqlite":
            self.notebook = Notebook()
        lost = self._databases.pop(name, None)
        if lost is not None:
            lost.close()

    def copy(self) -> dict[str, bytes]:
        """A backup of all databases."""
        return {name: database.serialize() for name, database in self._databases.items()}

    def restore(self, backup: dict[str, bytes]) -> None:
        """The databases as they were when the backup was made."""
        self.close()
        for name, content in backup.items():
            self._databases[name] = sqlite3.connect(":memory:", isolation_level=None)
            self._databases[name].deserialize(content)

    def query(self, name: str, statement: str) -> list[tuple[Any, ...]]:
        """What a checker wants to know of a database; nothing if it does not exist."""
        database = self._databases.get(name)
        return [] if database is None else database.execute(statement).fetchall()

    def close(self) -> None:
        for name in list(self._databases):
            self.lose(name)


class Session:
    """One connection of one process, with what our code uses of `sqlite3.Connection`."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database: sqlite3.Connection | None = database

    def execute(self, statement: str, values: Any = ()) -> sqlite3.Cursor:
        if statement.startswith("PRAGMA synchronous"):       # memory has no disk to wait for
            statement = "SELECT 1"
        return self._open.execute(statement, values)

    def executemany(self, statement: str, rows: Any) -> sqlite3.Cursor:
        return self._open.executemany(statement, rows)

    @property
    def in_transaction(self) -> bool:
        return self._open.in_transaction

    def close(self) -> None:
        self.end()

    def end(self) -> None:
        """What was not committed is rolled back."""
        if self._database is not None and self._database.in_transaction:
            self._database.execute("ROLLBACK")
        self._database = None

    @property
    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            raise sqlite3.ProgrammingError("the process that opened this database has ended")
        return self._database
