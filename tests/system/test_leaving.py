"""What operators want of running agents, to the end: `task leave`, `keys rotate`, `ledger withdraw`.

The bonds come back, who stays finishes, new keys are sealed to, the books agree.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import cbor2
import pytest

from bfl_events import schema as ev
from bfl_events.schema import Phase
from tests.anvil import ACCOUNTS
from tests.cli.command import Operator
from tests.system.company import COLLATERAL as BOND, Company, until
from tests.system.participants import Consortium, Participant, consortium
from tests.system.recompute import blob

FUNDS, COLLATERAL, REWARD = 10_000 * 10**18, 10**17, 3 * 10**18


@dataclass(frozen=True)
class Left:
    """What the two who left were told before they did, and what the one who stayed took out in round 2."""

    company: Consortium
    early: str
    late: str
    taken: dict[str, str]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Left]:
    """Worker 3 leaves in round 1 before it has committed to anything, worker 2 in round 2, the last, after it has.

    In round 1 worker 1 and the requester make new keys, the requester while its agent does not run.
    """
    with consortium(tmp_path_factory.mktemp("leaving"), rounds=2) as company:
        first, second, third = company.workers
        third.hold("score")
        first.hold("score")
        first.release("train")
        second.release("train")
        company.until(lambda: third.said("train.started"), "the third began to train")
        early = leave(company, third)
        company.until(lambda: company.task.call("excused") & 0b100, "the third was excused")
        assert Operator(first.home.root).ok("keys", "rotate")["tasks"] == [company.task.address]
        rotate_while_stopped(company, company.requester)
        first.release("score")
        company.until(lambda: company.task.call("core")[1] == 2, "round 2 began")
        company.until_acted("committed", 2, 2)
        first.hold("score")
        taken = Operator(first.home.root).ok("ledger", "withdraw")["withdrawn_wei"]
        late = leave(company, second)
        company.until(lambda: company.task.call("leaving") & 0b010, "the second had announced it")
        first.release("score")
        assert [one.wait() for one in company.everybody] == [0] * 4, company.told()
        yield Left(company, early, late, taken)


def leave(company: Consortium, worker: Participant) -> str:
    """As an operator does in another terminal; what was shown before the question."""
    shown = Operator(worker.home.root)("task", "leave", company.task.address)
    assert "--yes" in shown.err
    answer = Operator(worker.home.root).ok("task", "leave", company.task.address, "--yes")
    assert answer["leaving"]
    return shown.err


def rotate_while_stopped(company: Consortium, one: Participant) -> None:
    one.signal(signal.SIGTERM)
    assert one.wait() == 0
    assert Operator(one.home.root).ok("keys", "rotate")["announced"] == [company.task.address]
    one.start()


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


def test_a_key_made_in_round_1_is_sealed_to_from_round_2_on_and_both_rounds_are_opened(left: Left) -> None:
    """Runbook lost-key."""
    company = left.company
    (before,) = [event.enc_key for event in of(company, ev.WorkerJoined) if event.worker == ACCOUNTS[1]]
    (after,) = [event for event in of(company, ev.KeyRotated) if event.who == ACCOUNTS[1]]
    assert after.effective_round == 2
    peers = {event.round: event.cid for event in of(company, ev.ModelSubmitted) if event.worker == ACCOUNTS[2]}
    sealed_to = [key_in(company, peers[round], ACCOUNTS[1]) for round in (1, 2)]
    assert sealed_to == [sha256(key).digest() for key in (before, after.enc_key)]
    opened = company.workers[0].said("round.model.fetched", sender=ACCOUNTS[2])
    assert [line["round"] for line in opened] == [1, 2]
    assert company.workers[0].said("update.rejected") == []


def test_the_final_model_is_sealed_to_the_key_that_the_requester_has_announced_since(left: Left) -> None:
    company = left.company
    (created,) = of(company, ev.TaskInitialized)
    (rotated,) = [event for event in of(company, ev.KeyRotated) if event.who == ACCOUNTS[0]]
    (attested,) = of(company, ev.FinalAttested)
    assert rotated.enc_key != created.requester_key
    assert key_in(company, attested.cid, ACCOUNTS[0]) == sha256(rotated.enc_key).digest()


def key_in(company: Consortium, cid: bytes, recipient: str) -> bytes:
    """The id of the key with which this recipient can open an envelope."""
    file = blob(company.directory / "blobs", cid)
    *_, stanzas = cbor2.loads(file[10:10 + int.from_bytes(file[6:10], "big")])
    (key_id,) = [key_id for account, key_id, _ in stanzas if account == bytes.fromhex(recipient[2:])]
    return bytes(key_id)


def test_credit_is_taken_out_in_the_middle_of_a_task(left: Left) -> None:
    company = left.company
    first, *_ = [event for event in of(company, ev.Withdrawn) if event.worker == ACCOUNTS[1]]
    assert left.taken == {company.task.address: str(first.amount)}
    told = company.events()
    assert told.index(first) < told.index(ev.WorkerLeaving(2, ACCOUNTS[2]))


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


async def test_who_leaves_while_a_task_is_joining_does_not_join_it_again_and_serves_the_next(company: Company) -> None:
    requester, worker = company.party("requester", "requester"), company.party("worker")
    first = await company.offer(requester)
    async with worker.running() as agent:
        await until(lambda: worker.said("task.joined", task=first.address), "the first task was joined", agent)
        assert first.call("indexPlus1", worker.address) == 1
        told = await asyncio.to_thread(Operator(worker.home.root).ok, "task", "leave", first.address, "--yes")
        assert told["leaving"]
        await until(lambda: worker.said("task.declined", task=first.address), "it said so", agent)
        second = await company.offer(requester)
        await until(lambda: second.call("indexPlus1", worker.address), "the next task was joined", agent)
    assert "this operator asked to leave it" in worker.said("task.declined", task=first.address)[0]["reason"]
    assert (first.call("indexPlus1", worker.address), company.locked(first)) == (0, company.locked(second) - BOND)
    assert len(worker.said("intent.started", intent="JoinTask", task=first.address)) == 1
    assert not worker.said("chain.unreachable")


async def test_who_left_by_a_command_while_no_agent_ran_does_not_join_again_when_it_starts(company: Company) -> None:
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
