"""Each fault is done to whom the plan names, ends when the plan says, and leaves nothing broken."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest

from agents.cli.failures import Failure
from agents.demo.chaos import Fault, What
from agents.demo.relay import Trouble
from agents.demo.supervisor import Restarts, Service, Supervisor
from agents.demo.turmoil import CHILD, Turmoil
from agents.demo.upheaval import Upheaval
from agents.demo.wiring import Wiring, open_wiring
from bfl_events.rpc import RpcError

NAMES = ("requester", "worker-1", "worker-2")
# An agent with a learning child: its command line has the name that the real one has, and it ends with its agent.
AGENT = ("import subprocess, sys, signal; "
         f"child = subprocess.Popen([sys.executable, '-c', 'open(0).read()', '{CHILD}'], stdin=subprocess.PIPE); "
         "print('up', flush=True); signal.pause()")


@dataclass
class Chain:
    """Notes what is asked of it; `fails` is raised instead."""

    asked: list[tuple[str, float]] = field(default_factory=list)
    fails: Exception | None = None

    async def _note(self, what: str, size: float) -> int:
        self.asked.append((what, size))
        if self.fails is not None:
            raise self.fails
        return int(size)

    async def freeze(self, seconds: float) -> None:
        await self._note("freeze", seconds)

    async def restart(self, lose: int) -> int:
        return await self._note("restart", lose)

    async def reorganise(self, depth: int) -> int:
        return await self._note("reorganise", depth)


@pytest.fixture
async def wiring() -> AsyncIterator[Wiring]:
    async with open_wiring(NAMES, 1, 1) as wiring:
        yield wiring


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    services = [Service(name, (sys.executable, "-c", AGENT), tmp_path / f"{name}.log") for name in NAMES]
    supervisor = Supervisor(services, Restarts(first_s=60))
    supervisor.start()
    async with asyncio.timeout(20):
        while not all((tmp_path / f"{name}.log").read_text() for name in NAMES):
            await asyncio.sleep(0.01)
    yield supervisor
    await supervisor.stop(0)


def turmoil(supervisor: object, wiring: Wiring, chain: Chain, in_round: Callable[[], bool] = lambda: True) -> Turmoil:
    return Turmoil(cast("Supervisor", supervisor), cast("Upheaval", chain), wiring, in_round)


async def rage(turmoil: Turmoil, *faults: Fault, seconds: float = 60) -> None:
    began = asyncio.get_running_loop().time()
    await turmoil.rage(iter(faults), began, began + seconds)


async def ended(supervisor: Supervisor, names: set[str]) -> None:
    """Wait until exactly these have been seen to end."""
    seen: set[str] = set()
    async with asyncio.timeout(10):
        while not names <= seen:
            seen |= {one.name for one in supervisor.tend()}
            await asyncio.sleep(0.01)
    assert seen == names


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("who", [("worker-1",), ("requester", "worker-2"), NAMES])
async def test_exactly_the_named_agents_are_killed(
    supervisor: Supervisor, wiring: Wiring, who: tuple[str, ...]
) -> None:
    storm = turmoil(supervisor, wiring, Chain())
    await rage(storm, Fault(0, What.AGENTS, who))
    await ended(supervisor, set(who))
    assert [one.count for one in storm.happened] == [len(who)]


async def test_a_child_is_killed_alone(supervisor: Supervisor, wiring: Wiring) -> None:
    pid = supervisor.pids["worker-1"]
    (child,) = children(pid)
    storm = turmoil(supervisor, wiring, Chain())
    await rage(storm, Fault(0, What.CHILDREN, ("worker-1",)))
    async with asyncio.timeout(10):
        while Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes():
            await asyncio.sleep(0.01)
    assert supervisor.pids["worker-1"] == pid
    assert not supervisor.tend()
    assert [one.count for one in storm.happened] == [1]


async def test_everybody_means_agents_and_children(supervisor: Supervisor, wiring: Wiring) -> None:
    storm = turmoil(supervisor, wiring, Chain())
    await rage(storm, Fault(0, What.EVERYBODY, NAMES))
    assert [one.count for one in storm.happened] == [2 * len(NAMES)]
    await ended(supervisor, set(NAMES))


async def test_whoever_dies_for_ever_waits_for_the_first_round(supervisor: Supervisor, wiring: Wiring) -> None:
    looks = count()
    storm = turmoil(supervisor, wiring, Chain(), lambda: next(looks) >= 2)
    await rage(storm, Fault(0, What.FOR_EVER, ("requester",)))
    assert next(looks) == 3
    assert storm.retired == {"requester"}
    (gone,) = [one for one in await until_ended(supervisor) if one.name == "requester"]
    assert (gone.final, gone.failed) == (True, False)


async def until_ended(supervisor: Supervisor) -> list[Any]:
    async with asyncio.timeout(10):
        while not (found := supervisor.tend()):
            await asyncio.sleep(0.01)
    return found


@pytest.mark.parametrize(("what", "trouble", "ways"), [
    (What.CUT, Trouble.CUT, 2), (What.SLOW, Trouble.SLOW, 1), (What.FAILING, Trouble.FAILING, 1),
    (What.HALF, Trouble.HALF, 1), (What.STORE_DEAD, Trouble.CUT, 0), (What.STORE_SLOW, Trouble.SLOW, 0),
    (What.STORE_FAILING, Trouble.FAILING, 0), (What.STORE_CORRUPT, Trouble.CORRUPT, 0),
])
async def test_trouble_is_laid_on_the_named_ways_and_taken_off_again(
    wiring: Wiring, what: What, trouble: Trouble, ways: int
) -> None:
    """Whoever is cut off loses both ways to the chain; a store's trouble leaves the chain alone."""
    storm = turmoil(None, wiring, Chain())
    raging = asyncio.create_task(rage(storm, Fault(0, what, ("worker-1",), seconds=0.2)))
    mine, other = wiring.ways["worker-1"], wiring.ways["worker-2"]
    async with asyncio.timeout(10):
        while all(relay.trouble is Trouble.NONE for relay in (*mine.chain, mine.store)):
            await asyncio.sleep(0)
    assert [relay.trouble for relay in mine.chain].count(trouble) == ways
    assert (mine.store.trouble is trouble) == (ways == 0)
    assert all(relay.trouble is Trouble.NONE for relay in (*other.chain, other.store))
    await raging
    assert all(relay.trouble is Trouble.NONE for relay in (*mine.chain, mine.store))
    (happened,) = storm.happened
    assert happened.ended - happened.began >= 0.2


async def test_the_chain_is_asked_for_what_the_plan_says(wiring: Wiring) -> None:
    chain = Chain()
    await rage(turmoil(None, wiring, chain), Fault(0, What.FREEZE, NAMES, seconds=1.5),
               Fault(0, What.RESTART, NAMES, blocks=2), Fault(0, What.REORG, NAMES, blocks=5))
    assert chain.asked == [("freeze", 1.5), ("restart", 2), ("reorganise", 5)]


@pytest.mark.parametrize("what", [What.RESTART, What.REORG])
async def test_a_fault_that_a_chain_in_trouble_refuses_does_not_count(wiring: Wiring, what: What) -> None:
    storm = turmoil(None, wiring, Chain(fails=RpcError("frozen")))
    await rage(storm, Fault(0, what, NAMES, blocks=1))
    assert [one.count for one in storm.happened] == [0]


async def test_a_chain_that_does_not_come_back_ends_the_soak(wiring: Wiring) -> None:
    storm = turmoil(None, wiring, Chain(fails=Failure("The local chain did not start.")))
    with pytest.raises(Failure, match="did not start"):
        await rage(storm, Fault(0, What.RESTART, NAMES))


async def test_no_fault_begins_after_the_time_is_over(wiring: Wiring) -> None:
    def endless() -> Iterator[Fault]:
        for number in count():
            yield Fault(0.01 * number, What.REORG, NAMES, blocks=1)

    chain = Chain()
    storm = turmoil(None, wiring, chain)
    began = asyncio.get_running_loop().time()
    await storm.rage(endless(), began, began + 0.095)
    assert len(chain.asked) == 10


@pytest.mark.parametrize("end", ["cancelled", "failed"])
async def test_whatever_ends_it_all_ways_are_healed(wiring: Wiring, end: str) -> None:
    chain = Chain(fails=Failure("gone") if end == "failed" else None)
    storm = turmoil(None, wiring, chain)
    mine = wiring.ways["worker-1"]

    async def troubled() -> None:
        while mine.store.trouble is Trouble.NONE:
            await asyncio.sleep(0)

    plan = [Fault(0, What.STORE_DEAD, ("worker-1",), seconds=60), Fault(0.1, What.RESTART, NAMES)]
    raging = asyncio.create_task(rage(storm, *(plan if end == "failed" else plan[:1])))
    await asyncio.wait_for(troubled(), 10)
    if end == "cancelled":
        raging.cancel()
    with suppress(asyncio.CancelledError, Failure):
        await asyncio.wait_for(raging, 10)
    assert mine.store.trouble is Trouble.NONE


async def test_of_two_troubles_the_later_shows_until_it_ends(wiring: Wiring) -> None:
    relay = wiring.ways["worker-1"].store
    first, second = wiring.lay([relay], Trouble.SLOW), wiring.lay([relay], Trouble.CUT)
    assert relay.trouble is Trouble.CUT
    wiring.lift(second)
    assert relay.trouble is Trouble.SLOW
    wiring.lift(first)
    assert relay.trouble is Trouble.NONE
    wiring.lift(first)
