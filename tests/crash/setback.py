"""What the chain does to a requester that would start its task: twice its transaction is lost until another has begun.

The first time it gives up and dies of it, sends once more, is too late, and buries that. Then the chain forgets
everything since the start, so that it has to begin again; and the second time it has given up for good.
"""

from __future__ import annotations

import json
from typing import Any

from bfl_events.boundaries import Boundary
from bfl_events.schema import TaskStarted
from tests.crash.company import Company
from tests.crash.events import blocks, topic
from tests.crash.matrix import SENDING
from tests.crash.stage import REQUESTER, WORKERS, Stage
from tests.crash.weather import buried_in

_TASK_STARTED = topic(TaskStarted)
_TRYING = tuple(f"{step}." for step in SENDING - {Boundary.TX_LANDED})
_BEGINNING_AGAIN = (f"{Boundary.OUTBOX_REOPEN}.", f"{Boundary.OUTBOX_VERSION}.")


class Setback:
    """`tend()` often, from when the last worker has joined, the others stand still and no block is made by itself."""

    def __init__(self, stage: Stage, company: Company) -> None:
        self._stage, self._company = stage, company
        self._next = self._first_try

    def tend(self) -> None:
        self._next()

    def _first_try(self) -> None:
        if not self._armed(*_TRYING) and wants(self._stage, REQUESTER, "StartTask"):
            self._company.thaw(*WORKERS)
            self._next = self._first_loss

    def _first_loss(self) -> None:
        if self._lose_until(f"{Boundary.OUTBOX_ABANDON}.before"):
            self._next = self._oblivion

    def _oblivion(self) -> None:
        """Of all blocks from the start on, with what the requester holds for buried."""
        buried = buried_in(self._stage, REQUESTER)
        if buried is None or self._armed(f"{Boundary.OUTBOX_BURY}."):
            return
        self._company.freeze(*WORKERS)
        self._rpc("evm_setAutomine", False)
        first = min(buried, *blocks(self._stage, _TASK_STARTED))
        self._rpc("anvil_reorg", int(self._rpc("eth_blockNumber"), 16) - first + 1, [])
        self._next = self._second_try

    def _second_try(self) -> None:
        if not self._armed(*_BEGINNING_AGAIN) and wants(self._stage, REQUESTER, "StartTask"):
            self._company.thaw(*WORKERS)
            self._next = self._second_loss

    def _second_loss(self) -> None:
        if self._lose_until(f"{Boundary.OUTBOX_ABANDON}.after"):
            self._next = lambda: None

    def _lose_until(self, failpoint: str) -> bool:
        """What the requester sends is lost; the first block that is made without it has the start."""
        if not self._armed(failpoint):
            self._rpc("evm_setAutomine", True)
            self._rpc("evm_mine")
            return True
        if not blocks(self._stage, _TASK_STARTED):
            self._company.freeze(REQUESTER)
            waiting = self._waiting()
            for tx in waiting:
                if tx["from"].lower() == self._stage.addresses[REQUESTER].lower():
                    self._rpc("anvil_dropTransaction", tx["hash"])
            if len(self._waiting()) > 0:
                self._rpc("evm_mine")
            self._company.thaw(REQUESTER)
        return False

    def _waiting(self) -> list[dict[str, Any]]:
        return [tx for sender in self._rpc("txpool_content")["pending"].values() for tx in sender.values()]

    def _armed(self, *beginnings: str) -> bool:
        return any(one.startswith(beginnings) for one in self._company.members[REQUESTER].armed)

    def _rpc(self, method: str, *parameters: Any) -> Any:
        return self._stage.anvil.rpc(method, *parameters)


def wants(stage: Stage, name: str, intent: str) -> bool:
    """Whether an agent has begun with this in its present life, by its log."""
    path, wanted = stage.home(name).root / "logs" / "agent.log", False
    for line in path.read_text().splitlines():
        told = json.loads(line) if line.endswith("}") else {}
        match told.get("event"):
            case "agent.started":
                wanted = False
            case "intent.started" if told["intent"] == intent:
                wanted = True
    return wanted
