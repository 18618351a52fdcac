"""A chain without a chain: blocks, time, ether balances and logs, for the Python model of the contract.

Owns what a contract takes from its surroundings; knows no rule of a task.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from bfl_events.schema import Address, Event, Record


class ContractError(Exception):
    """A revert with one of the contract's typed errors; the class is the error's name, `args` its values."""


class TransferFailed(ContractError):
    """The payee refused the ether."""


@dataclass
class ChainModel:
    """Transactions are mined one a block unless `block_open` says otherwise. Times are in seconds."""

    chain_id: int = 31337
    time: int = 1_700_000_000
    number: int = 1
    seconds_per_block: int = 0
    block_open: bool = False
    records: list[Record] = field(default_factory=list)
    balances: Counter[Address] = field(default_factory=Counter)
    refusing: set[Address] = field(default_factory=set)
    dice: int | None = None
    transactions: int = 0
    logs_in_block: int = 0

    @property
    def prevrandao(self) -> int:
        """A dice roll per block that nobody chose, or `dice` where a real chain is copied."""
        if self.dice is not None:
            return self.dice
        return int.from_bytes(sha256(b"prevrandao %d %d" % (self.number, self.time)).digest(), "big")

    def warp(self, seconds: int) -> None:
        """Time passes; the next transaction is in a later block."""
        self.time += seconds
        self._new_block()

    def warp_to(self, moment: int) -> None:
        """Time passes until a moment, if that is still to come."""
        self.warp(max(0, moment - self.time))

    def begin_transaction(self) -> None:
        """Every call of a contract begins here."""
        if not self.block_open:
            self.time += self.seconds_per_block
            self._new_block()
        self.transactions += 1

    def stamp(self, emitter: Address, event: Event) -> Record:
        """The record of an event of the running transaction. It is logged only when the transaction succeeds."""
        record = Record(
            block=self.number, block_hash=sha256(b"block %d" % self.number).digest(), time=self.time,
            log_index=self.logs_in_block, tx=sha256(b"tx %d" % self.transactions).digest(), emitter=emitter,
            event=event,
        )
        self.logs_in_block += 1
        return record

    def commit(self, records: Iterable[Record]) -> None:
        """The transaction succeeded: its logs are part of the chain."""
        self.records.extend(records)

    def pay(self, payer: Address, payee: Address, amount: int) -> None:
        """Moves ether. Raises TransferFailed if the payee takes none."""
        if payee in self.refusing:
            raise TransferFailed
        self.balances[payer] -= amount
        self.balances[payee] += amount

    def _new_block(self) -> None:
        self.number += 1
        self.logs_in_block = 0
