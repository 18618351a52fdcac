"""What survives a kill: one machine's databases, in memory but durable from the agent's point of view.

Owns the difference between a process's connection, which ends with it, and the database, which does not. A statement
that was committed stays; an open transaction is rolled back.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from tests.simulation.shortcut import Notebook

_SPARE: dict[tuple[str, str], list[Spare]] = {}
"""By owner and name: databases of earlier runs, empty again. Making tables and preparing statements costs more than all
that a run does with them."""


class Spare:
    """A database and what was in its tables when they had just been made."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.database = database
        self._rows = {table: self._all(f"SELECT * FROM {table}") for (table,) in self._all(
            "SELECT name FROM sqlite_master WHERE type = 'table'")}

    def clear(self) -> None:
        """As it was then."""
        if self.database.in_transaction:
            self.database.execute("ROLLBACK")
        for table, rows in self._rows.items():
            self.database.execute(f"DELETE FROM {table}")
            for row in rows:
                self.database.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)

    def _all(self, query: str) -> list[tuple[Any, ...]]:
        return self.database.execute(query).fetchall()


class Disk:
    """The databases below one folder."""

    def __init__(self, folder: Path, owner: str) -> None:
        self.folder, self._owner = folder, owner
        self.notebook = Notebook()
        self._databases: dict[str, sqlite3.Connection] = {}
        self._spares: dict[str, Spare] = {}
        self._sessions: list[Session] = []

    def connect(self, name: str) -> Session:
        """A process opens a database."""
        if name not in self._databases:
            self._databases[name] = self._new(name)
        session = Session(self._databases[name])
        self._sessions.append(session)
        return session

    def _new(self, name: str) -> sqlite3.Connection:
        if spares := _SPARE.get((self._owner, name)):
            self._spares[name] = spare = spares.pop()
            return spare.database
        return sqlite3.connect(":memory:", isolation_level=None)

    def keep_empty(self) -> None:
        """The tables were just made: the next run can have them."""
        for name, database in self._databases.items():
            if name not in self._spares:
                self._spares[name] = Spare(database)

    def unplug(self) -> None:
        """The process is gone: none of its connections works any more."""
        for session in self._sessions:
            session.end()
        self._sessions.clear()

    def lose(self, name: str) -> None:
        """The file is deleted."""
        if name == "events.sqlite":
            self.notebook = Notebook()
        lost, spare = self._databases.pop(name, None), self._spares.pop(name, None)
        if spare is not None:
            spare.clear()
            _SPARE.setdefault((self._owner, name), []).append(spare)
        elif lost is not None:
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
