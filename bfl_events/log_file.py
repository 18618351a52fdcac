"""The SQLite file below the event log: creating, recognising and refusing it, transactions, errors as sentences.

Owns the tables and the file's identity, not what the rows mean.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from bfl_events.boundaries import Boundary, passing
from bfl_events.schema import Address

SCHEMA_VERSION: Final = 1
_APPLICATION: Final = 0x42464C45   # "BFLE": tells our files from other programs' databases
_TABLES: Final = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
    "CREATE TABLE ref (number INTEGER PRIMARY KEY, hash BLOB NOT NULL) STRICT",
    """CREATE TABLE event (
        block INTEGER NOT NULL, log_index INTEGER NOT NULL, block_hash BLOB NOT NULL, time INTEGER NOT NULL,
        tx BLOB NOT NULL, emitter TEXT NOT NULL, task TEXT NOT NULL, name TEXT NOT NULL, fields TEXT NOT NULL,
        PRIMARY KEY (block, log_index)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX event_by_task ON event (task, block, log_index)",
)


class LogError(Exception):
    """The log cannot be used, and a person has to act: the message says why and what to do."""


class LogUnwritable(LogError):
    """The disk is full or refuses: nothing was written, nothing is lost, and the same call may succeed later."""


class LogTooNew(LogError):
    """A newer version of this program wrote the log."""


class LogDamaged(LogError):
    """The file is no database any more. An agent moves it aside at its next start."""


class OtherLog(LogError):
    """The log belongs to another chain or factory, or follows other tasks."""


_KINDS: Final[Mapping[int, type[LogError]]] = {
    sqlite3.SQLITE_FULL: LogUnwritable, sqlite3.SQLITE_IOERR: LogUnwritable,
    sqlite3.SQLITE_CORRUPT: LogDamaged, sqlite3.SQLITE_NOTADB: LogDamaged,
}


@dataclass(frozen=True, slots=True)
class Identity:
    """What a log is the log of. `start_block` is the factory's deployment block or one shortly before it; `follow`
    says in words which tasks are read, for a log that lacks a task cannot get it by going on."""

    chain_id: int
    factory: Address
    start_block: int
    follow: str = "every task"


class LogFile:
    """One open file. With `identity` it is created if need be, and refused if it is another's; without, only read."""

    def __init__(self, path: Path | str, identity: Identity | None) -> None:
        self.path = str(path)
        if identity is None and not Path(path).is_file():
            raise LogError(f"There is no event log at {path}. Give the path of an agent's events.sqlite.")
        with self.explained():
            self._db = sqlite3.connect(self.path, isolation_level=None, timeout=10.0)
            try:
                self._recognise(identity)
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        self._db.close()

    def execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        with self.explained():
            return self._db.execute(statement, values)

    def execute_many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        self._db.executemany(statement, rows)

    def meta(self) -> dict[str, str]:
        return dict(self.execute("SELECT key, value FROM meta").fetchall())

    def put_meta(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (key, value))

    def identity(self) -> Identity:
        meta = self.meta()
        return Identity(int(meta["chain_id"]), meta["factory"], int(meta["start_block"]), meta["follow"])

    @contextmanager
    def transaction(self, step: Boundary, *, durable: bool) -> Iterator[None]:
        """All or nothing. `durable`: on disk before it returns; else at least there for whoever opens the file next,
        also after a kill."""
        with passing(step), self.explained():
            self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Reads inside see one state of the file, whatever is written meanwhile."""
        self.execute("BEGIN")
        try:
            yield
        finally:
            self.execute("ROLLBACK")

    @contextmanager
    def explained(self) -> Iterator[None]:
        """SQLite's errors as LogError: the disk is full, the file is damaged, another process writes."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            kind = _KINDS.get(_code(error), LogError)
            raise kind(_sentence(self.path, error)) from error

    def _recognise(self, identity: Identity | None) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        application = self._db.execute("PRAGMA application_id").fetchone()[0]
        empty = not self._db.execute("SELECT 1 FROM sqlite_master").fetchone()
        if empty and identity is not None:
            self._create(identity)
        elif empty or application != _APPLICATION:
            raise LogError(f"{self.path} is no event log. It was left as it is; name another file.")
        elif version > SCHEMA_VERSION:
            raise LogTooNew(
                f"{self.path} has format {version}, and this version knows formats up to {SCHEMA_VERSION}. "
                "Install the newer version again, or remove the file: it is read anew from the chain."
            )
        if identity is None:
            self._db.execute("PRAGMA query_only = ON")
        else:
            self._refuse_other(identity)

    def _create(self, identity: Identity) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        with self.transaction(Boundary.LOG_CREATE, durable=True):
            for statement in _TABLES:
                self._db.execute(statement)
            for field in fields(Identity):
                self.put_meta(field.name, str(getattr(identity, field.name)))
            self._db.execute(f"PRAGMA application_id = {_APPLICATION}")
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _refuse_other(self, wanted: Identity) -> None:
        stored = self.identity()
        for field in fields(Identity):
            mine, theirs = getattr(wanted, field.name), getattr(stored, field.name)
            if mine != theirs:
                raise OtherLog(
                    f"{self.path} is the log of {field.name.replace('_', ' ')} {theirs}, not {mine}. "
                    "Name another file, or remove this one: the log is read anew from the chain."
                )


def _code(error: sqlite3.DatabaseError) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF   # the low byte; the rest details it


def _sentence(path: str, error: sqlite3.DatabaseError) -> str:
    match _code(error):
        case sqlite3.SQLITE_FULL:
            return f"The disk is full: {path} cannot be written. Free some space; nothing is lost."
        case sqlite3.SQLITE_IOERR:
            return f"The disk refuses: {path} cannot be used ({error}). Check it and its free space; nothing is lost."
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return f"{path} is damaged or no event log ({error}). Remove it: it is read anew from the chain."
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"Another process writes to {path}. Only one agent may use a home directory; stop the other."
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return f"{path} cannot be opened ({error}). Check that the directory exists and is yours."
        case _:
            return f"{path} cannot be used ({error})."
