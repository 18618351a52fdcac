"""The one loop, the same for every role: advance, fold, decide, reconcile, wait (DESIGN 1).

Takes its hands as arguments, so that a simulation can pass others. Must not decide, and must not know a role's duties.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from statistics import median
from typing import Protocol

from agents.core.intents import Intent
from agents.core.reduce import fold
from agents.core.state import Me, Memory, Now, Outlook, World
from agents.effects.ports import Clock
from agents.effects.runner import Runner
from bfl_events.fold import FoldError
from bfl_events.schema import Record
from bfl_events.source import Advance

LONGEST_WAIT_S = 1.0       # decisions depend on the clock: look again at least this often
SHORTEST_WAIT_S = 0.02
DRAINING_WAIT_S = 0.1      # whether a transaction is on its way can only be asked
CLOCKS_AGREE_S = 2.0       # a block's time is in whole seconds, and takes a moment to be heard of
LONG_LOG = 10_000          # events whose state is worth being kept from the garbage collector

Distrust = Callable[[Record, str], None]
Decide = Callable[[World, Memory, Me, Now], tuple[Intent, ...]]


class Observer(Protocol):
    """Who is told what the loop sees; changes nothing."""

    def records(self, records: tuple[Record, ...]) -> None: ...
    def rewound(self, to: int) -> None: ...
    def tick(self, outlook: Outlook) -> None: ...


class Daemon:
    """Runs until `finished(outlook)` holds, `stop()` is called, or something fails that only a person can mend."""

    def __init__(
        self,
        *,
        advances: Callable[[], AsyncIterator[Advance]],
        replay: Callable[[], Iterable[Record]],
        decide: Decide,
        me: Callable[[], Me],
        memory: Callable[[], Memory],
        runner: Runner,
        clock: Clock,
        block_s: float | None,
        observer: Observer,
        finished: Callable[[Outlook], bool],
        distrust: Distrust | None = None,
    ) -> None:
        """`replay()` yields all logged records. `block_s`: the chain's block time in seconds, None to estimate it.

        `distrust(record, why)` hears of a record that cannot follow from those before it, and has the log read again;
        without it, such a record ends the loop.
        """
        self._advances, self._replay, self._decide = advances, replay, decide
        self._distrust, self._doubting = distrust, False
        self._me, self._memory, self._runner, self._clock = me, memory, runner, clock
        self._observer, self._finished = observer, finished
        self._heads = _Heads(block_s)
        self._inbox: list[Advance] = []
        self._bell = runner.changed             # the runner rings it as well
        self._stopping = False
        self._drained_at: float | None = None
        self._afloat: Callable[[str], bool] = bool
        self._world, self._folded, self._last = World(), 0, (-1, -1)
        self.outlook: Outlook | None = None
        self.rewinds = 0

    def stop(self) -> None:
        """Start nothing new, cancel what runs, and let `run` return."""
        self._stopping = True
        self._bell.set()

    def drain(self, until: float, afloat: Callable[[str], bool]) -> None:
        """Start nothing new, and let `run` return when what runs has ended, or at `until` (in the clock's seconds).

        An intent whose key is `afloat` goes on without this process: it is not waited for.
        """
        self._drained_at, self._afloat = until, afloat
        self._runner.drain()
        self._bell.set()

    def wake(self) -> None:
        """Something outside changed (an operator's wish): decide again now."""
        self._bell.set()

    async def run(self) -> None:
        """The loop. Raises whatever ended the event source or an effect."""
        self._refold()
        listening = asyncio.create_task(self._listen(), name="event source")
        listening.add_done_callback(lambda _: self._bell.set())
        try:
            while not (self._stopping or self._drained()):
                if listening.done():
                    listening.result()
                    return
                if self._runner.failure is not None:
                    raise self._runner.failure
                if self._take_advances() and self._tick():
                    return
                await self._wait()
        finally:
            await self._runner.stop()
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening

    def _drained(self) -> bool:
        if self._drained_at is None:
            return False
        return self._clock.time() >= self._drained_at or all(self._afloat(key) for key in self._runner.busy())

    async def _listen(self) -> None:
        async for advance in self._advances():
            self._inbox.append(advance)
            self._bell.set()

    def _take_advances(self) -> bool:
        """Fold what has come; False while the log is behind the chain: nobody decides on the past."""
        inbox, self._inbox = self._inbox, []
        if inbox:
            self._take(inbox)
        return self._heads.present and not self._doubting

    def _take(self, inbox: list[Advance]) -> None:
        for advance in inbox:
            self._heads.see(advance, self._clock.time())
        rewinds = [advance.rewound_to for advance in inbox if advance.rewound_to is not None]
        if rewinds:
            self.rewinds += len(rewinds)
            self._observer.rewound(min(rewinds))
            self._refold()                 # the log already holds all that the inbox says
        elif not self._doubting:
            with self._believing():
                self._observer.records(self._fold(record for advance in inbox for record in advance.records))

    def _refold(self) -> None:
        """Everything again, record by record: a long log need not be in memory as a whole."""
        self._world, self._folded, self._last = World(), 0, (-1, -1)
        self._doubting = False
        with self._believing(), _no_collections():
            self._world = fold(self._world, self._counted(self._replay()))
            if self._folded > LONG_LOG:
                gc.freeze()    # it stays as it is: later collections need not go through it either

    def _counted(self, records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            self._folded += 1
            self._last = (record.block, record.log_index)
            yield record

    @contextmanager
    def _believing(self) -> Iterator[None]:
        """After a record that cannot be, nothing is folded or decided until the log was read again."""
        try:
            yield
        except FoldError as error:
            if self._distrust is None:
                raise
            self._doubting = True
            self._distrust(error.record, str(error))

    def _fold(self, records: Iterable[Record]) -> tuple[Record, ...]:
        fresh = tuple(record for record in records if (record.block, record.log_index) > self._last)
        if fresh:
            self._world = fold(self._world, fresh)
            self._folded += len(fresh)
            self._last = (fresh[-1].block, fresh[-1].log_index)
        return fresh

    def _tick(self) -> bool:
        memory, me, now = self._memory(), self._me(), self._heads.now(self._clock.time())
        wanted = self._decide(self._world, memory, me, now)
        self._runner.reconcile(wanted)
        self.outlook = Outlook(self._world, memory, me, now, wanted, self._folded)
        self._observer.tick(self.outlook)
        return self._finished(self.outlook)

    async def _wait(self) -> None:
        """Until an advance, a finished effect, a retry that is due, or the clock's next tick."""
        retry = self._runner.next_retry()
        seconds = LONGEST_WAIT_S if retry is None else retry - self._clock.time()
        longest = LONGEST_WAIT_S if self._drained_at is None else DRAINING_WAIT_S
        timer = self._clock.call_later(min(max(seconds, SHORTEST_WAIT_S), longest), self._bell.set)
        try:
            await self._bell.wait()
        finally:
            timer.cancel()
        self._bell.clear()


@contextmanager
def _no_collections() -> Iterator[None]:
    """Nothing in a fold is cyclic: the collector would look through a growing state for nothing."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


class _Heads:
    """The chain's clock, which is the contract's: how far it is ahead of ours, or behind it, and how long blocks take.
    And its base fee.

    Between blocks it goes on as ours does. What is known of it is never more than its time: calls that a deadline makes
    possible would come too early.
    """

    def __init__(self, block_s: float | None) -> None:
        self._fixed, self._block_s = block_s, block_s or 0.0
        self._seen: list[tuple[int, int]] = []
        self._ahead = 0.0
        self._number = self._base_fee = 0
        self.present = False

    def see(self, advance: Advance, wall: float) -> None:
        self.present = advance.behind == 0
        self._number, self._base_fee = advance.head.number, advance.head.base_fee
        if advance.clock is None:       # the head's time has come; whether it is long ago is not known
            self._ahead = max(min(self._ahead, 0.0), advance.head.time - wall)
        else:
            ahead = advance.clock - wall
            self._ahead = 0.0 if -CLOCKS_AGREE_S < ahead < 0 else ahead
        if not self._seen or self._seen[-1][0] != advance.head.number:
            self._seen = [*self._seen[-31:], (advance.head.number, advance.head.time)]
            if self._fixed is None:
                self._block_s = self._usual_s()

    def now(self, wall: float) -> Now:
        return Now(wall + self._ahead, self._number, self._block_s, self._base_fee)

    def _usual_s(self) -> float:
        """The middle one of the last intervals: a clock that was set makes one of them senseless."""
        steps = [(time - before) / (number - last) for (last, before), (number, time) in pairwise(self._seen)
                 if number > last]
        return max(0.0, median(steps)) if steps else 0.0
