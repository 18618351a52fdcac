"""Laws of the outbox: killed at every boundary, and under any mixture of faults, each key takes effect exactly once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from agents.effects.fees import GWEI
from agents.effects.outbox import Outbox, Prepare, Timing
from agents.effects.ports import Rejected, Transient
from agents.effects.slots import Payload
from bfl_events.rpc import RpcRefused
from tests.effects.fake_chain import FakeChain, FakeClock, StubSigner

TIMING = Timing(bury=4, stuck_s=3.0, interval_s=1.0, foreign_s=3600.0)
KEYS = ("a", "b", "c", "d")


class Killed(BaseException):
    """The process ends here, without any handler running."""


@dataclass
class World:
    """A chain that outlives its agent; the agent dies at its `fuse`-th boundary (request, answer, or durable step)."""

    path: Path
    chain: FakeChain
    clock: FakeClock
    fuse: int = -1
    boundaries: int = 0

    def tick(self, *_: object) -> None:
        self.boundaries += 1
        if self.fuse >= 0 and self.boundaries > self.fuse:
            raise Killed

    async def call(self, method: str, *params: Any) -> Any:
        self.tick()
        answer = await self.chain.call(method, *params)
        self.tick()
        return answer

    def tell_others(self, method: str, *params: Any) -> None:
        """There are none."""
        self.tick()

    @contextmanager
    def outbox(self) -> Iterator[Outbox]:
        box = Outbox(self, StubSigner(), self.path, chain_id=31337, clock=self.clock, timing=TIMING, report=self.tick)
        try:
            yield box
        finally:
            box._slots.close()


def call(key: str) -> Prepare:
    async def prepare() -> Payload:
        return Payload("0x" + "cc" * 20, key.encode(), 0, 100_000)

    return prepare


async def attempt(outbox: Outbox, keys: tuple[str, ...], clock: FakeClock, passes: int) -> bool:
    """Send the keys at once and settle a few times; whether all were mined. Every waiter is cancelled at the end."""
    tasks = [asyncio.create_task(outbox.send(key, call(key))) for key in keys]
    try:
        for _ in range(passes):
            for _ in range(40):
                await asyncio.sleep(0)
            if all(task.done() for task in tasks):
                break
            clock.advance(1.5)
            with suppress(Transient, RpcRefused):
                await outbox.settle()
        return all(task.done() and task.exception() is None for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, Killed):
                raise end


async def recover(world: World, keys: tuple[str, ...]) -> None:
    """A quiet, honest time: every wanted key is asked for until it is mined and buried."""
    chain = world.chain
    chain.automine, chain.base_fee, chain.down = True, GWEI, False
    chain.lose_replies = chain.swallow = 0
    chain.refuse.clear()
    world.fuse = -1
    with world.outbox() as outbox:
        for _ in range(40):
            done = await attempt(outbox, keys, world.clock, 6)
            chain.mine()
            if done and not outbox.pending():
                return
            await outbox.settle()
            world.clock.advance(2)
        raise AssertionError(f"still open: {outbox.pending()}")


def check(world: World, keys: tuple[str, ...], *, at_most: tuple[str, ...] = ()) -> None:
    effects = world.chain.effects()
    assert {key: effects[key.encode().hex()] for key in keys} == dict.fromkeys(keys, 1)
    assert all(effects[key.encode().hex()] <= 1 for key in at_most)
    nonces = [tx.nonce for tx in world.chain.mined]
    assert nonces == list(range(len(nonces)))


def fresh(folder: str, **options: bool) -> World:
    return World(Path(folder) / "outbox.sqlite", FakeChain(**options), FakeClock())


@pytest.mark.parametrize("automine", [True, False])
def test_killed_at_every_boundary_each_key_still_takes_effect_once(tmp_path: Path, automine: bool) -> None:
    """Boundary by boundary: before each request, after each answer, after each durable step."""
    for fuse in itertools.count():
        world = World(tmp_path / f"{fuse}.sqlite", FakeChain(automine=automine), FakeClock(), fuse)
        killed = asyncio.run(_live_and_die(world))
        asyncio.run(recover(world, KEYS[:2]))
        check(world, KEYS[:2])
        if not killed:
            assert fuse > 15
            break


async def _live_and_die(world: World) -> bool:
    try:
        with world.outbox() as outbox:
            await attempt(outbox, KEYS[:2], world.clock, 1)
            world.chain.mine(2)
            await attempt(outbox, (), world.clock, 1)
            await outbox.settle()
            world.chain.reorg(2)
            await outbox.settle()
            world.chain.base_fee = 20 * GWEI
            world.clock.advance(10)
            await outbox.settle()
            world.chain.mine(6)
            await outbox.settle()
    except Killed:
        return True
    return False


faults = st.one_of(
    st.tuples(st.just("send"), st.sampled_from(KEYS)),
    st.tuples(st.just("mine"), st.integers(1, 5)),
    st.tuples(st.just("reorg"), st.integers(1, 6)),
    st.tuples(st.just("reorg-keep"), st.integers(1, 6)),
    st.tuples(st.just("rewind"), st.integers(1, 6)),
    st.tuples(st.just("drop"), st.just(0)),
    st.tuples(st.just("base"), st.sampled_from([1, 3, 30])),
    st.tuples(st.just("lose"), st.integers(1, 3)),
    st.tuples(st.just("swallow"), st.integers(1, 3)),
    st.tuples(st.just("down"), st.booleans()),
    st.tuples(st.just("automine"), st.booleans()),
    st.tuples(st.just("full"), st.just(0)),
    st.tuples(st.just("wait"), st.integers(1, 8)),
    st.tuples(st.just("kill"), st.integers(0, 30)),
    st.tuples(st.just("abandon"), st.sampled_from(KEYS)),
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(script=st.lists(faults, max_size=25), wanted=st.sets(st.sampled_from(KEYS), min_size=1))
def test_any_mixture_of_faults_leaves_each_wanted_key_mined_once(
    script: list[tuple[str, Any]], wanted: set[str]
) -> None:
    with TemporaryDirectory() as folder:
        world = fresh(folder)
        asyncio.run(_suffer(world, script))
        keys = tuple(sorted(wanted))
        asyncio.run(recover(world, keys))
        check(world, keys, at_most=KEYS)


async def _suffer(world: World, script: list[tuple[str, Any]]) -> None:
    steps = iter(script)
    while True:
        world.fuse = -1
        try:
            with world.outbox() as outbox:
                for name, value in steps:
                    await _strike(world, outbox, name, value)
                return
        except Killed:
            continue


async def _strike(world: World, outbox: Outbox, name: str, value: Any) -> None:
    chain = world.chain
    match name:
        case "send":
            await attempt(outbox, (value,), world.clock, 2)
        case "mine":
            chain.mine(value)
        case "reorg" | "reorg-keep":
            chain.reorg(value, keep=name == "reorg-keep")
        case "rewind":
            chain.rewind(value)
        case "drop":
            chain.drop_pool()
        case "base":
            chain.base_fee = value * GWEI
        case "lose":
            chain.lose_replies = value
        case "swallow":
            chain.swallow = value
        case "down":
            chain.down = value
        case "automine":
            chain.automine = value
        case "full":
            chain.refuse["eth_sendRawTransaction"] = ["txpool is full"]
        case "kill":
            world.fuse, world.boundaries = value, 0
        case "abandon":
            await outbox.abandon(value)
        case "wait":
            for _ in range(value):
                world.clock.advance(1.5)
                with suppress(Transient, RpcRefused, Rejected):
                    await outbox.settle()
