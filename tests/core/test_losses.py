"""What a memory lacks that the chain shows of the account's own acts, and what such a memory never leads to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.core.intents import CommitModel, CommitScores, Done, Halt, Intent, ModelReady, Outcome, RowReady, TrainModel
from agents.core.losses import forgotten_commitments, losses, repaired
from agents.core.reduce import fold
from agents.core.state import Me, Memory, Now, World
from agents.core.worker import decide
from bfl_events.schema import ModelCommitted, Phase, ScoresCommitted, WorkerPenalized
from bfl_events.settlement import Fault
from bfl_events.state import TaskState
from tests.simulation.deciders import Agent, Federation
from tests.simulation.play import account

PHASES = [Phase.TRAIN, Phase.OPEN, Phase.SCORE, Phase.REVEAL, Phase.ATTEST]


def world(federation: Federation) -> World:
    return fold(World(), federation.chain.records)


def task_of(federation: Federation) -> TaskState:
    return world(federation).tasks[federation.task.state.address]


def in_round(round: int, phase: Phase) -> Federation:
    federation = Federation(3)
    federation.run(80, lambda: federation.task.state.phase == phase and (
        phase == Phase.ATTEST or federation.task.state.round == round))
    return federation


def acted(federation: Federation, agent: Agent, kind: type[Intent]) -> None:
    """Let the others wait until this agent has done it."""
    federation.run(80, lambda: any(isinstance(one, kind) and getattr(one, "round", 0) == 2 for one in agent.done))


@pytest.mark.parametrize("phase", PHASES)
def test_an_intact_memory_lacks_nothing(phase: Phase) -> None:
    federation = in_round(2, phase)
    for agent in federation.workers:
        assert losses(world(federation), agent.memory, agent.me) == ()
        assert forgotten_commitments(world(federation), agent.memory, agent.me) == ()
        assert repaired(task_of(federation), agent.memory, agent.me) or phase in (Phase.TRAIN, Phase.ATTEST)


def test_a_lost_journal_is_told_with_the_rounds_that_it_should_know() -> None:
    federation = in_round(2, Phase.REVEAL)
    victim = federation.workers[1]
    victim.forget()
    (loss,) = losses(world(federation), victim.memory, victim.me)
    assert (loss.terms, loss.models, loss.rows, loss.files) == (True, (1, 2), (1, 2), 0)
    assert "its own models of rounds 1, 2" in loss.sentence
    assert "an older backup was restored" in loss.sentence
    assert not repaired(task_of(federation), victim.memory, victim.me)


def test_an_older_backup_lacks_only_what_came_after_it() -> None:
    federation = in_round(1, Phase.REVEAL)
    victim = federation.workers[1]
    outcomes, models = dict(victim.outcomes), set(victim.models)
    federation.run(80, lambda: federation.task.state.phase == Phase.SCORE and federation.task.state.round == 2)
    acted(federation, victim, CommitScores)
    victim.outcomes, victim.models = outcomes, models
    (loss,) = losses(world(federation), victim.memory, victim.me)
    assert (loss.terms, loss.models, loss.rows) == (False, (2,), (2,))


def test_lost_model_files_are_counted_while_their_round_is_retained() -> None:
    federation = in_round(2, Phase.SCORE)
    victim = federation.workers[1]
    victim.models.clear()
    (loss,) = losses(world(federation), victim.memory, victim.me)
    assert (loss.terms, loss.models, loss.rows) == (False, (), ())
    assert loss.files > 0
    assert f"{loss.files} are gone" in loss.sentence


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("rounds_later", [0, 1, 2])
def test_a_restored_backup_of_any_phase_goes_on_and_contradicts_nothing(phase: Phase, rounds_later: int) -> None:
    federation = Federation(3, rounds=5)
    federation.run(200, lambda: federation.task.state.phase == phase and (
        phase == Phase.ATTEST or federation.task.state.round == 2))
    victim = federation.workers[1]
    outcomes, models = dict(victim.outcomes), set(victim.models)
    if phase != Phase.ATTEST:
        federation.run(200, lambda: federation.task.state.round >= 2 + rounds_later and any(
            isinstance(intent, CommitModel) and intent.round >= 2 + rounds_later for intent in victim.done))
    victim.outcomes, victim.models = outcomes, models
    federation.run(900)
    records = [record.event for record in federation.chain.records]
    assert federation.task.state.phase == Phase.COMPLETED
    assert [event for event in records if isinstance(event, WorkerPenalized)] == []
    for kind in (ModelCommitted, ScoresCommitted):
        said = {(event.round, event.attempt, event.commitment) for event in records
                if isinstance(event, kind) and event.worker == victim.me.address}
        assert len(said) == 5
    assert federation.delivered == federation.task.state.final_hash


# ---- training that never gives the same bytes twice, as on most hardware


@pytest.mark.parametrize(("phase", "costs", "commits"), [
    (Phase.TRAIN, [], [1, 2, 1]), (Phase.OPEN, [Fault.UNOPENED], [1, 1, 1]), (Phase.SCORE, [], [1, 1, 1]),
    (Phase.REVEAL, [Fault.NO_REVEAL], [1, 1, 1]), (Phase.ATTEST, [], [1, 1, 1]),
])
def test_who_forgot_and_cannot_do_the_same_again_loses_one_rounds_fee_at_most(
    phase: Phase, costs: list[int], commits: list[int]
) -> None:
    """In Open and Reveal before its act, which it cannot do any more; in Train and Score after it: it is replaced."""
    federation = Federation(3, rounds=3)
    federation.run(200, lambda: federation.task.state.phase == phase and federation.task.state.round >= 2)
    victim = federation.workers[1]
    quality = federation.quality
    federation.quality = lambda scorer, digest: quality(scorer, digest) + (scorer == victim.me.address) * victim.form
    act = {Phase.TRAIN: CommitModel, Phase.SCORE: CommitScores}.get(phase)
    if act is not None:
        federation.workers[0].alive = False        # the phase stays open for a second commitment
        acted(federation, victim, act)
    victim.forget()
    victim.form = 1
    if act is not None:
        federation.run(80, lambda: sum(isinstance(one, act) and one.round == 2 for one in victim.done) == 2)
        federation.workers[0].alive = True
    federation.run(2000)
    records = [record.event for record in federation.chain.records]
    assert federation.task.state.phase == Phase.COMPLETED
    fees = [(event.worker, event.reason) for event in records if isinstance(event, WorkerPenalized)]
    assert fees == [(victim.me.address, reason) for reason in costs]
    own = [event for event in records if isinstance(event, ModelCommitted) and event.worker == victim.me.address]
    assert [sum(event.round == round for event in own) for round in (1, 2, 3)] == commits
    assert all(len({event.base_hash for event in records if isinstance(event, ModelCommitted) and event.round == round})
               == 1 for round in (1, 2, 3)), "what it did not open is nobody's, and everybody averages the same"
    assert federation.delivered == federation.task.state.final_hash


def with_commit(federation: Federation, me: Me, digest: bytes, times: int) -> TaskState:
    """The task as if this account had committed to that model, so many times."""
    task = task_of(federation)
    index = task.seats[me.address]
    commit = replace(task.current.commits[index], times=times,
                     digest=me.seals.model(task.address, task.round, task.attempt, digest))
    attempt = replace(task.current, commits={**task.current.commits, index: commit})
    return replace(task, attempts=(*task.attempts[:-1], attempt))


def decided(task: TaskState, outcomes: dict[str, Outcome], models: set[bytes], me: Me) -> tuple[Intent, ...]:
    memory = Memory(outcomes, frozenset(models))
    wanted = decide(World({task.address: task}), memory, me, Now(float(task.since.time), task.since.block + 1))
    return tuple(one for one in wanted if isinstance(one, CommitModel | CommitScores | Halt | TrainModel))


def half_trained() -> tuple[Federation, Agent]:
    """In round 2's training phase, with the second worker's commitment on chain and the others' to come."""
    federation = in_round(2, Phase.TRAIN)
    federation.workers[0].alive = False
    victim = federation.workers[1]
    acted(federation, victim, CommitModel)
    assert federation.task.state.phase == Phase.TRAIN
    return federation, victim


@pytest.mark.parametrize(("times", "wanted"), [(1, CommitModel), (2, None)])
def test_a_commitment_from_a_forgotten_time_is_replaced_once_and_never_again(
    times: int, wanted: type[Intent] | None
) -> None:
    federation, victim = half_trained()
    task = with_commit(federation, victim.me, b"\7" * 32, times)
    train = next(key for key in victim.outcomes if key.startswith(f"train:{task.address}:2:"))
    before = {key: outcome for key, outcome in victim.outcomes.items() if key != train}
    memory = Memory(before, frozenset(victim.models))
    marks = forgotten_commitments(World({task.address: task}), memory, victim.me)
    assert len(marks) == 1
    after = before | {train: victim.outcomes[train]} | {mark: Done() for mark in marks}      # trained again, otherwise
    assert [type(one) for one in decided(task, after, victim.models, victim.me)] == ([wanted] if wanted else [])


def test_a_second_commitment_that_is_not_the_journals_is_somebody_elses() -> None:
    federation, victim = half_trained()
    task = with_commit(federation, victim.me, b"\7" * 32, 2)
    memory = Memory(victim.outcomes, frozenset(victim.models))
    assert forgotten_commitments(World({task.address: task}), memory, victim.me) == ()
    (halt,) = decided(task, victim.outcomes, victim.models, victim.me)
    assert isinstance(halt, Halt)
    assert account(2) in halt.reason


def test_a_commitment_whose_model_file_is_lost_is_still_known_for_ones_own() -> None:
    federation, victim = half_trained()
    task = task_of(federation)
    index = task.seats[victim.me.address]
    attempt = replace(task.current, commits={
        **task.current.commits, index: replace(task.current.commits[index], times=2)})
    task = replace(task, attempts=(*task.attempts[:-1], attempt))
    (key,) = (key for key in victim.outcomes if key.startswith(f"train:{task.address}:2:"))
    other = TrainModel(task.address, 2, b"\1" * 32)
    own = victim.outcomes[key]
    assert isinstance(own, ModelReady)
    outcomes = {**victim.outcomes, other.key: own, key: ModelReady(b"\2" * 32)}
    models = (victim.models - {own.model_hash}) | {b"\2" * 32}
    assert decided(task, outcomes, models, victim.me) == ()


def test_scores_from_a_forgotten_time_are_marked_and_not_committed_a_third_time() -> None:
    federation = in_round(2, Phase.SCORE)
    federation.workers[0].alive = False
    victim = federation.workers[1]
    acted(federation, victim, CommitScores)
    task = task_of(federation)
    index = task.seats[victim.me.address]
    forgotten = replace(task.current.score_commits[index], digest=b"\3" * 32, times=2)
    attempt = replace(task.current, score_commits={**task.current.score_commits, index: forgotten})
    task = replace(task, attempts=(*task.attempts[:-1], attempt))
    rows = {key: one for key, one in victim.outcomes.items() if key.startswith(f"score:{task.address}:{task.attempt}:")}
    assert all(isinstance(row, RowReady) for row in rows.values())
    before = {key: one for key, one in victim.outcomes.items() if key not in rows}
    memory = Memory(before, frozenset(victim.models))
    (mark,) = forgotten_commitments(World({task.address: task}), memory, victim.me)
    assert decided(task, before | rows | {mark: Done()}, victim.models, victim.me) == ()
    (halt,) = decided(task, before | rows, victim.models, victim.me)
    assert isinstance(halt, Halt)


def test_a_row_of_another_fork_does_not_account_for_a_forgotten_commitment() -> None:
    """A backup from between two commitments of one attempt: the seed changed by a reorg, and with it the row."""
    federation = in_round(2, Phase.SCORE)
    victim = federation.workers[1]
    acted(federation, victim, CommitScores)
    seed = task_of(federation).current.seed.hex()
    assert forgotten_commitments(world(federation), victim.memory, victim.me) == ()
    victim.outcomes = {key.replace(seed, "00" * 32) if key.startswith("score:") else key: outcome
                       for key, outcome in victim.outcomes.items()}
    assert forgotten_commitments(world(federation), victim.memory, victim.me) == (), "the row itself is still known"
    victim.outcomes = {key: replace(outcome, row=(*outcome.row, outcome.row[0])) if isinstance(outcome, RowReady)
                       else outcome for key, outcome in victim.outcomes.items()}
    assert len(forgotten_commitments(world(federation), victim.memory, victim.me)) == 1
