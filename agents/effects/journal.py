"""What this agent has done: intent key -> outcome, in SQLite, durable before anything is built on it.

Keys say what a result depends on, so entries are true on every fork and are never rewound (DESIGN 3.5).
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from agents.core.intents import Done, ModelReady, Outcome, Published, Refused, RowReady, TermsReady
from agents.effects.ports import Fatal, Transient
from bfl_events.boundaries import Boundary, passing
from bfl_events.schema import Word

VERSION = 1
_KINDS: dict[str, type[Outcome]] = {
    kind.__name__: kind for kind in (Done, Refused, TermsReady, ModelReady, Published, RowReady)
}


class JournalDamaged(Exception):
    """An entry cannot be read."""


class Journal:
    """Outcomes by intent key. One writer: the daemon, on its loop's thread."""

    def __init__(self, path: Path) -> None:
        """Open or create. Raises JournalDamaged, Fatal (exit code 19) for a file of a newer version, and as `record`
        does."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with self._writing():
            self._database = sqlite3.connect(path, isolation_level=None)
            try:
                self._outcomes = self._read()
            except BaseException:
                self._database.close()
                raise

    def _read(self) -> dict[str, Outcome]:
        path = self._path
        with passing(Boundary.JOURNAL_CREATE):
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            found = self._database.execute("PRAGMA user_version").fetchone()[0]
            if found > VERSION:
                raise Fatal(
                    f"{path} was written by a newer bfl-agent (format {found}, this one reads {VERSION}). Install that "
                    "version again, or move the file away: the agent then repairs what it can from the chain.",
                    exit_code=19,
                )
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS outcome"
                "(key TEXT PRIMARY KEY, kind TEXT NOT NULL, body TEXT NOT NULL, at REAL NOT NULL)"
            )
            self._database.execute(f"PRAGMA user_version = {VERSION}")
        rows = self._database.execute("SELECT key, kind, body FROM outcome ORDER BY rowid")
        try:
            return {key: decode(kind, json.loads(body)) for key, kind, body in rows}
        except (LookupError, ValueError, TypeError) as error:
            raise JournalDamaged(f"{path.name} holds an entry that cannot be read ({error!r})") from error

    def outcomes(self) -> Mapping[str, Outcome]:
        """All outcomes, oldest first; a live view."""
        return self._outcomes

    def record(self, key: str, outcome: Outcome) -> None:
        """Durable when this returns; a later outcome of the same key replaces the earlier one.

        Raises Transient if the disk is full (the work is not lost, it is done again), Fatal if the file is damaged.
        """
        body = json.dumps(encode(outcome), separators=(",", ":"))
        row = (key, type(outcome).__name__, body, time.time())
        with self._writing(), passing(Boundary.JOURNAL_RECORD):
            self._database.execute("INSERT OR REPLACE INTO outcome VALUES (?, ?, ?, ?)", row)
        self._outcomes.pop(key, None)
        self._outcomes[key] = outcome

    def forget(self, key: str) -> None:
        """Drop one outcome: what it stands for is gone. Raises Transient."""
        with self._writing(), passing(Boundary.JOURNAL_FORGET):
            self._database.execute("DELETE FROM outcome WHERE key = ?", (key,))
        self._outcomes.pop(key, None)

    def forget_refusals(self, prefixes: tuple[str, ...]) -> None:
        """Drop the refusals under these key prefixes: the operator may have mended their cause before this start."""
        for key in [key for key, outcome in self._outcomes.items() if isinstance(outcome, Refused)]:
            if key.startswith(prefixes):
                with self._writing(), passing(Boundary.JOURNAL_FORGET):
                    self._database.execute("DELETE FROM outcome WHERE key = ?", (key,))
                del self._outcomes[key]

    def close(self) -> None:
        self._database.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.OperationalError as error:
            raise Transient(
                f"cannot write {self._path}: {error}; free disk space or check permissions", part="disk"
            ) from error
        except sqlite3.DatabaseError as error:
            raise Fatal(f"{self._path} is damaged ({error}); at its next start the agent moves it aside and repairs "
                        "what it can from the chain and its peers") from error


def encode(outcome: Outcome) -> dict[str, Any]:
    """JSON fields of an outcome; bytes as hex, words as decimal strings."""
    return {field.name: _plain(getattr(outcome, field.name)) for field in fields(outcome)}


def _plain(value: Any) -> Any:
    match value:
        case bytes():
            return value.hex()
        case tuple():
            return [_plain(item) for item in value]
        case int() if value > 2**53:
            return str(value)
        case _:
            return value


def decode(kind: str, body: Mapping[str, Any]) -> Outcome:
    """The inverse of `encode`. Raises KeyError for an unknown kind."""
    match _KINDS[kind].__name__:
        case "ModelReady":
            steps = (body.get(name, 0.0) for name in ("first_step_at", "last_step_at"))     # older entries lack them
            return ModelReady(bytes.fromhex(body["model_hash"]), body["seconds"], *steps)
        case "Published":
            return Published(bytes.fromhex(body["cid"]), body["size"])
        case "RowReady":
            row = tuple(Word(int(word)) for word in body["row"])
            return RowReady(row, tuple((index, reason) for index, reason in body["reasons"]), body["seconds"])
        case _:
            return _KINDS[kind](**body)
