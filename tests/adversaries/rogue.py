"""Hostile members of a task: no agents, but accounts that keep to the phases and open forgeries.

Owns what they send and when. They lie about everybody's models, vote for a base that does not exist, and read nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from agents.crypto.envelope import Context
from bfl_events.commitment import Place, address_bytes, model_commitment, score_commitment
from bfl_events.rules import CONTROL_LANES, pack_row
from bfl_events.schema import Phase
from tests.adversaries.forgery import Forgery, Mail
from tests.anvil import KEY, Contract, NodeError
from tests.system.company import COLLATERAL, Company
from tests.system.recompute import sha256

CHAIN_ID = 31337
NOWHERE = b"\x66" * 32
DUTIES = {Phase.TRAIN: "committed", Phase.OPEN: "opened", Phase.SCORE: "scored", Phase.REVEAL: "revealed"}


@dataclass
class Rogue:
    """One account and what it opens in which round."""

    account: str
    plan: Mapping[int, Forgery]
    index: int = -1
    models: dict[int, bytes] = field(default_factory=dict)
    salt: bytes = field(default_factory=lambda: os.urandom(32))
    row: tuple[int, ...] = ()


@dataclass
class Gang:
    """Rogues in one task. `readers`: (address, DER key) of the honest."""

    company: Company
    task: Contract
    rogues: Sequence[Rogue]
    readers: Sequence[tuple[bytes, bytes]]

    def join(self) -> None:
        """With a key that does not parse: everybody leaves them out."""
        for rogue in self.rogues:
            self.task.send("joinTask", rogue.account, KEY, [], sender=rogue.account, value=COLLATERAL)
            rogue.index = self.task.call("indexPlus1", rogue.account) - 1

    def act(self, bases: Mapping[int, bytes]) -> None:
        """All that is due now, each at most once. `bases`: round -> the bytes that it builds on, as far as known."""
        phase, round, attempt, _, _, lanes, *_ = self.task.call("core")
        place = Place(CHAIN_ID, self.task.address, round, attempt)
        if phase == Phase.SETTLE:
            with suppress(NodeError):              # somebody was faster
                self.task.send("nextRound", sender=self.rogues[0].account)
        elif phase in DUTIES and round in bases:
            due = self.task.call("active") & ~self.task.call(DUTIES[phase])
            for rogue in (rogue for rogue in self.rogues if due >> rogue.index & 1):
                self._one(rogue, Phase(phase), place, bases[round], lanes)

    def _one(self, rogue: Rogue, phase: Phase, place: Place, base: bytes, lanes: int) -> None:
        match phase:
            case Phase.TRAIN:
                model = rogue.models[place.round] = rogue.plan[place.round].model(base)
                commitment = model_commitment(place, rogue.account, sha256(model), rogue.salt)
                self._send(rogue, "commitModel", place.round, place.attempt, commitment, NOWHERE)
            case Phase.OPEN:
                self._open(rogue, place)
            case Phase.SCORE:
                rogue.row = self._lies(rogue, lanes)
                commitment = score_commitment(place, rogue.account, rogue.row, rogue.salt)
                self._send(rogue, "commitScores", place.round, place.attempt, commitment)
            case Phase.REVEAL:
                self._send(rogue, "submitScore", place.round, list(rogue.row), rogue.salt)

    def _open(self, rogue: Rogue, place: Place) -> None:
        model, sender = rogue.models[place.round], address_bytes(rogue.account)
        context = Context(CHAIN_ID, address_bytes(place.task), place.round, place.attempt, sender, 0)
        opening = rogue.plan[place.round].seal(model, Mail(context, self.readers))
        cid = asyncio.run(self.company.put(opening.envelope))
        self._send(rogue, "openModel", place.round, sha256(model), rogue.salt, opening.size, opening.cid or cid)

    def _lies(self, rogue: Rogue, lanes: int) -> tuple[int, ...]:
        """The honest are nothing, its own kind is perfect."""
        row = [9000] * CONTROL_LANES + [0] * (lanes - CONTROL_LANES)
        for other in self.rogues:
            row[CONTROL_LANES + other.index] = 0 if other is rogue else 10_000
        return pack_row(row)

    def _send(self, rogue: Rogue, function: str, *arguments: object) -> None:
        self.task.send(function, *arguments, sender=rogue.account)
