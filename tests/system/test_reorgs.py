"""Agents on a chain that takes back what it said, in every phase: the task completes and nobody contradicts itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.anvil import start_anvil
from tests.system.chronicle import function_of
from tests.system.consortium import FUNDS, Consortium
from tests.system.proxy import Gate, Proxy

Act = Callable[[Consortium], None]


@dataclass
class Script:
    """Acts in order, each when the next transaction of its function was passed on (or, `early`, is about to be)."""

    consortium: Consortium
    steps: list[tuple[str, Act]]

    async def before(self, raw: bytes) -> None:
        await self._play("early " + function_of(raw))

    async def after(self, raw: bytes) -> None:
        await self._play(function_of(raw))

    async def _play(self, moment: str) -> None:
        if self.steps and self.steps[0][0] == moment:
            _, act = self.steps.pop(0)
            await self.consortium.gate.closed(lambda: self._act(act))

    def _act(self, act: Act) -> None:
        assert self.consortium.chronicle is not None
        self.consortium.chronicle.look()
        act(self.consortium)


def reorg(depth: int) -> Act:
    """The last `depth` blocks become empty ones; below the task's creation nothing changes."""

    def act(consortium: Consortium) -> None:
        room = int(consortium.anvil.rpc("eth_blockNumber"), 16) - consortium.created
        consortium.anvil.rpc("anvil_reorg", min(depth, room), [])

    return act


@asynccontextmanager
async def consortium(directory: Path, endpoints: int = 1, **flags: object) -> AsyncIterator[Consortium]:
    with start_anvil(directory, **flags) as anvil:
        async with Gate(anvil) as gate:
            proxies = [Proxy(gate) for _ in range(endpoints)]
            for one in proxies:
                await one.start()
            made = Consortium(directory, gate, proxies)
            await made.prepare()
            try:
                yield made
            finally:
                await made.stop()
                for one in proxies:
                    await one.stop()


def judge(made: Consortium) -> None:
    assert made.chronicle is not None
    made.chronicle.look()
    made.agree_with_the_chain()
    made.chronicle.nobody_contradicted_itself()
    made.chronicle.no_nonce_was_skipped(made.gate.sent)
    funds = dict.fromkeys(made.addresses.values(), FUNDS)
    made.chronicle.every_wei_is_accounted_for(funds)


async def test_a_task_without_any_fault_is_the_ruler(tmp_path: Path) -> None:
    async with consortium(tmp_path) as made:
        made.start()
        await made.ends(60)
        judge(made)


async def test_a_reorg_in_every_phase_changes_nothing_that_matters(tmp_path: Path) -> None:
    async with consortium(tmp_path) as made:
        script = Script(made, [
            ("joinTask", reorg(1)), ("commitModel", reorg(2)), ("openModel", reorg(3)), ("commitScores", reorg(4)),
            ("submitScore", reorg(5)), ("early nextRound", reorg(6)), ("nextRound", reorg(1)),
            ("attestFinal", reorg(2)), ("withdraw", reorg(3)),
        ])
        made.gate.before, made.gate.after = script.before, script.after
        made.start()
        await made.ends(120)
        assert script.steps == []
        judge(made)
