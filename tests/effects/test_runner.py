"""The runner: what runs equals what is wanted, whatever fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from agents.core.intents import ClearRound, Done, Intent, Outcome, Refund
from agents.effects.ports import Rejected, Timer, Transient
from agents.effects.runner import FIRST_REST_S, OBSERVE_S, Runner

TASK = "0x" + "11" * 20
WORK = ClearRound(TASK, 1, (), ())
SEND = Refund(TASK, 5)


class StoppedClock:
    now = 1000.0

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        raise AssertionError("the runner sets no timer")


class Bench:
    """A runner over one scripted perform, with all that it reports and records."""

    def __init__(self, perform: Callable[[Intent], Awaitable[Outcome | None]]) -> None:
        self.clock = StoppedClock()
        self.recorded: dict[str, Outcome] = {}
        self.said: list[str] = []
        self.given_up: list[Intent] = []
        self.runner = Runner(
            perform, self.recorded.__setitem__, self.clock, lambda _, what, __: self.said.append(what), self._give_up
        )

    async def _give_up(self, intent: Intent) -> None:
        self.given_up.append(intent)

    async def settle(self, *wanted: Intent) -> None:
        self.runner.reconcile(wanted)
        for _ in range(5):
            await asyncio.sleep(0)


async def test_work_is_recorded_before_anything_else_hears_of_it() -> None:
    async def perform(_: Intent) -> Outcome:
        return Done()

    bench = Bench(perform)
    await bench.settle(WORK)
    assert bench.recorded == {WORK.key: Done()}
    assert bench.said == ["started", "finished"]
    assert bench.runner.changed.is_set()


async def test_what_is_no_longer_wanted_is_cancelled() -> None:
    cancelled = asyncio.Event()

    async def perform(_: Intent) -> Outcome:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    bench = Bench(perform)
    await bench.settle(WORK)
    assert bench.runner.busy() == (WORK.key,)
    await bench.settle()
    await bench.settle()
    assert cancelled.is_set()
    assert bench.given_up == [WORK]
    assert bench.runner.busy() == ()
    assert bench.recorded == {}
    assert bench.said == ["started", "cancelled"]


async def test_a_shutdown_gives_nothing_up() -> None:
    async def perform(_: Intent) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError

    bench = Bench(perform)
    await bench.settle(WORK)
    await bench.runner.stop()
    assert bench.said == ["started", "cancelled"]
    assert bench.given_up == []


@pytest.mark.parametrize("error", [Transient("no answer"), Rejected("PhaseOver", (7,))])
async def test_a_failure_rests_and_is_tried_again(error: Exception) -> None:
    tries = 0

    async def perform(_: Intent) -> Outcome:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise error
        return Done()

    bench = Bench(perform)
    await bench.settle(WORK)
    await bench.settle(WORK)
    assert tries == 1
    assert bench.runner.next_retry() == bench.clock.now + FIRST_REST_S
    bench.clock.now += FIRST_REST_S
    await bench.settle(WORK)
    assert tries == 2
    assert bench.recorded == {WORK.key: Done()}


async def test_a_sent_transaction_is_looked_at_again_only_after_a_while() -> None:
    sent = 0

    async def perform(_: Intent) -> None:
        nonlocal sent
        sent += 1

    bench = Bench(perform)
    await bench.settle(SEND)
    await bench.settle(SEND)
    assert sent == 1
    bench.clock.now += OBSERVE_S
    await bench.settle(SEND)
    assert sent == 2


async def test_an_unknown_failure_is_kept_for_the_daemon_to_raise() -> None:
    async def perform(_: Intent) -> Outcome:
        raise ZeroDivisionError

    bench = Bench(perform)
    await bench.settle(WORK)
    assert isinstance(bench.runner.failure, ZeroDivisionError)
    assert bench.recorded == {}


async def test_while_draining_nothing_starts_and_what_runs_goes_on_as_long_as_it_is_wanted() -> None:
    release = asyncio.Event()

    async def perform(_: Intent) -> Outcome:
        await release.wait()
        return Done()

    bench, other = Bench(perform), ClearRound(TASK, 2, (), ())
    await bench.settle(WORK, SEND)
    bench.runner.drain()
    await bench.settle(WORK, other)
    await bench.settle(WORK, other)
    assert bench.runner.busy() == (WORK.key,)
    assert bench.given_up == [SEND]
    release.set()
    await bench.settle(WORK, other)
    assert bench.recorded == {WORK.key: Done()}
    assert bench.runner.busy() == ()


@pytest.mark.parametrize("error", [Transient("the disk is full"), OSError("broken")])
async def test_giving_up_that_fails_is_told_or_ends_the_loop_but_is_never_swallowed(error: Exception) -> None:
    async def perform(_: Intent) -> None:
        await asyncio.Event().wait()

    async def refuse(_: Intent) -> None:
        raise error

    bench = Bench(perform)
    bench.runner = Runner(
        perform, bench.recorded.__setitem__, bench.clock, lambda _, what, __: bench.said.append(what), refuse
    )
    await bench.settle(SEND)
    await bench.settle()
    assert not bench.runner.busy()
    if isinstance(error, Transient):
        assert bench.said == ["started", "cancelled", "failed"]
        assert bench.runner.failure is None
    else:
        assert bench.runner.failure is error
