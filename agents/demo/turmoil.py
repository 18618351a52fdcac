"""Does what the plan of faults says, to real processes, sockets and a real chain, and keeps account of it.

Owns when a fault begins and that it ends. Decides nothing: the plan is agents/demo/chaos.py.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, assert_never

from agents.demo import processes
from agents.demo.chaos import Fault, Kind, What
from agents.demo.relay import Relay, Trouble
from agents.demo.supervisor import Supervisor
from agents.demo.upheaval import Upheaval
from agents.demo.wiring import Wiring
from bfl_events.rpc import RpcError

CHILD: Final = "agents.learning.child"
_LOOK_S: Final = 0.2
TROUBLES: Final = {
    What.CUT: Trouble.CUT, What.SLOW: Trouble.SLOW, What.FAILING: Trouble.FAILING, What.HALF: Trouble.HALF,
    What.STORE_DEAD: Trouble.CUT, What.STORE_SLOW: Trouble.SLOW, What.STORE_FAILING: Trouble.FAILING,
    What.STORE_CORRUPT: Trouble.CORRUPT,
}


@dataclass(frozen=True, slots=True)
class Happened:
    """A fault as it was: `began` and `ended` in seconds since the epoch; `count`: processes killed, blocks replaced or
    lost, else 1. 0: there was nobody to do it to."""

    fault: Fault
    began: float
    ended: float
    count: int

    def document(self) -> dict[str, Any]:
        return {**self.fault.document(), "began": round(self.began, 3), "ended": round(self.ended, 3),
                "count": self.count}


@dataclass(slots=True)
class Turmoil:
    """The faults of one task. `in_round`: whether its first round has begun, for what must wait until then."""

    supervisor: Supervisor
    upheaval: Upheaval
    wiring: Wiring
    in_round: Callable[[], bool]
    said: Callable[[str], None] = lambda _: None
    happened: list[Happened] = field(default_factory=list)
    retired: set[str] = field(default_factory=set)

    async def rage(self, plan: Iterable[Fault], began: float, until: float) -> None:
        """Every fault of the plan at its time after `began` (event loop's seconds), as long as that is before `until`.

        When it returns or is cancelled, all is healed: every fault has ended. Raises Failure if the chain does not come
        back.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as running:
                for fault in plan:
                    if began + fault.at >= until:
                        break
                    await asyncio.sleep(max(0.0, began + fault.at - loop.time()))
                    running.create_task(self._bring(fault), name=str(fault.what))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            self.wiring.heal()

    async def _bring(self, fault: Fault) -> None:
        began = time.time()
        count = await self._do(fault)
        self.happened.append(Happened(fault, began, time.time(), count))
        if count:
            whom = "" if fault.kind is Kind.REORG or fault.what in (What.FREEZE, What.RESTART) else ", ".join(fault.who)
            self.said(" ".join(part for part in (whom, str(fault.what), _size(fault, count)) if part))

    async def _do(self, fault: Fault) -> int:
        match fault.what:
            case What.AGENTS | What.EVERYBODY:
                pids = self._agents(fault.who)
                return _kill(pids + (_children(pids) if fault.what is What.EVERYBODY else []))
            case What.CHILDREN:
                return _kill(_children(self._agents(fault.who)))
            case What.FOR_EVER:
                return await self._retire(fault.who)
            case What.FREEZE:
                await self.upheaval.freeze(fault.seconds)
                return 1
            case What.RESTART:
                with suppress(RpcError):
                    await self.upheaval.restart(fault.blocks)
                    return 1
                return 0
            case What.REORG:
                with suppress(RpcError):
                    return await self.upheaval.reorganise(fault.blocks)
                return 0
            case (What.CUT | What.SLOW | What.FAILING | What.HALF | What.STORE_DEAD | What.STORE_SLOW
                  | What.STORE_FAILING | What.STORE_CORRUPT):
                laid = self.wiring.lay(self._relays(fault), TROUBLES[fault.what])
                try:
                    await asyncio.sleep(fault.seconds)
                finally:
                    self.wiring.lift(laid)
                return 1
            case what:
                assert_never(what)

    def _relays(self, fault: Fault) -> list[Relay]:
        """Whoever is cut off loses all ways to the chain; other trouble befalls one of them."""
        ways = [self.wiring.ways[name] for name in fault.who]
        if fault.kind is Kind.STORE:
            return [way.store for way in ways]
        return [relay for way in ways for relay in (way.chain if fault.what is What.CUT else way.chain[:1])]

    async def _retire(self, names: Sequence[str]) -> int:
        """Once its first round has begun, for the task needs whoever started it until then."""
        while not self.in_round():
            await asyncio.sleep(_LOOK_S)
        for name in names:
            self.supervisor.retire(name)
            self.retired.add(name)
        return len(names)

    def _agents(self, names: Sequence[str]) -> list[int]:
        return [pid for name, pid in self.supervisor.pids.items() if name in names]


def _size(fault: Fault, count: int) -> str:
    if fault.seconds:
        return f"for {fault.seconds:.1f} s"
    return f"of {count} blocks" if fault.kind is Kind.REORG else ""


def _children(agents: Iterable[int]) -> list[int]:
    return [child for pid in agents for child in processes.children(pid) if CHILD in processes.command_line(child)]


def _kill(pids: Iterable[int]) -> int:
    killed = 0
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            killed += 1
    return killed
