"""The loop: it folds each record once, never decides on the past, refolds after a rewind, and ends for a reason."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, Callable, Iterable
from random import Random

import pytest
from hypothesis import given, strategies as st

from agents.core.intents import Intent, Outcome, Refund
from agents.core.state import Me, Memory, Now, Outlook, World
from agents.daemon import CLOCKS_AGREE_S, Daemon, _Heads
from agents.effects.runner import Runner
from bfl_events.schema import Record
from bfl_events.source import Advance, Head
from tests.core.tasks import me
from tests.simulation.play import Game

Script = list[Advance | str]


def records(workers: int = 3) -> tuple[Record, ...]:
    game = Game.create(Random(1))
    game.start(workers)
    return tuple(game.model.chain.records)


def head(number: int) -> Head:
    return Head(number, bytes(32), 1_700_000_000 + number)


class RealClock:
    now = 1_700_000_000.0

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(min(seconds, 0.001), callback)


class Bench:
    """A daemon over scripted advances. `seen` are the worlds that decisions were made on."""

    def __init__(self, advances: list[Advance], log: Iterable[Record] = (), wanted: tuple[Intent, ...] = ()) -> None:
        self.log = list(log)
        self.seen: list[tuple[int, int]] = []
        self.rewinds: list[int] = []
        self.doubts: list[str] = []
        self.told: list[Record] = []
        self.error: Exception | None = None
        self.release: asyncio.Event | None = None
        self.clock = RealClock()
        self.runner = Runner(self._perform, lambda *_: None, self.clock, lambda *_: None, self._give_up)
        self._advances, self._wanted = advances, wanted
        self.daemon = Daemon(
            advances=self._stream, replay=lambda: self.log, decide=self._decide, me=me, memory=Memory,
            runner=self.runner, clock=self.clock, block_s=None, observer=self, finished=lambda _: False,
            distrust=self._distrust,
        )

    def _distrust(self, record: Record, why: str) -> None:
        self.doubts.append(why)

    async def _stream(self) -> AsyncGenerator[Advance, None]:
        for advance in self._advances:
            yield advance
            await asyncio.sleep(0.005)

    def _decide(self, world: World, memory: Memory, me: Me, now: Now) -> tuple[Intent, ...]:
        self.seen.append((now.head, sum(len(task.members) for task in world.tasks.values())))
        return self._wanted

    async def _perform(self, intent: Intent) -> Outcome | None:
        if self.error is not None:
            raise self.error
        if self.release is not None:
            await self.release.wait()
        return None

    async def _give_up(self, intent: Intent) -> None:
        pass

    def records(self, records: tuple[Record, ...]) -> None:
        self.told += records

    def rewound(self, to: int) -> None:
        self.rewinds.append(to)

    def tick(self, outlook: Outlook) -> None:
        pass


async def test_records_are_folded_once_however_often_they_come() -> None:
    told = records()
    bench = Bench([Advance(head(1), told), Advance(head(2), told)])
    await bench.daemon.run()
    assert bench.seen[-1] == (2, 3)
    assert bench.told == list(told)
    assert bench.daemon.outlook is not None
    assert bench.daemon.outlook.folded == len(told)


async def test_nobody_decides_on_the_past() -> None:
    told = records()
    bench = Bench([Advance(head(1), told[:2], behind=5), Advance(head(2), told[2:])])
    await bench.daemon.run()
    assert {number for number, _ in bench.seen} == {2}


async def test_a_rewind_folds_the_log_again() -> None:
    told = records()
    bench = Bench([Advance(head(5), told), Advance(head(4), (), rewound_to=3)])
    bench.log = []
    await bench.daemon.run()
    assert bench.rewinds == [3]
    assert bench.seen[-1] == (4, 0)


async def test_a_log_that_cannot_be_is_not_decided_on_until_it_was_read_again() -> None:
    told = records()
    bench = Bench([Advance(head(1), told[:1]), Advance(head(2), told[2:]), Advance(head(3)),
                   Advance(head(4), told, rewound_to=0), Advance(head(5))])
    bench.daemon._replay = lambda: told if bench.doubts else ()
    await bench.daemon.run()
    assert {number for number, _ in bench.seen} == {1, 4, 5}
    assert len(bench.doubts) == 1
    assert "TaskInitialized must come before everything else" in bench.doubts[0]
    assert bench.seen[-1] == (5, 3)


async def test_a_hole_in_the_log_on_disk_is_noticed_at_the_start() -> None:
    told = records()
    bench = Bench([Advance(head(1)), Advance(head(2), told, rewound_to=0)], log=[told[0], *told[2:]])
    running = asyncio.create_task(bench.daemon.run())
    while not bench.doubts:
        await asyncio.sleep(0)
    bench.log = list(told)
    await running
    assert set(bench.seen) == {(2, 3)}


async def test_a_restart_begins_with_the_log() -> None:
    bench = Bench([Advance(head(9))], log=records())
    await bench.daemon.run()
    assert bench.seen[0] == (9, 3)
    assert bench.told == []
    assert gc.isenabled(), "it only rests while the log is folded"


async def test_what_only_a_person_can_mend_ends_the_loop() -> None:
    bench = Bench([Advance(head(1))] * 50, wanted=(Refund("0x" + "11" * 20, 1),))
    bench.error = ZeroDivisionError("broken")
    with pytest.raises(ZeroDivisionError, match="broken"):
        await bench.daemon.run()


async def test_stop_ends_the_loop_and_cancels_what_runs() -> None:
    bench = Bench([Advance(head(n)) for n in range(1000)], wanted=(Refund("0x" + "11" * 20, 1),))
    running = asyncio.create_task(bench.daemon.run())
    while not bench.seen:
        await asyncio.sleep(0.001)
    bench.daemon.stop()
    await asyncio.wait_for(running, 5)
    assert bench.runner.busy() == ()


async def draining(bench: Bench, limit_s: float, afloat: tuple[str, ...] = ()) -> asyncio.Task[None]:
    """A loop that was told to drain while its only intent was being performed."""
    bench.release = asyncio.Event()
    running = asyncio.create_task(bench.daemon.run())
    while not bench.runner.busy():
        await asyncio.sleep(0.001)
    bench.daemon.drain(bench.clock.now + limit_s, afloat.__contains__)
    for _ in range(5):
        await asyncio.sleep(0.001)
    return running


def busy_bench() -> Bench:
    return Bench([Advance(head(n)) for n in range(1000)], wanted=(Refund("0x" + "11" * 20, 1),))


async def test_draining_ends_when_what_runs_has_ended() -> None:
    bench = busy_bench()
    running = await draining(bench, 60)
    assert not running.done()
    assert bench.release is not None
    bench.release.set()
    await asyncio.wait_for(running, 5)
    assert bench.daemon.outlook is not None


async def test_draining_ends_at_its_limit_and_cancels_what_is_left() -> None:
    bench = busy_bench()
    running = await draining(bench, 60)
    assert not running.done()
    bench.clock.now += 60
    await asyncio.wait_for(running, 5)
    assert bench.runner.busy() == ()


async def test_draining_does_not_wait_for_a_transaction_that_is_on_its_way() -> None:
    bench = busy_bench()
    running = await draining(bench, 60, afloat=(Refund("0x" + "11" * 20, 1).key,))
    await asyncio.wait_for(running, 5)


# ------------------------------------------------------------------------------------------------ the chain's clock


WALL = RealClock.now


def heads(*seen: tuple[int, int, int | None]) -> _Heads:
    """Heads heard of at WALL, one after the other: number, time, and what time it was on the chain then."""
    known = _Heads(None)
    for number, time, clock in seen:
        known.see(Advance(Head(number, bytes(32), time), clock=clock), WALL)
    return known


@given(st.floats(-10**6, 10**6), st.lists(st.floats(0, 100), min_size=1))
def test_the_chains_clock_is_followed_from_block_to_block_and_between_them(offset: float, pauses: list[float]) -> None:
    known, wall = _Heads(None), WALL
    for number, pause in enumerate(pauses):
        shown = int(wall + offset)
        known.see(Advance(Head(number, bytes(32), shown), clock=shown), wall)
        wall += pause
        early = known.now(wall).time - (wall + offset)
        assert -1 <= early <= (CLOCKS_AGREE_S if abs(offset) < CLOCKS_AGREE_S else 0.001)


async def test_decisions_are_made_by_the_chains_clock() -> None:
    bench = Bench([Advance(head(1), clock=int(WALL) - 3600)])
    await bench.daemon.run()
    assert bench.daemon.outlook is not None
    assert bench.daemon.outlook.now.time == WALL - 3600


def test_a_head_that_may_be_old_says_only_that_its_time_has_come() -> None:
    assert heads((1, int(WALL) - 3600, None)).now(WALL).time == WALL
    assert heads((1, int(WALL) + 3600, None)).now(WALL).time == WALL + 3600
    assert heads((1, int(WALL) + 5, None), (2, int(WALL) - 9, None)).now(WALL).time == WALL, "as it was heard of later"


def test_a_chain_that_was_behind_is_so_until_the_contrary_is_known() -> None:
    behind = int(WALL) - 3600
    known = heads((5, behind, behind), (3, behind - 100, None))
    assert known.now(WALL).time == WALL - 3600
    known.see(Advance(Head(4, bytes(32), behind), clock=int(WALL)), WALL)
    assert known.now(WALL).time == WALL


def test_a_clock_that_was_set_does_not_stretch_the_blocks() -> None:
    began = int(WALL) - 10_000
    assert heads((1, began, None), (2, began + 2, None), (4, began + 6, None), (5, began + 9_000, None),
                 (6, began + 9_002, None), (3, began + 4, None)).now(WALL).block_s == 2
    assert heads((7, began, None)).now(WALL).block_s == 0
