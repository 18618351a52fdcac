"""The outbox's memory: one row per signed nonce, one per signed version of it, in SQLite.

Owns the tables and their transactions: when a method returns, the disk has it. Must not decide or talk to a node.
A slot is open until its transaction is buried; closed slots stay as history.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from agents.effects.fees import Fee
from agents.effects.ports import Fatal, Receipt, Transient
from bfl_events.boundaries import Boundary, passing
from bfl_events.schema import Address

VERSION = 1
VOID_GAS = 21_000      # a plain transfer

_SCHEMA = """
CREATE TABLE identity (chain_id INTEGER NOT NULL, account TEXT NOT NULL, genesis BLOB);
CREATE TABLE slot (nonce INTEGER PRIMARY KEY, key TEXT NOT NULL, dest TEXT, data BLOB NOT NULL, value TEXT NOT NULL,
    gas INTEGER NOT NULL, abandoned INTEGER NOT NULL DEFAULT 0, ending TEXT, tx BLOB, block INTEGER, block_hash BLOB,
    gas_used INTEGER, gas_price INTEGER);
CREATE INDEX slot_by_key ON slot(key);
CREATE INDEX slot_open ON slot(nonce) WHERE ending IS NULL;
CREATE TABLE attempt (hash BLOB PRIMARY KEY, nonce INTEGER NOT NULL REFERENCES slot(nonce), raw BLOB NOT NULL,
    max_fee INTEGER NOT NULL, tip INTEGER NOT NULL, void INTEGER NOT NULL, signed_at REAL NOT NULL,
    head INTEGER NOT NULL);
CREATE INDEX attempt_by_nonce ON attempt(nonce);
"""


@dataclass(frozen=True, slots=True)
class Payload:
    """What a transaction does. `to` None: creates a contract from `data`."""

    to: Address | None
    data: bytes
    value: int
    gas: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed version of a slot. `void`: a self-transfer that only uses the nonce up; `head`: block when signed."""

    hash: bytes
    raw: bytes
    fee: Fee
    void: bool
    signed_at: float
    head: int


class Ending(StrEnum):
    """How a nonce was used up. LOST: by a transaction this outbox has no record of."""

    MINED = "mined"
    REVERTED = "reverted"
    VOID = "void"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Landing:
    """Where a slot ended. A LOST one has no receipt."""

    ending: Ending
    receipt: Receipt | None = None
    block_hash: bytes = b""


@dataclass(frozen=True, slots=True)
class Slot:
    """A nonce and the intent it was signed for. `attempts`: never empty; oldest first, those without bytes before."""

    nonce: int
    key: str
    payload: Payload
    attempts: tuple[Attempt, ...]
    abandoned: bool = False
    landing: Landing | None = None

    @property
    def last(self) -> Attempt:
        """The best paid version: the one worth sending."""
        return self.attempts[-1]

    @property
    def intended(self) -> bool:
        """False for a slot that only closes a gap."""
        return any(not attempt.void for attempt in self.attempts)

    @property
    def most_wei(self) -> int:
        """What it can cost at most."""
        value, gas = (0, VOID_GAS) if self.last.void else (self.payload.value, self.payload.gas)
        return value + gas * self.last.fee.max_fee


class Slots:
    """The two tables. `path` may be a SQLite URI (`file:...`), for tests and simulation."""

    def __init__(self, path: Path | str, *, chain_id: int, account: Address) -> None:
        self._path = str(path)
        with _durably(self._path):
            self._db = sqlite3.connect(self._path, isolation_level=None, uri=self._path.startswith("file:"))
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._prepare(chain_id, account)

    def _prepare(self, chain_id: int, account: Address) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise Fatal(f"{self._path} was written by a newer version (format {version}, this one knows {VERSION}):"
                        " upgrade this program", exit_code=19)
        if version == 0:
            with self._transaction(Boundary.OUTBOX_CREATE):
                for statement in _SCHEMA.split(";\n"):
                    self._db.execute(statement)
                self._db.execute("INSERT INTO identity VALUES (?, ?, NULL)", (chain_id, account))
                self._db.execute(f"PRAGMA user_version={VERSION}")
        known = self._db.execute("SELECT chain_id, account FROM identity").fetchone()
        if known != (chain_id, account):
            raise Fatal(f"{self._path} belongs to account {known[1]} on chain {known[0]},"
                        f" not to {account} on chain {chain_id}", exit_code=10)

    def close(self) -> None:
        self._db.close()

    # ---- reading

    def genesis(self) -> bytes | None:
        """Hash of block 0 of the chain the slots were signed for; None before anything was asked."""
        known: bytes | None = self._db.execute("SELECT genesis FROM identity").fetchone()[0]
        return known

    def top(self) -> int | None:
        """The highest nonce ever signed."""
        top: int | None = self._db.execute("SELECT max(nonce) FROM slot").fetchone()[0]
        return top

    def at(self, nonce: int) -> Slot | None:
        """The slot of this nonce; None if this outbox has no record of it."""
        return next(iter(self._load("nonce = ?", nonce)), None)

    def open(self) -> dict[int, Slot]:
        """By nonce, ascending."""
        return {slot.nonce: slot for slot in self._load("ending IS NULL ORDER BY nonce")}

    def of(self, key: str) -> list[Slot]:
        """Every slot ever signed for this key, newest first."""
        return self._load("key = ? ORDER BY nonce DESC", key)

    def all(self) -> list[Slot]:
        """Everything ever signed, by nonce."""
        return self._load("1 ORDER BY nonce")

    def _load(self, where: str, *arguments: object) -> list[Slot]:
        with _durably(self._path):
            rows = self._db.execute(f"SELECT * FROM slot WHERE {where}", arguments).fetchall()
            return [self._slot(*row) for row in rows]

    def _slot(self, nonce: int, key: str, dest: Address | None, data: bytes, value: str, gas: int, abandoned: int,
              ending: str | None, tx: bytes, block: int, block_hash: bytes, gas_used: int, gas_price: int) -> Slot:
        rows = self._db.execute(
            "SELECT hash, raw, max_fee, tip, void, signed_at, head FROM attempt WHERE nonce=?"
            " ORDER BY length(raw) > 0, rowid", (nonce,))
        attempts = tuple(Attempt(tx, raw, Fee(most, tip), bool(void), at, head)
                         for tx, raw, most, tip, void, at, head in rows)
        landing = None
        if ending is not None:
            receipt = None if tx is None else Receipt(tx, block, gas_used, gas_price)
            landing = Landing(Ending(ending), receipt, block_hash or b"")
        return Slot(nonce, key, Payload(dest, data, int(value), gas), attempts, bool(abandoned), landing)

    # ---- writing: durable when the method returns

    def remember_genesis(self, block_hash: bytes) -> None:
        with self._transaction(Boundary.OUTBOX_GENESIS):
            self._db.execute("UPDATE identity SET genesis=?", (block_hash,))

    def add(self, slot: Slot) -> None:
        """A newly signed slot with its first attempt."""
        p = slot.payload
        with self._transaction(Boundary.OUTBOX_ADD):
            self._db.execute("INSERT INTO slot (nonce, key, dest, data, value, gas, abandoned) VALUES (?,?,?,?,?,?,?)",
                             (slot.nonce, slot.key, p.to, p.data, str(p.value), p.gas, slot.abandoned))
            self._insert_attempt(slot.nonce, slot.attempts[0])

    def add_attempt(self, nonce: int, attempt: Attempt) -> None:
        with self._transaction(Boundary.OUTBOX_VERSION):
            self._insert_attempt(nonce, attempt)

    def set_abandoned(self, nonce: int, abandoned: bool) -> None:
        with self._transaction(Boundary.OUTBOX_ABANDON):
            self._db.execute("UPDATE slot SET abandoned=? WHERE nonce=?", (abandoned, nonce))

    def close_slots(self, landings: Sequence[tuple[int, Landing]]) -> None:
        """Buried: nothing below is expected to change any more."""
        with self._transaction(Boundary.OUTBOX_BURY):
            for nonce, landing in landings:
                r = landing.receipt
                found = (None, None, None, None) if r is None else (r.tx, r.block, r.gas_used, r.gas_price)
                self._db.execute(
                    "UPDATE slot SET ending=?, tx=?, block=?, gas_used=?, gas_price=?, block_hash=? WHERE nonce=?",
                    (landing.ending.value, *found, landing.block_hash, nonce))

    def reopen(self, nonce: int) -> list[Slot]:
        """The chain forgot more than was buried: every closed slot from `nonce` on is open again. None: no write."""
        closed = self._load("nonce >= ? AND ending IS NOT NULL ORDER BY nonce", nonce)
        if closed:
            with self._transaction(Boundary.OUTBOX_REOPEN):
                self._db.execute("UPDATE slot SET ending=NULL WHERE nonce>=?", (nonce,))
        return [replace(slot, landing=None) for slot in closed]

    def _insert_attempt(self, nonce: int, attempt: Attempt) -> None:
        self._db.execute("INSERT OR IGNORE INTO attempt VALUES (?,?,?,?,?,?,?,?)",
                         (attempt.hash, nonce, attempt.raw, attempt.fee.max_fee, attempt.fee.tip, attempt.void,
                          attempt.signed_at, attempt.head))

    @contextmanager
    def _transaction(self, step: Boundary) -> Iterator[None]:
        with passing(step), _durably(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


@contextmanager
def _durably(path: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.OperationalError as error:      # disk full, locked, read-only: nothing was signed or forgotten
        raise Transient(f"cannot write {path}: {error}; free disk space or check permissions", part="disk") from error
    except sqlite3.DatabaseError as error:
        raise Fatal(f"{path} is damaged ({error}): the agent moves it aside at its next start and goes on, since the"
                    " chain itself tells what was sent") from error
