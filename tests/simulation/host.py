"""One participant's machine: a disk that stays, and the real agent on it, that can be killed and started again.

Owns how a real `Agent` is wired to the simulated outside. Judges nothing; what it hears it hands to its witness.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from contextvars import copy_context
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any, Protocol

from agents.agent import Agent, Charge, Outside
from agents.core.divergence import BaseCheck
from agents.core.intents import Intent, Outcome
from agents.core.state import Limits, Outlook
from agents.core.trial import Trials
from agents.crypto.commitment import SaltKey
from agents.effects.contracts import ContractChain
from agents.effects.exchange import Exchange
from agents.effects.hands import Workshop
from agents.effects.journal import Journal
from agents.effects.model_files import ModelFiles
from agents.effects.outbox import Outbox
from agents.effects.seals import AccountSeals
from agents.effects.settling import Timing
from bfl_events.log import EventLog, Identity
from bfl_events.schema import Address, Record, Word
from bfl_events.source import Advance, EventSource
from tests.simulation.disk import Disk
from tests.simulation.doubles import plug_in, plug_out
from tests.simulation.endpoint import Endpoint
from tests.simulation.learner import Bench, StandIn
from tests.simulation.loop import GROUP, Group
from tests.simulation.play import FACTORY
from tests.simulation.shortcut import Notebook, ShortSource
from tests.simulation.store import Store, StoreClient
from tests.simulation.transactions import StubSigner
from tests.simulation.wires import WiredRpc, Wires

CHAIN_ID = 31337
TIMING = Timing(bury=8, stuck_s=6.0, interval_s=3.0, foreign_s=180.0)
LIMITS = Limits(max_collateral_wei=10**19, max_open_collateral_wei=10**19, min_window_blocks=3)


class Witness(Protocol):
    """Who is told what an agent does; `host` is where."""

    def advanced(self, host: Host, advance: Advance) -> None: ...
    def ticked(self, host: Host, outlook: Outlook) -> None: ...
    def told(self, host: Host, what: str, detail: object) -> None: ...
    def ended(self, host: Host, error: BaseException | None) -> None: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all hosts share."""

    endpoints: Sequence[Endpoint]
    store: Store
    epoch: float
    witness: Witness
    whole_event_path: bool


@dataclass(frozen=True, slots=True)
class Character:
    """What one participant is. `skew_s`: how far its clock is ahead. `delay_s`: how late it starts."""

    name: str
    address: Address
    role: str
    confirmations: int = 0
    block_s: float | None = None
    skew_s: float = 0.0
    delay_s: float = 0.0


@lru_cache(maxsize=65536)
def _model_commitment(seals: AccountSeals, *place: Any) -> bytes:
    return AccountSeals.model(seals, *place)


@lru_cache(maxsize=65536)
def _score_commitment(seals: AccountSeals, *place: Any) -> bytes:
    return AccountSeals.scores(seals, *place)


def forget_commitments() -> None:
    """Before a run: the same places mean other things in another one."""
    _model_commitment.cache_clear()
    _score_commitment.cache_clear()


class Seals(AccountSeals):
    """The real ones; an agent asks for the same commitment at every tick."""

    __slots__ = ()

    def scores(self, task: Address, round: int, attempt: int, row: Sequence[Word]) -> bytes:
        return _score_commitment(self, task, round, attempt, tuple(row))

    def model(self, task: Address, round: int, attempt: int, model_hash: bytes) -> bytes:
        return _model_commitment(self, task, round, attempt, model_hash)


@dataclass(frozen=True, slots=True)
class SkewedClock:
    """`epoch`: what it shows at virtual second 0. It knows its loop: asking for the running one is a system call."""

    epoch: float
    loop: asyncio.AbstractEventLoop

    def time(self) -> float:
        return self.epoch + self.loop.time()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return self.loop.call_later(seconds, callback)


class Host:
    """`agent` is None while none runs. `crossings` counts the places where it may be killed; `fuse` is the one where it
    will be, by `on_fuse`."""

    def __init__(self, folder: Path, character: Character, around: Surroundings, bench: Bench, dice: Random) -> None:
        self.folder, self.character, self.bench = folder, character, bench
        self.name, self.address = character.name, character.address
        self.disk = Disk(folder, character.address)
        plug_in(self.disk)
        self.wires = Wires(dice, self._crossing)
        self.agent: Agent | None = None
        self.outbox: Outbox | None = None
        self.crossings, self.fuse, self.kills, self.starts = 0, -1, 0, 0
        self.on_fuse: Any = None
        self._around = around
        self._rpc_first = dice.randrange(len(around.endpoints))
        self._source: Overheard | None = None
        self._group = Group()
        bench.crossing = self._crossing

    # ---- life and death

    def start(self) -> None:
        """A process begins with what the disk holds."""
        assert self.agent is None
        assert not self._group.alive, f"{self.name}: these tasks survived a kill: {self._group.alive}"
        self.starts += 1
        self._group = Group()
        context = copy_context()
        context.run(GROUP.set, self._group)
        context.run(self._begin)

    def kill(self) -> None:
        """SIGKILL: no handler runs to any effect, whatever was not on disk is gone."""
        if self.agent is None:
            return
        self.kills += 1
        self.agent = self.outbox = self._source = None
        self.fuse = -1
        self.disk.unplug()
        for task in self._group.alive:
            task.cancel()

    def ring(self) -> None:
        """The doorbell: a new block."""
        if self._source is not None and not self.wires.cut:
            self._source.ring()

    def discard(self) -> None:
        self.kill()
        plug_out(self.disk)
        self.disk.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _crossing(self) -> bool:
        self.crossings += 1
        if self.crossings == self.fuse:
            self.on_fuse(self)
        return self.agent is None

    def _begin(self) -> None:
        asyncio.get_running_loop().create_task(self._live(*self._assemble()), name=self.name)

    async def _live(self, agent: Agent, outbox: Outbox) -> None:
        try:
            async with outbox:
                await agent.run()
        except BaseException as error:
            if self.agent is agent:
                self.agent = None
                self._around.witness.ended(self, error)
            if isinstance(error, asyncio.CancelledError):
                raise
            return
        self.agent = None
        self._around.witness.ended(self, None)

    # ---- wiring, as in agents/composition.py

    def _assemble(self) -> tuple[Agent, Outbox]:
        c, folder, around = self.character, self.folder, self._around
        clock = SkewedClock(around.epoch + c.skew_s, asyncio.get_running_loop())
        rpc = WiredRpc(around.endpoints, self.wires, self._rpc_first)
        events: EventLog | Notebook = self.disk.notebook
        source: Source = ShortSource(rpc, self.disk.notebook)
        if around.whole_event_path:
            events = EventLog(folder / "events.sqlite", Identity(CHAIN_ID, FACTORY, 1))
            source = EventSource(rpc, events, factory=FACTORY, start_block=1, follow=lambda _: True, poll_s=5.0)
        self._source = overheard = Overheard(self, source)
        self.outbox = outbox = Outbox(
            rpc, StubSigner(c.address), folder / "outbox.sqlite", chain_id=CHAIN_ID, clock=clock, timing=TIMING,
            report=lambda event, fields: self._tell(event, fields),  # noqa: PLW0108
        )
        files = ModelFiles(folder / "models")
        store = StoreClient(around.store, self.wires, c.address)
        exchange = Exchange(store, files, dict, folder / "envelopes", chain_id=CHAIN_ID, account=c.address)
        child = StandIn(self.bench)
        outside = Outside(
            source=overheard, log=events, chain=ContractChain(rpc, outbox), exchange=exchange, files=files,
            journal=Journal(folder / "journal.sqlite"),
            seals=Seals(SaltKey(sha256(c.address.encode()).digest()), CHAIN_ID, c.address),
            newest_key=lambda: b"key of " + c.address.encode(), learner=lambda task, specification: child,
            known_task=lambda specification: None, clock=clock, narrator=Whisper(self),  # type: ignore[arg-type]
            on_head=outbox.wake, failure=lambda: outbox.failure,
        )
        charge = Charge(
            role=c.role, address=c.address, payout=c.address, task=None, limits=LIMITS, trials=Trials(),
            confirmations=c.confirmations, retain_rounds=3, block_s=c.block_s,
        )
        self.agent = Agent(charge, outside, Workshop(folder / "results", folder / "checkpoints", 10**6))
        if self.starts == 1:
            self.disk.keep_empty()
        return self.agent, outbox

    def _tell(self, what: str, detail: object) -> None:
        self._around.witness.told(self, what, detail)

    def saw(self, advance: Advance) -> None:
        self._around.witness.advanced(self, advance)

    def thought(self, outlook: Outlook) -> None:
        self._around.witness.ticked(self, outlook)


Source = EventSource | ShortSource


class Overheard:
    """A source whose advances are also shown to the witness."""

    def __init__(self, host: Host, source: Source) -> None:
        self._host, self._inner = host, source
        self.ring = source.ring

    def distrust(self, task: Address, why: str) -> None:
        self._host._tell("distrusted", why)
        self._inner.distrust(task, why)

    async def advances(self) -> AsyncGenerator[Advance, None]:
        async with aclosing(self._inner.advances()) as advances:
            async for advance in advances:
                self._host.saw(advance)
                yield advance


@dataclass(frozen=True, slots=True)
class Whisper:
    """In the place of the narrator."""

    host: Host

    def report(self, intent: Intent, what: str, detail: Outcome | BaseException | None) -> None:
        self.host._tell(what, (intent, detail))

    def progress(self, intent: Intent, values: Mapping[str, Any]) -> None:
        pass

    def records(self, records: tuple[Record, ...]) -> None:
        pass

    def rewound(self, to: int) -> None:
        self.host._tell("rewound", to)

    def declined(self, task: Address, reason: str) -> None:
        self.host._tell("declined", reason)

    def compared(self, task: Address, base: BaseCheck | None) -> None:
        pass

    def tick(self, outlook: Outlook) -> None:
        self.host.thought(outlook)
