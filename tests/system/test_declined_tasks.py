"""A task that is full, over, hostile or for others is declined with its reason, and nothing is bonded or lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from agents.core.specification import Specification
from agents.crypto.allowlist import merkle_root
from tests.anvil import ACCOUNTS, Anvil, Contract, deploy, join, start_anvil
from tests.system.company import COLLATERAL, DIGITS, REWARD, Company, Party, until

NOWHERE = "0x" + "11" * 20


@dataclass(frozen=True)
class Scene:
    """One worker, and a requester whose tasks it is told to serve."""

    company: Company
    requester: Party
    worker: Party


@pytest.fixture(scope="module")
def anvil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    with start_anvil(tmp_path_factory.mktemp("anvil"), chain_id=31337) as running:
        yield running


@pytest.fixture(scope="module")
def scene(anvil: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    company = Company(anvil, deploy(anvil.url).factory, tmp_path_factory.mktemp("company"))
    scene = Scene(company, company.party("requester", "requester"), company.party("worker"))
    assert scene.worker.key, "made at the first start: not what a declined task changes"
    return scene


def seat(task: Contract, *accounts: str) -> Contract:
    for account in accounts:
        join(task, account, COLLATERAL)
    return task


async def full(scene: Scene) -> Contract:
    return seat(await scene.company.offer(scene.requester, maxWorkers=3, minWorkers=3), *ACCOUNTS[1:4])


async def started(scene: Scene) -> Contract:
    task = await full(scene)
    task.send("startTask")
    return task


async def cancelled(scene: Scene) -> Contract:
    task = await scene.company.offer(scene.requester)
    task.send("cancelTask", sender=scene.requester.address)
    return task


async def too_late(scene: Scene) -> Contract:
    task = await scene.company.offer(scene.requester, joinWindow=30)
    scene.company.anvil.rpc("evm_increaseTime", 40)
    scene.company.anvil.rpc("evm_mine")
    return task


def invited(*accounts: str) -> tuple[Specification, bytes]:
    listed = tuple(sorted(account.lower() for account in accounts))
    return replace(DIGITS, allowed=listed), merkle_root(bytes.fromhex(account[2:]) for account in accounts)


async def not_invited(scene: Scene) -> Contract:
    specification, root = invited(*ACCOUNTS[1:4])
    return await scene.company.offer(scene.requester, specification, allowRoot=root)


async def another_list_on_chain(scene: Scene) -> Contract:
    specification, _ = invited(ACCOUNTS[1], scene.worker.address)
    return await scene.company.offer(scene.requester, specification, allowRoot=invited(*ACCOUNTS[1:4])[1])


async def a_list_that_is_not_shown(scene: Scene) -> Contract:
    return await scene.company.offer(scene.requester, allowRoot=invited(*ACCOUNTS[1:4])[1])


def terms(specification: Specification | bytes = DIGITS, **given: Any) -> Callable[[Scene], Awaitable[Contract]]:
    async def offered(scene: Scene) -> Contract:
        return await scene.company.offer(scene.requester, specification, **given)

    return offered


Offer = Callable[[Scene], Awaitable[Contract]]
CLOSED: dict[str, tuple[Offer, str]] = {
    "full": (full, "takes no more workers: phase joining, 3 of 3 seats taken"),
    "started": (started, "takes no more workers: phase train"),
    "cancelled": (cancelled, "takes no more workers: phase cancelled"),
    "too late": (too_late, "takes no more workers: phase joining, 0 of 2"),
    "not invited": (not_invited, "is not on its allow-list"),
}
REFUSED: dict[str, tuple[Offer, str]] = {
    "not invited": (not_invited, "is not on its allow-list"),
    "another list on chain": (another_list_on_chain, "does not have the Merkle root that is on chain"),
    "a list that is not shown": (a_list_that_is_not_shown, "its specification does not name it"),
    "a fee that is a trap": (terms(feeBps=3000), "feeBps 3000 is above 2000"),
    "a fine that is a trap": (terms(slashBps=9000), "slashBps 9000 is above 5000"),
    "a collateral that is a trap": (terms(collateral=10**18), "collateral of 1000000000000000000 wei is above"),
    "strangers at any time": (terms(lateJoin=True), "strangers may join while it runs"),
    "no specification": (terms(b"\x80\x04pickle"), "its specification: the specification is not JSON"),
    "a deep specification": (terms(b"[" * 100_000), "its specification: the specification is not JSON"),
    "an oversized specification": (terms(b" " * 300_000), "has more than the 262144 bytes allowed"),
    "bytes behind the specification": (terms(DIGITS.encode() + b"\0"), "the specification is not JSON"),
    "unknown keys": (terms(DIGITS.encode()[:-1] + b',"run":"rm"}'), "has unknown keys: 'run'"),
    "a decimal that is none": (terms(DIGITS.encode().replace(b'"0.9"', b"0.9")), "decimals are written as strings"),
    "another specification": (terms(specHash=b"x" * 32), "its specification: the 303 bytes at its CID do not have"),
    "another first model": (terms(modelHash=b"x" * 32), "its initial model: the 64 bytes at its CID do not have"),
    "code that is not installed": (terms(replace(DIGITS, task="elsewhere")), "nor among learning.plugins"),
}


@pytest.mark.parametrize("case", CLOSED)
async def test_the_one_task_it_was_started_for_is_declined_with_the_reason(scene: Scene, case: str) -> None:
    offer, reason = CLOSED[case]
    task, worker = await offer(scene), scene.worker
    balance, locked, files = worker.balance(), scene.company.locked(task), worker.files("networks/")
    async with asyncio.timeout(60):
        assert await worker.run(task.address) == 23
    said = worker.said("agent.halted")[-1]
    assert reason in said["reason"]
    assert (said["reason"].endswith("Nothing was bonded."), said["exit_code"]) == (True, 23)
    assert (worker.balance(), scene.company.locked(task)) == (balance, locked)
    assert nothing_sent(worker)
    assert worker.files("networks/") == files


async def test_a_task_that_is_not_there_or_somebody_elses_is_told_so(scene: Scene) -> None:
    theirs = await scene.company.offer(scene.requester)
    theirs.send("cancelTask", sender=scene.requester.address)
    stranger = scene.company.party("another-requester", "requester")
    for party, task, reason in (
        (scene.worker, NOWHERE, f"knows no task {NOWHERE}"),
        (stranger, theirs.address, "Run the requester with the account that created it"),
    ):
        assert await party.run(task) == 10
        assert reason in party.said("agent.halted")[-1]["reason"]
        assert nothing_sent(party)


async def test_of_many_tasks_the_traps_are_declined_with_their_reasons_and_the_good_one_is_joined(scene: Scene) -> None:
    offered = {case: await offer(scene) for case, (offer, _) in REFUSED.items()}
    locked = {case: scene.company.locked(task) for case, task in offered.items()}
    good = await scene.company.offer(scene.requester)
    worker = scene.company.party("chooser")
    async with worker.running() as agent:
        await until(lambda: good.call("indexPlus1", worker.address), "the good task was joined", agent)
    for case, (_, reason) in REFUSED.items():
        said = [line for line in worker.said("task.declined", task=offered[case].address) if "intent" not in line]
        assert len(said) == 1, case
        assert reason in said[0]["reason"]
        assert offered[case].call("indexPlus1", worker.address) == 0
        assert scene.company.locked(offered[case]) == locked[case]
    assert not worker.said("task.declined", task=good.address)
    assert scene.company.locked(good) == REWARD + COLLATERAL
    sent = int(scene.company.anvil.rpc("eth_getTransactionCount", worker.address, "pending"), 16)
    assert sent == 1, "the good task was joined, and nothing else was paid for"


def nothing_sent(party: Party) -> bool:
    """Not one transaction of its account is on the chain: its balance cannot have changed."""
    return bool(party.anvil.rpc("eth_getTransactionCount", party.address, "pending") == "0x0")
