"""Agents on a chain that takes back what it said, in every phase: the task completes and nobody contradicts itself."""

from __future__ import annotations

import gzip
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bfl_events.schema import DeadlineMissed
from tests.anvil import Anvil, start_anvil
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


@dataclass
class Snapshot:
    """The chain as it was at one moment of a script, and its return at another."""

    id: str = ""

    def take(self, consortium: Consortium) -> None:
        self.id = consortium.anvil.rpc("evm_snapshot")

    def revert(self, consortium: Consortium) -> None:
        assert consortium.anvil.rpc("evm_revert", self.id)


@dataclass
class Dump:
    """The node's state on disk at one moment, and a node that starts from it at another. A restarted anvil forgets by
    how much its clock was ahead or behind; whoever restarts it has to say so again."""

    file: Path
    latest: int = 0

    def write(self, consortium: Consortium) -> None:
        state = bytes.fromhex(consortium.anvil.rpc("anvil_dumpState")[2:])
        self.file.write_bytes(gzip.decompress(state))
        self.latest = int(consortium.anvil.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    def restart(self, consortium: Consortium) -> None:
        self._restart(consortium.anvil, timestamp=self.latest + 1)

    def restart_without_its_clock(self, consortium: Consortium) -> None:
        self._restart(consortium.anvil)

    def _restart(self, anvil: Anvil, **clock: int) -> None:
        anvil.kill()
        others = {name: value for name, value in anvil.flags.items() if name != "timestamp"}
        anvil.flags = {**others, **clock, "load_state": self.file}
        anvil.start()


def reset(consortium: Consortium) -> None:
    """The same genesis, the same contracts and the same task at the same addresses, and nothing that happened."""
    anvil, before = consortium.anvil, (consortium.deployed, consortium.task)
    genesis = anvil.rpc("eth_getBlockByNumber", "0x0", False)["hash"]
    anvil.kill()
    anvil.start()
    assert anvil.rpc("eth_getBlockByNumber", "0x0", False)["hash"] == genesis
    anvil.rpc("evm_setNextBlockTimestamp", hex(int(time.time())))
    consortium.settle_on_chain()
    assert (consortium.deployed, consortium.task) == before


@asynccontextmanager
async def consortium(
    directory: Path, endpoints: int = 1, rounds: int = 2, window_s: int = 40, **flags: object
) -> AsyncIterator[Consortium]:
    with start_anvil(directory, **flags) as anvil:
        async with Gate(anvil) as gate:
            proxies = [Proxy(gate) for _ in range(endpoints)]
            for one in proxies:
                await one.start()
            made = Consortium(directory, gate, proxies, rounds, window_s)
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
    made.chronicle.the_task_completed()
    made.agree_with_the_chain()
    made.chronicle.nobody_contradicted_itself()
    made.chronicle.no_nonce_was_skipped(made.gate.sent)
    funds = dict.fromkeys(made.addresses.values(), FUNDS)
    made.chronicle.every_wei_is_accounted_for(funds)


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


async def test_a_chain_that_returns_to_a_snapshot_in_every_phase_changes_nothing_that_matters(tmp_path: Path) -> None:
    """The head goes back, nobody is told, and the same heights come again with other content."""
    joining, training, opening, revealing, settling, attesting, draining = (Snapshot() for _ in range(7))
    async with consortium(tmp_path) as made:
        script = Script(made, [
            ("joinTask", joining.take), ("joinTask", joining.revert), ("commitModel", training.take),
            ("commitModel", training.revert), ("openModel", opening.take), ("commitScores", opening.revert),
            ("submitScore", revealing.take), ("early nextRound", revealing.revert), ("nextRound", settling.take),
            ("commitModel", settling.revert), ("attestFinal", attesting.take), ("attestFinal", attesting.revert),
            ("withdraw", draining.take), ("withdraw", draining.revert),
        ])
        made.gate.before, made.gate.after = script.before, script.after
        made.start()
        await made.ends(150)
        assert script.steps == []
        judge(made)


@pytest.mark.parametrize("ahead_s", [3600, -3600], ids=["ahead", "behind"])
async def test_a_node_that_comes_back_with_older_state_changes_nothing_that_matters(
    tmp_path: Path, ahead_s: int
) -> None:
    """Its clock was an hour ahead of ours or behind it, and is again; deadlines pass by the chain's."""
    joined, opened, settled = (Dump(tmp_path / f"state-{n}.json") for n in range(3))
    async with consortium(tmp_path, timestamp=int(time.time()) + ahead_s) as made:
        script = Script(made, [
            ("joinTask", joined.write), ("commitModel", joined.restart), ("openModel", opened.write),
            ("submitScore", opened.restart), ("nextRound", settled.write), ("attestFinal", settled.restart),
        ])
        made.gate.before, made.gate.after = script.before, script.after
        made.start()
        await made.ends(150)
        assert script.steps == []
        judge(made)
        no_deadline_was_missed_or_called_early(made)


def no_deadline_was_missed_or_called_early(made: Consortium) -> None:
    assert made.chronicle is not None
    records = [record for fork in made.chronicle.forks for record in fork.records]
    assert not [record for record in records if isinstance(record.event, DeadlineMissed)]
    early = [why for why in made.chronicle.reasons.values() if why == "nextRound NothingDue"]
    assert len(early) <= len(made.addresses), "each of them once, when somebody else's settled what its own was to"


async def test_a_node_that_lost_its_clock_is_believed_again_once_it_has_it_back(tmp_path: Path) -> None:
    """Its blocks are then older than those before them, as on no chain: all say so and wait, and nothing is lost."""
    opened = Dump(tmp_path / "state.json")
    async with consortium(tmp_path, rounds=1, timestamp=int(time.time()) + 3600) as made:
        script = Script(made, [("openModel", opened.write), ("commitScores", opened.restart_without_its_clock)])
        made.gate.before, made.gate.after = script.before, script.after
        made.start()
        await made.all_are_told("time runs back from")
        await made.gate.closed(lambda: opened.restart(made))
        await made.ends(90)
        assert script.steps == []
        judge(made)
        no_deadline_was_missed_or_called_early(made)


async def test_a_chain_that_was_reset_runs_the_same_task_again_from_its_beginning(tmp_path: Path) -> None:
    async with consortium(tmp_path, timestamp=int(time.time())) as made:
        script = Script(made, [("commitScores", reset)])
        made.gate.before, made.gate.after = script.before, script.after
        made.start()
        await made.ends(150)
        assert script.steps == []
        judge(made)
