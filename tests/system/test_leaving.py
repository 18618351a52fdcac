"""`bfl-agent task leave` on running agents, to the end: the bonds come back, who stays finishes, the books agree."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from bfl_events import schema as ev
from bfl_events.schema import Phase
from tests.anvil import ACCOUNTS, deploy, start_anvil
from tests.cli.command import Operator
from tests.system.company import COLLATERAL as BOND, Company, until
from tests.system.participants import Consortium, Participant, consortium

FUNDS, COLLATERAL, REWARD = 10_000 * 10**18, 10**17, 3 * 10**18


@dataclass(frozen=True)
class Left:
    """What the two who left were told before they did."""

    company: Consortium
    early: str
    late: str


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Left]:
    """Worker 3 leaves in round 1 before it has committed to anything, worker 2 in round 2, the last, after it has."""
    with consortium(tmp_path_factory.mktemp("leaving"), rounds=2) as company:
        first, second, third = company.workers
        third.hold("score")
        first.hold("score")
        first.release("train")
        second.release("train")
        company.until(lambda: third.said("train.started"), "the third began to train")
        early = leave(company, third)
        company.until(lambda: company.task.call("excused") & 0b100, "the third was excused")
        first.release("score")
        company.until(lambda: company.task.call("core")[1] == 2, "round 2 began")
        company.until_acted("committed", 2, 2)
        first.hold("score")
        late = leave(company, second)
        company.until(lambda: company.task.call("leaving") & 0b010, "the second had announced it")
        first.release("score")
        assert [one.wait() for one in company.everybody] == [0] * 4, company.told()
        yield Left(company, early, late)


def leave(company: Consortium, worker: Participant) -> str:
    """As an operator does in another terminal; what was shown before the question."""
    shown = Operator(worker.home.root)("task", "leave", company.task.address)
    assert "--yes" in shown.err
    answer = Operator(worker.home.root).ok("task", "leave", company.task.address, "--yes")
    assert answer["leaving"]
    return shown.err


def of(company: Consortium, kind: type[Any]) -> list[Any]:
    return [event for event in company.events() if isinstance(event, kind)]


def test_the_cost_is_shown_before_anything_is_sent(left: Left) -> None:
    assert "You are excused from this round; 0.1 ether" in left.early
    assert "You still owe round 2 its acts (missing them costs); your bond of 0.1 ether" in left.late


def test_who_leaves_has_its_whole_bond_back_at_the_settlement(left: Left) -> None:
    """Runbook withdraw: not only when the task has ended."""
    company = left.company
    leavings = [(event.round, event.worker) for event in of(company, ev.WorkerLeaving)]
    assert leavings == [(1, ACCOUNTS[3]), (2, ACCOUNTS[2])]
    released = [(event.round, event.worker, event.bond_released) for event in of(company, ev.WorkerRemoved)]
    assert released == [(1, ACCOUNTS[3], COLLATERAL), (2, ACCOUNTS[2], COLLATERAL)]
    assert of(company, ev.WorkerPenalized) == []
    told = [type(event) for event in company.events()
            if not isinstance(event, ev.Withdrawn) or event.worker == ACCOUNTS[3]]
    assert told.index(ev.Withdrawn) < told.index(ev.TaskEnded)


def test_who_stays_finishes_and_has_the_model_attested(left: Left) -> None:
    company = left.company
    assert company.task.call("core")[0] == Phase.COMPLETED
    assert [event.worker for event in of(company, ev.FinalAttested)] == [ACCOUNTS[1]]
    (final,) = of(company, ev.FinalModelAccepted)
    assert sha256(company.requester.home.result(company.task.address).read_bytes()).digest() == final.final_hash
    assert [event.roster for event in of(company, ev.RoundAdvanced)] == [0b111, 0b011]


def test_the_ledgers_the_events_and_the_balances_agree(left: Left) -> None:
    company = left.company
    earned = [share(company, index) for index in range(3)]
    assert earned[2] == 0
    assert all(earned[:2])
    assert sum(earned) + sum(event.amount for event in of(company, ev.Refunded)) == REWARD
    for index, worker in enumerate(company.workers):
        (line,) = Operator(worker.home.root).ok("ledger", "show")["tasks"]
        assert [line[name] for name in ("staked_wei", "withdrawable_wei", "penalised_wei", "missed")] == ["0"] * 3 + [0]
        assert int(line["earned_wei"]) == earned[index]
        assert int(line["withdrawn_wei"]) == COLLATERAL + earned[index]
        account = ACCOUNTS[index + 1]
        balance = int(company.anvil.rpc("eth_getBalance", account, "latest"), 16)
        assert balance + company.anvil.burnt_for_gas(account) == FUNDS + earned[index]
    assert int(company.anvil.rpc("eth_getBalance", company.task.address, "latest"), 16) == 0


def share(company: Consortium, index: int) -> int:
    """Of the rewards, by the payouts' own shares and bitmaps. There were no forfeits."""
    return sum(event.per_top if event.top_k >> index & 1 else event.per_rest
               for event in of(company, ev.RewardsDistributed) if event.eligible >> index & 1)


async def test_who_leaves_while_a_task_is_joining_does_not_join_it_again_and_serves_the_next(tmp_path: Path) -> None:
    with start_anvil(tmp_path, chain_id=31337) as anvil:
        company = Company(anvil, deploy(anvil.url).factory, tmp_path)
        requester, worker = company.party("requester", "requester"), company.party("worker")
        first = await company.offer(requester)
        async with worker.running() as agent:
            await until(lambda: first.call("indexPlus1", worker.address), "the first task was joined", agent)
            told = await asyncio.to_thread(Operator(worker.home.root).ok, "task", "leave", first.address, "--yes")
            assert told["leaving"]
            await until(lambda: worker.said("task.declined", task=first.address), "it said so", agent)
            second = await company.offer(requester)
            await until(lambda: second.call("indexPlus1", worker.address), "the next task was joined", agent)
        assert "this operator asked to leave it" in worker.said("task.declined", task=first.address)[0]["reason"]
        assert (first.call("indexPlus1", worker.address), company.locked(first)) == (0, company.locked(second) - BOND)
        assert len(worker.said("intent.started", intent="JoinTask", task=first.address)) == 1
        assert not worker.said("chain.unreachable")


async def test_who_left_by_a_command_while_no_agent_ran_does_not_join_again_when_it_starts(tmp_path: Path) -> None:
    with start_anvil(tmp_path, chain_id=31337) as anvil:
        company = Company(anvil, deploy(anvil.url).factory, tmp_path)
        requester, worker = company.party("requester", "requester"), company.party("worker")
        task = await company.offer(requester)
        async with worker.running() as agent:
            await until(lambda: task.call("indexPlus1", worker.address), "the task was joined", agent)
        told = await asyncio.to_thread(Operator(worker.home.root).ok, "task", "leave", task.address, "--yes")
        assert (told["left"], task.call("indexPlus1", worker.address)) == (True, 0)
        async with worker.running() as agent:
            await until(lambda: worker.said("task.declined", task=task.address), "it said so", agent)
        assert "this operator asked to leave it" in worker.said("task.declined", task=task.address)[0]["reason"]
        assert task.call("indexPlus1", worker.address) == 0
        assert len(worker.said("intent.started", intent="JoinTask", task=task.address)) == 1
