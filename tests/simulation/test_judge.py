"""The judge is strict: what it excuses is excused for its reason alone, and what must not happen is noticed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from agents.core import worker
from agents.core.intents import Intent
from agents.core.state import Me, Memory, Now
from bfl_events.rules import majority_base
from bfl_events.schema import Record, RewardsDistributed, ScoresCommitted, Wei
from bfl_events.state import TaskState
from bfl_events.verify import verify
from tests.simulation import absences, learner, verdicts
from tests.simulation.faults import Faults
from tests.simulation.host import CHAIN_ID
from tests.simulation.judge import Judge
from tests.simulation.ledger import MINER
from tests.simulation.network import Network
from tests.simulation.play import IMPLEMENTATION, account
from tests.simulation.scenario import Fault, Scenario
from tests.simulation.simulation import run
from tests.simulation.transactions import Tx


def hiding(seconds: float) -> Scenario:
    """One of three models cannot be read from the moment it was published, for so long; scores are due after 13 s."""
    return Scenario(1, rounds=1, block_s=1.0, slow_txs=0.0, whole_event_path=False,
                    faults=(Fault(5.0, "store-hidden", (), seconds),))


@pytest.fixture
def without_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody sends another copy of a model that somebody asks for, which would not be hidden."""
    monkeypatch.setattr(worker, "answers", lambda *_: iter(()))


FINED = re.compile(r"worker \d, which is honest, is fined for fault 1")


@pytest.mark.usefixtures("without_copies")
def test_a_model_that_nobody_could_read_when_scoring_ended_is_fined_and_that_is_excused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond assumption (iv) of PROTOCOL 1."""
    assert run(hiding(14.0)).broken == []
    monkeypatch.setattr(absences, "_hidden", lambda *_: False)
    [sentence] = run(hiding(14.0)).broken
    assert FINED.fullmatch(sentence)


@pytest.mark.usefixtures("without_copies")
def test_a_model_that_was_readable_again_in_time_must_not_be_fined(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(hiding(2.0)).broken == []
    monkeypatch.setattr(worker, "score_cut_off", lambda *_: 0.0)
    [sentence] = run(hiding(2.0)).broken
    assert FINED.fullmatch(sentence)


def test_a_wei_from_nowhere_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Network.mine

    def mine(self: Network) -> None:
        self.head.state.balances["0x" + "77" * 20] += 1
        original(self)

    monkeypatch.setattr(Network, "mine", mine)
    broken = run(Scenario(1, rounds=1, slow_txs=0.0, whole_event_path=False)).broken
    assert any("1 wei more than the one before" in sentence for sentence in broken)


def test_a_second_row_for_the_same_models_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if everybody's scores were logged twice, differently."""
    original = Judge._check_row_commitment

    def twice(self: Judge, task: TaskState, event: ScoresCommitted) -> None:
        original(self, task, event)
        original(self, task, replace(event, commitment=bytes(32)))

    monkeypatch.setattr(Judge, "_check_row_commitment", twice)
    broken = run(Scenario(1, rounds=1, slow_txs=0.0, whole_event_path=False)).broken
    assert "worker 1 commits to other scores in attempt 1" in broken


def wrong_average(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody makes the same mistake, so that nobody differs."""
    right = learner.average
    monkeypatch.setattr(learner, "average", lambda base, parts: right(base, parts[:-1]))


def test_a_final_model_that_all_agree_on_and_no_settlement_explains_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong_average(monkeypatch)
    broken = run(Scenario(1, rounds=1, slow_txs=0.0, whole_event_path=False)).broken
    assert "the final model follows from no settlement" in broken


def test_a_base_that_all_agree_on_and_no_settlement_explains_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the commitment, and again at the end."""
    wrong_average(monkeypatch)
    story = Scenario(1, rounds=2, slow_txs=0.0, whole_event_path=False)
    assert any("starts round 2 from a model that follows from no settlement before" in one for one in run(story).broken)
    monkeypatch.setattr(Judge, "_check_commitment", lambda *_: None)
    assert "not everybody started attempt 2 from the model that follows from the log" in run(story).broken


def one_starts_from_the_initial_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second worker, in every round; the others do as they should."""
    original = worker._train

    def train(task: TaskState, memory: Memory, me: Me, now: Now, index: int) -> Iterator[Intent]:
        with pytest.MonkeyPatch.context() as astray:
            if me.address == account(2):
                astray.setattr(worker, "start_of", lambda task, memory, round: task.params.model_hash)  # noqa: A006
                astray.setattr(worker, "agreed_start", lambda *_: None)
            intents = list(original(task, memory, me, now, index))
        yield from intents

    monkeypatch.setattr(worker, "_train", train)


def test_one_worker_that_starts_from_another_model_than_the_rest_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """At its commitment, although that model was a true base in an earlier round; and again at the end."""
    one_starts_from_the_initial_model(monkeypatch)
    story = Scenario(1, rounds=2, slow_txs=0.0, whole_event_path=False)
    assert run(story).broken[0] == "worker 2 starts round 2 from a model that follows from no settlement before"
    monkeypatch.setattr(Judge, "_check_commitment", lambda *_: None)
    assert run(story).broken == ["not everybody started attempt 2 from the model that follows from the log"]


@pytest.mark.parametrize(("reorg", "broken"), [
    pytest.param(1.5, ["not everybody started attempt 2 from the model that follows from the log"], id="long-before"),
    pytest.param(10.0, [], id="in-that-round"),
])
def test_only_a_reorg_of_the_same_round_excuses_another_base(
    monkeypatch: pytest.MonkeyPatch, reorg: float, broken: list[str],
) -> None:
    one_starts_from_the_initial_model(monkeypatch)
    monkeypatch.setattr(Judge, "_check_commitment", lambda *_: None)
    story = Scenario(1, rounds=2, slow_txs=0.0, whole_event_path=False, faults=(Fault(reorg, "reorg", (), 0.0, 1),))
    assert run(story).broken == broken


def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody has lost everything, at some time: even then some things must not be."""
    monkeypatch.setattr(Faults, "lost", lambda *_: True)


def test_a_commitment_that_replaces_a_replacement_is_noticed_whatever_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Judge._check_times
    forgetful(monkeypatch)
    monkeypatch.setattr(Judge, "_check_times", lambda self, event, times: original(self, event, times + 1))
    assert run(Scenario(1, rounds=1, slow_txs=0.0, whole_event_path=False)).broken == []
    monkeypatch.setattr(Judge, "_check_times", lambda self, event, times: original(self, event, times + 2))
    [first, *_] = run(Scenario(1, rounds=1, slow_txs=0.0, whole_event_path=False)).broken
    assert re.fullmatch(r"worker \d commits to a model 3 times in attempt 1", first)


@pytest.mark.parametrize("name", ["open_model", "submit_score"])
def test_a_second_opening_or_row_on_one_fork_is_noticed_whatever_was_lost(
    monkeypatch: pytest.MonkeyPatch, name: str,
) -> None:
    original = Judge._check_shown

    def twice(self: Judge, tx: Tx, shown_by: str, shown: object, salt: bytes) -> None:
        original(self, tx, shown_by, shown, salt)
        original(self, tx, shown_by, "another" if name == shown_by else shown, salt)

    forgetful(monkeypatch)
    monkeypatch.setattr(Judge, "_check_shown", twice)
    [first, *_] = run(Scenario(1, rounds=1, slow_txs=0.0, whole_event_path=False)).broken
    assert re.fullmatch(rf"worker \d shows two things by {name} on one fork", first)


def test_a_wei_that_nobody_can_take_out_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the miner's, so that the sum is right."""
    original = Network.mine

    def mine(self: Network) -> None:
        original(self)
        balances = self.head.state.balances
        task = next(iter(self.head.state.tasks))
        if self.head.number == 4:
            balances[MINER] -= 1
            balances[task] += 1

    monkeypatch.setattr(Network, "mine", mine)
    broken = run(Scenario(1, rounds=1, slow_txs=0.0, whole_event_path=False)).broken
    assert broken == ["1 wei are left in a contract that owes nothing"]


@pytest.fixture
def on_a_dead_forks_base() -> Scenario:
    """Round 1 is undone when round 2 has begun; most commitments to round 2 are mined again, with their old bases."""
    return Scenario(1221, 4, 2, 0, 1.6, 0.0, 2, 14.945579917828155, whole_event_path=False,
                    faults=(Fault(16.5, "fork-base", (1,), 13.96, 6),))


def test_a_base_of_a_dead_fork_counts_where_most_commitments_to_it_were_mined_again(
    on_a_dead_forks_base: Scenario, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who follows the majority's base (PROTOCOL 2.4) is right; a judge that only folds settlements would not see it."""
    assert run(on_a_dead_forks_base).broken == []
    monkeypatch.setattr(Judge, "_know_base", lambda self, task, round: self.bases[round].add(  # noqa: A006
        verdicts.expected_base(task, round)))
    assert run(on_a_dead_forks_base).broken == ["the final model follows from no settlement"]


def test_a_log_that_stands_on_a_dead_forks_base_verifies(
    on_a_dead_forks_base: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`verify` knows no model's bytes; which base counts is the majority's word, of which the log need not say why."""
    original, judges = Judge.finish, list[Judge]()

    def finish(self: Judge, *, over: bool) -> None:
        judges.append(self)
        original(self, over=over)

    monkeypatch.setattr(Judge, "finish", finish)
    run(on_a_dead_forks_base)
    [task] = judges[0].network.head.state.tasks.values()
    assert any(majority_base(attempt) not in (None, verdicts.expected_base(task, attempt.round))
               for attempt in task.attempts)
    assert verify(list(judges[0].records()), chain_id=CHAIN_ID, implementation=IMPLEMENTATION) == []


def test_a_log_that_contradicts_itself_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A payout that is a wei too high."""
    original = Judge.records

    def records(judge: Judge) -> Iterator[Record]:
        for record in original(judge):
            event = record.event
            paid = isinstance(event, RewardsDistributed)
            yield replace(record, event=replace(event, per_top=Wei(event.per_top + 1))) if paid else record

    monkeypatch.setattr(Judge, "records", records)
    broken = run(Scenario(1, rounds=1, slow_txs=0.0, whole_event_path=False)).broken
    assert any(sentence.startswith("the log contradicts itself: ") and "per_top" in sentence for sentence in broken)
