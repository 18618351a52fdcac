"""What befalls the chain, against real anvils: it freezes, forgets, turns back in time, and goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agents.cli.failures import Failure
from agents.demo.chain import CHAIN_ID, find_anvil, fund
from agents.demo.upheaval import MOST_LOST, Upheaval
from bfl_events.rpc import Rpc, Unavailable

ALICE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


@pytest.fixture
async def upheaval(tmp_path: Path) -> AsyncIterator[Upheaval]:
    try:
        find_anvil()
    except Failure as error:
        pytest.skip(f"no chain on this machine: {error}")
    begun = await Upheaval.begin(tmp_path / "chain.log", tmp_path / "chain.json")
    try:
        yield begun
    finally:
        begun.stop()
        assert not begun.chain.running


@pytest.fixture
async def rpc(upheaval: Upheaval) -> AsyncIterator[Rpc]:
    async with Rpc([upheaval.chain.url], chain_id=CHAIN_ID, deadline_s=10) as rpc:
        yield rpc


async def block(rpc: Rpc, number: int | str = "latest") -> Any:
    return await rpc.call("eth_getBlockByNumber", number if isinstance(number, str) else hex(number), False)


async def height(rpc: Rpc) -> int:
    return int(await rpc.call("eth_blockNumber"), 16)


async def until_height(rpc: Rpc, wanted: int) -> None:
    async with asyncio.timeout(20):
        while await height(rpc) < wanted:
            await asyncio.sleep(0.02)


async def paid(rpc: Rpc) -> str:
    """A transaction of Alice's, mined at once; its hash."""
    await rpc.call("anvil_impersonateAccount", ALICE)
    tx: str = await rpc.call("eth_sendTransaction", {"from": ALICE, "to": ALICE, "value": "0x1"})
    async with asyncio.timeout(10):
        while await rpc.call("eth_getTransactionReceipt", tx) is None:
            await asyncio.sleep(0.02)
    return tx


async def test_a_reorganisation_replaces_blocks_and_forgets_their_transactions(upheaval: Upheaval, rpc: Rpc) -> None:
    await fund(rpc, ALICE, 10**18)
    await until_height(rpc, 2)
    ancestor, tx = await block(rpc), await paid(rpc)
    number = int(ancestor["number"], 16)
    depth = await upheaval.reorganise(await height(rpc) - number)
    assert depth >= 1
    assert (await block(rpc, number))["hash"] == ancestor["hash"]
    assert await rpc.call("eth_getTransactionReceipt", tx) is None
    assert await rpc.call("eth_getTransactionCount", ALICE, "latest") == "0x0"


async def test_a_reorganisation_never_reaches_below_the_first_block(upheaval: Upheaval, rpc: Rpc) -> None:
    genesis = (await block(rpc, 0))["hash"]
    await until_height(rpc, 2)
    assert 1 <= await upheaval.reorganise(1_000) <= await height(rpc)
    assert (await block(rpc, 0))["hash"] == genesis


async def test_a_frozen_node_answers_nobody_and_goes_on_afterwards(upheaval: Upheaval, rpc: Rpc) -> None:
    before = await height(rpc)
    freezing = asyncio.create_task(upheaval.freeze(60))        # longer than any machine takes to notice
    await asyncio.sleep(0)
    async with Rpc([upheaval.chain.url], deadline_s=0.3) as impatient:
        with pytest.raises(Unavailable):
            await impatient.call("eth_blockNumber")
    freezing.cancel()
    await asyncio.gather(freezing, return_exceptions=True)
    await upheaval.freeze(0.1)
    await until_height(rpc, before + 1)


async def test_whoever_gives_up_freezing_leaves_a_running_node(upheaval: Upheaval, rpc: Rpc) -> None:
    freezing = asyncio.create_task(upheaval.freeze(60))
    await asyncio.sleep(0)
    freezing.cancel()
    await asyncio.gather(freezing, return_exceptions=True)
    assert await height(rpc) >= 0


@pytest.mark.parametrize("lose", [0, 2])
async def test_a_restarted_node_has_lost_its_newest_blocks_and_no_others(
    upheaval: Upheaval, rpc: Rpc, lose: int
) -> None:
    await fund(rpc, ALICE, 10**18)
    first = await paid(rpc)
    await until_height(rpc, 2)
    known = {number: (await block(rpc, number))["hash"] for number in range(await height(rpc) + 1)}
    process = upheaval.chain.process
    lost = await upheaval.restart(lose)
    assert lose <= lost <= MOST_LOST + 1
    assert upheaval.chain.process is not process
    now = await height(rpc)
    kept = [(await block(rpc, number))["hash"] == digest for number, digest in known.items() if number <= now]
    assert all(kept)
    assert await rpc.call("eth_getTransactionReceipt", first) is not None, "old transactions are still there"
    await until_height(rpc, now + 1)
    await paid(rpc)
    times = [int((await block(rpc, number))["timestamp"], 16) for number in range(await height(rpc) + 1)]
    assert times == sorted(times), "time never goes backwards"


async def test_however_often_it_is_restarted_it_stays_the_same_chain(upheaval: Upheaval, rpc: Rpc) -> None:
    """An agent that finds another block 0 refuses to go on, and is right."""
    genesis = (await block(rpc, 0))["hash"]
    for _ in range(4):
        await upheaval.restart(0)
        await until_height(rpc, await height(rpc) + 1)       # time goes on, so that each node's own block 0 is another
        assert (await block(rpc, 0))["hash"] == genesis


async def test_after_a_restart_only_what_came_since_can_be_reorganised(upheaval: Upheaval, rpc: Rpc) -> None:
    await until_height(rpc, 1)
    await upheaval.restart(0)
    loaded = await height(rpc)
    await until_height(rpc, loaded + 2)
    kept = [(await block(rpc, number))["hash"] for number in range(loaded)]
    assert 1 <= await upheaval.reorganise(6) <= 3
    assert [(await block(rpc, number))["hash"] for number in range(loaded)] == kept


async def test_a_cancelled_restart_leaves_a_running_node(upheaval: Upheaval, rpc: Rpc) -> None:
    await until_height(rpc, 1)
    restarting = asyncio.create_task(upheaval.restart(1))
    await asyncio.sleep(0)
    restarting.cancel()
    await asyncio.gather(restarting, return_exceptions=True)
    assert restarting.cancelled()
    await until_height(rpc, 1)
