"""The source against a real node that is killed, frozen, reorganised, reverted: the log ends equal to eth_getLogs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from bfl_events.decode import decode_log
from bfl_events.lineage import Ref
from bfl_events.log import EventLog, Identity
from bfl_events.rpc import Contract as Expected, Rpc
from bfl_events.schema import Record
from bfl_events.source import Advance, EventSource
from tests.anvil import ACCOUNTS, Anvil, NodeError, create_task, deploy, join, start_anvil

CHAIN_ID = 31337


class Scene:
    """One anvil with a task of three workers, and a source that follows it into a log."""

    def __init__(self, anvil: Anvil, directory: Path) -> None:
        self.anvil, self.path = anvil, directory / "events.sqlite"
        self.deployed = deploy(anvil.url)
        self.task = create_task(anvil.url, self.deployed.factory)
        for worker in ACCOUNTS[1:4]:
            join(self.task, worker)
        self.said = 0
        self.view: list[Record] = []
        self.last: Advance | None = None
        self.moved = asyncio.Event()

    def say(self, times: int = 1) -> None:
        """Something new on chain, by transactions that nobody waits for."""
        for _ in range(times):
            self.said += 1
            self.task.post("notice", 1, 0, ACCOUNTS[2], self.said.to_bytes(32, "big"), b"", sender=ACCOUNTS[1])

    def rows(self) -> tuple[list[Record], Ref]:
        """What the chain holds, by one eth_getLogs."""
        tip = self.anvil.rpc("eth_getBlockByNumber", "latest", False)
        known = {self.deployed.factory.lower(), self.task.address.lower()}
        found = self.anvil.rpc("eth_getLogs", {"fromBlock": hex(self.deployed.block), "toBlock": tip["number"]})
        records = [decode_log(raw) for raw in found if raw["address"] in known]
        return records, Ref(int(tip["number"], 16), bytes.fromhex(tip["hash"][2:]))

    async def follow(self) -> None:
        """Consume the source, as an agent does; started anew it goes on from the log alone."""
        identity = Identity(CHAIN_ID, self.deployed.factory, self.deployed.block)
        with EventLog(self.path, identity) as log:
            self.view = list(log.records())
            contract = Expected(identity.factory)
            async with Rpc([self.anvil.url], chain_id=CHAIN_ID, deadline_s=2, contract=contract) as rpc:
                source = EventSource(
                    rpc, log, factory=identity.factory, start_block=identity.start_block, follow=lambda _: True,
                    ws_urls=[self.anvil.ws_url], poll_s=0.1, patience_s=0.3,
                )
                async with aclosing(source.advances()) as advances:
                    async for advance in advances:
                        self._take(advance)

    def _take(self, advance: Advance) -> None:
        if advance.rewound_to is not None:
            self.view = [record for record in self.view if record.block <= advance.rewound_to]
        self.view += advance.records
        self.last = advance
        self.moved.set()

    async def agrees(self) -> None:
        """Wait until the source is where the chain is, then compare row for row. The chain may still be mining."""
        async with asyncio.timeout(30):
            while True:
                self.moved.clear()
                rows, tip = self.rows()
                if self.last is not None and Ref(self.last.head.number, self.last.head.hash) == tip:
                    break
                await asyncio.wait([waiting := asyncio.ensure_future(self.moved.wait())], timeout=0.2)
                waiting.cancel()
        assert self.view == rows
        with EventLog(self.path) as log:
            assert (list(log.records()), log.cursor()) == (rows, tip)

    async def until_said(self) -> None:
        """Wait until the source knows what was said last."""
        async with asyncio.timeout(30):
            while not any(getattr(record.event, "ref", b"") == self.said.to_bytes(32, "big") for record in self.view):
                self.moved.clear()
                await self.moved.wait()


Act = Callable[[Scene], Awaitable[None]]


async def reorganise(scene: Scene) -> None:
    scene.anvil.rpc("anvil_reorg", 4, [])
    scene.say(2)


async def revert(scene: Scene) -> None:
    snapshot = scene.anvil.rpc("evm_snapshot")
    scene.say(3)
    await scene.until_said()
    scene.anvil.rpc("evm_revert", snapshot)


async def revert_and_go_on(scene: Scene) -> None:
    await revert(scene)
    scene.say(5)


async def restart(scene: Scene) -> None:
    scene.anvil.stop()
    scene.anvil.start()
    _keep_time(scene.anvil)
    scene.say()


async def freeze(scene: Scene) -> None:
    scene.say()
    scene.anvil.freeze()
    await asyncio.sleep(0.5)   # what is tested is that nothing happens for a while
    scene.anvil.thaw()
    scene.say()


async def restart_from_older_state(scene: Scene) -> None:
    """The newest blocks are gone, others come in their place, with the same numbers."""
    scene.anvil.stop()
    scene.anvil.start()
    _keep_time(scene.anvil)
    scene.say(4)
    await scene.until_said()
    scene.anvil.kill()
    scene.anvil.start()
    _keep_time(scene.anvil)
    scene.said += 100
    scene.say(6)


@pytest.mark.parametrize("act", [reorganise, revert, revert_and_go_on, restart, freeze, restart_from_older_state])
async def test_the_log_ends_equal_to_the_chain_after(act: Act, tmp_path: Path) -> None:
    with start_anvil(tmp_path, state=tmp_path / "state.json") as anvil:
        scene = Scene(anvil, tmp_path)
        following = asyncio.create_task(scene.follow())
        try:
            scene.say(6)
            await scene.agrees()
            await act(scene)
            await scene.agrees()
            scene.say()
            await scene.agrees()
        finally:
            await _end(following)


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_storm_on_the_node_and_the_agent_leaves_the_log_equal_to_the_chain(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    with start_anvil(tmp_path, state=tmp_path / "state.json") as anvil:
        scene = Scene(anvil, tmp_path)
        following = asyncio.create_task(scene.follow())
        try:
            for _ in range(40):
                match dice.choice(("say", "say", "say", "reorg", "snapshot", "freeze", "agent", "task")):
                    case "say":
                        scene.say(dice.randint(1, 5))
                    case "reorg":
                        _reorg(scene, dice.randint(1, 6))
                    case "snapshot":
                        snapshot = anvil.rpc("evm_snapshot")
                        scene.say(dice.randint(1, 3))
                        if dice.random() < 0.5:
                            await scene.until_said()
                        anvil.rpc("evm_revert", snapshot)
                    case "freeze":
                        anvil.freeze()
                        await asyncio.sleep(0.1)
                        anvil.thaw()
                    case "agent":
                        await _end(following)
                        following = asyncio.create_task(scene.follow())
                    case "task":
                        scene.say()
                        await scene.until_said()
                await asyncio.sleep(dice.choice((0, 0, 0.02)))
            scene.say()
            await scene.agrees()
        finally:
            await _end(following)


async def test_a_task_of_another_requester_is_found_and_read_from_its_first_log(tmp_path: Path) -> None:
    with start_anvil(tmp_path) as anvil:
        scene = Scene(anvil, tmp_path)
        following = asyncio.create_task(scene.follow())
        try:
            await scene.agrees()
            other = create_task(anvil.url, scene.deployed.factory, sender=ACCOUNTS[5])
            join(other, ACCOUNTS[6])
            async with asyncio.timeout(20):
                while other.address not in {record.emitter for record in scene.view}:
                    scene.moved.clear()
                    await scene.moved.wait()
            names = [type(record.event).__name__ for record in scene.view if record.emitter == other.address]
            assert names[0] == "TaskInitialized"
        finally:
            await _end(following)


async def test_a_terms_event_of_the_real_contract_is_decoded_in_full(tmp_path: Path) -> None:
    with start_anvil(tmp_path) as anvil:
        scene = Scene(anvil, tmp_path)
        rows, _ = scene.rows()
        created, initialised, *joins = rows
        assert (created.emitter, created.event.task) == (scene.deployed.factory, scene.task.address)  # type: ignore[union-attr]
        terms = initialised.event.params  # type: ignore[union-attr]
        assert (terms.rounds, terms.top_share_bps, terms.model_hash) == (3, 7000, b"m" * 32)
        assert [record.event.index for record in joins] == [0, 1, 2]  # type: ignore[union-attr]


def _reorg(scene: Scene, depth: int) -> None:
    room = int(scene.anvil.rpc("eth_blockNumber"), 16) - scene.deployed.block - 5
    if room > 0:
        scene.anvil.rpc("anvil_reorg", min(depth, room), [])


def _keep_time(anvil: Anvil) -> None:
    """A restarted anvil forgets its time offset; a block must not be older than its parent."""
    latest = int(anvil.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
    try:
        anvil.rpc("evm_setNextBlockTimestamp", hex(latest + 1))
    except NodeError:
        return   # its clock is ahead already


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    outcome = (await asyncio.gather(task, return_exceptions=True))[0]
    if isinstance(outcome, Exception):
        raise outcome


