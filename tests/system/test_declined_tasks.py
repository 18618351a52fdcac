"""A task that is full, over, hostile or for others is declined with its reason, and nothing is bonded or lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import pytest

from agents.core.specification import Specification
from agents.storage.cid import cid_of_bytes, to_text
from tests.anvil import ACCOUNTS, Anvil, Contract, deploy, join, start_anvil
from tests.system.company import COLLATERAL, DIGITS, GENESIS, REWARD, Company, Party, StandIn, invited, until

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


SELECT, ROOT = invited(*ACCOUNTS[1:4])


async def not_invited(scene: Scene) -> Contract:
    return await scene.company.offer(scene.requester, SELECT, allowRoot=ROOT)


async def another_list_on_chain(scene: Scene) -> Contract:
    specification, _ = invited(ACCOUNTS[1], scene.worker.address)
    return await scene.company.offer(scene.requester, specification, allowRoot=ROOT)


async def a_list_that_is_not_shown(scene: Scene) -> Contract:
    return await scene.company.offer(scene.requester, allowRoot=ROOT)


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


class Slow(StandIn):
    """A trial on a slow machine with little data: training takes 200 s, scoring in a task of two 180 s."""

    trial: Mapping[str, Any] = {**StandIn.trial, "train_samples": 320, "scoring_samples": 200, "step_seconds": 20.0,
                                "score_seconds": 60.0}


class Poor(StandIn):
    """A trial on next to no data."""

    trial: Mapping[str, Any] = {**StandIn.trial, "scoring_samples": 49}


UNTRIED: dict[str, tuple[Offer, str]] = {
    "a deviation below the noise": (terms(devTol=1499, genesis=b"its own first model"),
                                    "devTol 1499 is below the noise of 200 samples, 1500"),
    "too little time to train": (terms(trainWindow=599), "train window of 599 s is less than 3 times the 200 s"),
    "too little time to score": (terms(scoreWindow=539), "score window of 539 s is less than 3 times the 180 s"),
}


@pytest.mark.parametrize("case", CLOSED)
async def test_the_one_task_it_was_started_for_is_declined_with_the_reason(scene: Scene, case: str) -> None:
    offer, reason = CLOSED[case]
    await declines(scene, await offer(scene), reason)


async def test_a_task_for_which_it_has_too_little_data_is_declined_after_the_dry_run(scene: Scene) -> None:
    scene.worker.learner = lambda _: Poor()
    task = await scene.company.offer(scene.requester)
    await declines(scene, task, "49 samples to score with are fewer than")
    task.send("cancelTask", sender=scene.requester.address)


async def test_a_task_that_does_not_pay_for_its_gas_is_declined_while_gas_is_that_dear(scene: Scene) -> None:
    task = await scene.company.offer(scene.requester)
    base_fee(scene, 10**12)
    try:
        await declines(scene, task, "is below policy.min_reward_to_gas = 1 x the base fee of a worker's 300000 gas")
    finally:
        base_fee(scene, 10**9)
    task.send("cancelTask", sender=scene.requester.address)


def base_fee(scene: Scene, wei: int) -> None:
    """A new block with this price of gas."""
    scene.company.anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(wei))
    scene.company.anvil.rpc("evm_mine")


async def declines(scene: Scene, task: Contract, reason: str) -> None:
    worker = scene.worker
    balance, locked, files = worker.balance(), scene.company.locked(task), worker.files("networks/")
    async with asyncio.timeout(60):
        assert await worker.run(task.address) == 23
    said = worker.said("agent.halted")[-1]
    assert reason in said["reason"]
    assert (said["reason"].endswith("Nothing was bonded."), said["exit_code"]) == (True, 23)
    assert (worker.balance(), scene.company.locked(task)) == (balance, locked)
    assert worker.sent() == 0
    assert worker.files("networks/") == files


async def test_a_task_that_is_not_there_or_somebody_elses_is_told_so(scene: Scene) -> None:
    theirs = await scene.company.offer(scene.requester)
    theirs.send("cancelTask", sender=scene.requester.address)
    stranger = scene.company.party("another-requester", "requester")
    for party, task, reason in (
        (scene.worker, NOWHERE, f"knows no task {NOWHERE}"),
        (stranger, theirs.address, "Run the requester with the account that created it"),
    ):
        assert party.key
        files = party.files("networks/")
        assert await party.run(task) == 10
        assert reason in party.said("agent.halted")[-1]["reason"]
        assert party.sent() == 0
        assert party.files("networks/") == files


async def test_of_many_tasks_the_traps_are_declined_with_their_reasons_and_the_good_one_is_joined(scene: Scene) -> None:
    await joins_only_the_good_one(scene, scene.company.party("chooser"), REFUSED)


async def test_tasks_that_are_too_much_for_its_machine_or_data_are_declined_after_the_dry_run(scene: Scene) -> None:
    worker = scene.company.party("slow")
    worker.learner = lambda _: Slow()
    await joins_only_the_good_one(scene, worker, UNTRIED)


async def joins_only_the_good_one(scene: Scene, worker: Party, cases: dict[str, tuple[Offer, str]]) -> None:
    offered = {case: await offer(scene) for case, (offer, _) in cases.items()}
    locked = {case: scene.company.locked(task) for case, task in offered.items()}
    good = await scene.company.offer(scene.requester)
    async with worker.running() as agent:
        await until(lambda: good.call("indexPlus1", worker.address), "the good task was joined", agent)
        models = worker.home.network(31337, scene.company.factory).models
        await until(lambda: [path.stem for path in models.iterdir()] == [sha256(GENESIS).hexdigest()],
                    "no other task's model is kept", agent)
    for case, (_, reason) in cases.items():
        said = [line for line in worker.said("task.declined", task=offered[case].address) if "intent" not in line]
        assert len(said) == 1, case
        assert reason in said[0]["reason"]
        assert offered[case].call("indexPlus1", worker.address) == 0
        assert scene.company.locked(offered[case]) == locked[case]
    assert not worker.said("task.declined", task=good.address)
    assert scene.company.locked(good) == REWARD + COLLATERAL
    assert worker.sent() == 1, "the good task was joined, and nothing else was paid for"
    pinned = {path.name for path in (scene.company.store / "pins" / worker.address.lower()).iterdir()}
    assert pinned == {to_text(cid_of_bytes(content)) for content in (DIGITS.encode(), GENESIS)}
    good.send("cancelTask", sender=scene.requester.address)
