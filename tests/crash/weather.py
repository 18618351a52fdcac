"""What the chain does to the agents during a run, so that the steps are passed that only misfortune leads to.

In round 2 so many blocks are reorganised away that something is gone which worker-1 holds for buried. From then on the
transactions by which it would end a round are lost on their way, and somebody else ends it, but only then.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from bfl_events.boundaries import Boundary
from bfl_events.keccak import keccak256
from bfl_events.schema import RoundAdvanced
from tests.anvil import NodeError
from tests.crash.company import Company
from tests.crash.events import count, topic
from tests.crash.stage import Stage

LOSER = "worker-1"
_NEXT_ROUND = "0x" + keccak256(b"nextRound()")[:4].hex()
_ROUND_ADVANCED = topic(RoundAdvanced)


def buried_in(stage: Stage, name: str) -> int | None:
    """The last block of which somebody's outbox has closed a transaction."""
    with closing(sqlite3.connect(stage.network(name).outbox)) as database:
        found: int | None = database.execute("SELECT max(block) FROM slot WHERE ending IS NOT NULL").fetchone()[0]
    return found


class Weather:
    """`tend()` often."""

    def __init__(self, stage: Stage, company: Company) -> None:
        self._stage, self._company = stage, company
        self._reorganised = self._losing = False
        self._lost_in: dict[str, int] = {}        # nonce -> the sender's life in which it was lost first
        self._spared: set[str] = set()
        self._lost_in_round: set[int] = set()

    def tend(self) -> None:
        round = count(self._stage, _ROUND_ADVANCED)
        if round >= 2 and not self._reorganised and not self._armed(Boundary.OUTBOX_BURY):
            self._reorganise()
            return
        self._lose(wanted=self._reorganised and self._armed(Boundary.OUTBOX_ABANDON, Boundary.OUTBOX_VERSION))
        if self._losing:
            self._mine_the_rest(round)

    def _armed(self, *steps: Boundary) -> bool:
        return self._company.armed(LOSER, *steps)

    def _reorganise(self) -> None:
        """No block is made meanwhile, which would be undone instead."""
        buried = buried_in(self._stage, LOSER)
        assert buried is not None
        self._stage.anvil.rpc("evm_setAutomine", False)
        head = int(self._stage.anvil.rpc("eth_blockNumber"), 16)
        self._stage.anvil.rpc("anvil_reorg", head - buried + 1, [])
        self._stage.anvil.rpc("evm_setAutomine", True)
        self._stage.anvil.rpc("evm_mine")
        self._reorganised = True

    def _lose(self, *, wanted: bool) -> None:
        """From now on blocks are made here, so that a transaction can be lost before it is in one; or no longer."""
        if wanted != self._losing:
            self._losing = wanted
            self._stage.anvil.rpc("evm_setAutomine", not wanted)
            self._stage.anvil.rpc("evm_mine")

    def _mine_the_rest(self, round: int) -> None:
        pool = self._stage.anvil.rpc("txpool_content")["pending"]
        waiting = [tx for sender in pool.values() for tx in sender.values()]
        ending = [tx for tx in waiting if tx["input"].startswith(_NEXT_ROUND)
                  and (self._is_its_own(tx) and tx["nonce"] in self._lost_in or self._would_succeed(tx))]
        lost = [tx for tx in ending if self._is_lost(tx)]
        if lost:
            self._lost_in_round.add(round)
        elif self._armed(Boundary.OUTBOX_ABANDON) and round not in self._lost_in_round:
            lost = [tx for tx in ending if not self._is_its_own(tx)]       # nobody else is faster than worker-1
        for tx in lost:
            self._stage.anvil.rpc("anvil_dropTransaction", tx["hash"])
        if len(waiting) > len(lost):
            self._stage.anvil.rpc("evm_mine")

    def _would_succeed(self, tx: dict[str, Any]) -> bool:
        """What is of an earlier time may pass, and reverts: later transactions wait for its nonce."""
        try:
            self._stage.anvil.rpc("eth_call", {key: tx[key] for key in ("from", "to", "input")}, "latest")
        except NodeError:
            return False
        return True

    def _is_its_own(self, tx: dict[str, Any]) -> bool:
        own: bool = tx["from"].lower() == self._stage.addresses[LOSER].lower()
        return own

    def _is_lost(self, tx: dict[str, Any]) -> bool:
        """Until its sender dies in giving it up: what it then sends again arrives, too late, and reverts."""
        if not self._is_its_own(tx):
            return False
        sender = self._company.members[LOSER]
        first = self._lost_in.setdefault(tx["nonce"], sender.lives)
        if sender.lives != first and f"{Boundary.OUTBOX_ABANDON}.after" in sender.armed:
            self._spared.add(tx["nonce"])
        return tx["nonce"] not in self._spared
