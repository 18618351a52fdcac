"""The demo's local chain: up, funded, metered, gone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agents.cli.failures import Failure
from agents.demo import chain as local
from agents.demo.chain import CHAIN_ID, find_anvil, fund, start_chain
from agents.demo.gas import GasMeter, function_of, functions
from bfl_events.rpc import Rpc

ALICE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


@pytest.fixture
def anvil() -> Path:
    try:
        return find_anvil()
    except Failure as error:
        pytest.skip(f"no chain on this machine: {error}")


async def test_two_chains_start_side_by_side_fund_and_end(anvil: Path, tmp_path: Path) -> None:
    first, second = await asyncio.gather(*(start_chain(tmp_path / name) for name in ("a.log", "b.log")))
    try:
        assert first.url != second.url
        async with Rpc([first.url], chain_id=CHAIN_ID) as rpc:
            await fund(rpc, ALICE, 5 * 10**18)
            assert int(await rpc.call("eth_getBalance", ALICE, "latest"), 16) == 5 * 10**18
        assert first.running
    finally:
        first.stop()
        second.stop()
    assert not first.running


async def test_a_missing_chain_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(local, "BUNDLED", Path("nowhere/anvil"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Failure, match="The local chain is missing") as told:
        await start_chain(tmp_path / "chain.log")
    assert "make setup" in told.value.do
    assert "PATH" in told.value.why


async def test_a_chain_that_dies_at_once_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "anvil"
    broken.write_text("#!/bin/sh\necho no such library >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(local, "find_anvil", lambda: broken)
    with pytest.raises(Failure, match="ended with code 3") as told:
        await start_chain(tmp_path / "chain.log")
    assert "chain.log" in told.value.do
    assert "no such library" in (tmp_path / "chain.log").read_text()


async def test_gas_is_counted_once_for_each_transaction(anvil: Path, tmp_path: Path) -> None:
    chain, meter = await start_chain(tmp_path / "chain.log"), GasMeter()
    try:
        async with Rpc([chain.url], chain_id=CHAIN_ID) as rpc:
            await fund(rpc, ALICE, 10**18)
            await rpc.call("anvil_impersonateAccount", ALICE)
            for _ in range(2):
                await rpc.call("eth_sendTransaction", {"from": ALICE, "to": ALICE, "value": "0x1"})
                await meter.update(rpc)
            await meter.update(rpc)
    finally:
        chain.stop()
    assert meter.document() == {"transfer": {"calls": 2, "mean": 21_000, "max": 21_000, "reverted": 0}}
    assert meter.total == 42_000


def test_transactions_are_named_after_the_functions_of_the_contracts() -> None:
    known = {name: selector for selector, name in functions().items()}
    assert {"createTask", "joinTask", "commitModel", "openModel", "commitScores", "submitScore"} <= known.keys()

    def named(**transaction: Any) -> str:
        return function_of(transaction)

    assert named(to=ALICE, input=known["openModel"] + "00" * 64) == "openModel"
    assert named(to=ALICE, input="0x") == "transfer"
    assert named(to=None, input="0x6080") == "deploy"
    assert named(to=ALICE, input="0xdeadbeef00") == "0xdeadbeef"
    assert known["nextRound"] == "0x47e40553"
