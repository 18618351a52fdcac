"""Follows one task on the demo's chain into an event log of its own, as any outsider could. Sends nothing."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field

from agents.core.reduce import fold
from agents.core.state import World
from bfl_events.log import EventLog
from bfl_events.rpc import Rpc
from bfl_events.schema import Address, Record
from bfl_events.source import EventSource
from bfl_events.state import TaskState

_POLL_S = 0.5


@dataclass(slots=True)
class Spectator:
    """`world` is the fold of all that was logged so far. `follow` runs until it is cancelled."""

    rpc: Rpc
    log: EventLog
    task: Address
    ws_url: str
    world: World = field(default_factory=World)

    @property
    def state(self) -> TaskState | None:
        return self.world.tasks.get(self.task)

    @property
    def records(self) -> list[Record]:
        """Everything logged, in order."""
        return list(self.log.records())

    async def follow(self) -> None:
        """Raises what a person must see to: WrongChain, LogError, DecodeError."""
        identity = self.log.identity
        source = EventSource(
            self.rpc, self.log, factory=identity.factory, start_block=identity.start_block,
            follow=lambda created: created.task == self.task, ws_urls=(self.ws_url,), poll_s=_POLL_S,
        )
        self.world = fold(World(), self.records)
        async with aclosing(source.advances()) as advances:
            async for advance in advances:
                fresh = advance.rewound_to is not None
                self.world = fold(World(), self.records) if fresh else fold(self.world, advance.records)
