"""A federation of deciders on the contract's model: every duty of PROTOCOL 2.2 from state, memory and clock alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.core.intents import AggregateModels, CommitModel, SendNotice, TrainModel
from bfl_events.schema import ModelCommitted, Phase, WorkerPenalized
from tests.simulation.deciders import Federation
from tests.simulation.play import account


def bases(federation: Federation) -> dict[int, set[bytes]]:
    """Round -> base hashes that were committed in it."""
    found: dict[int, set[bytes]] = {}
    for record in federation.chain.records:
        if isinstance(record.event, ModelCommitted):
            found.setdefault(record.event.round, set()).add(record.event.base_hash)
    return found


def penalties(federation: Federation) -> list[tuple[str, int]]:
    events = (record.event for record in federation.chain.records)
    return [(event.worker, event.reason) for event in events if isinstance(event, WorkerPenalized)]


@pytest.mark.parametrize("workers", [3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_an_undisturbed_task_pays_everybody_and_delivers_the_attested_model(workers: int, seed: int) -> None:
    federation = Federation(workers, seed)
    federation.run(60)
    state = federation.task.state
    assert state.phase == Phase.COMPLETED
    assert all(len(hashes) == 1 for hashes in bases(federation).values())
    assert set(bases(federation)) == {1, 2, 3}
    assert penalties(federation) == []
    assert federation.delivered == state.final_hash != bytes(32)
    assert federation.task.balance == 0


def test_nobody_waits_for_the_requester() -> None:
    federation = Federation(3)
    federation.requester.alive = False
    federation.run(120)
    assert federation.task.state.phase == Phase.COMPLETED
    assert federation.task.balance == 0


@pytest.mark.parametrize("dead", range(5))
def test_one_dead_worker_costs_only_itself(dead: int) -> None:
    federation = Federation(5)
    federation.run(60, lambda: federation.task.state.round == 2)
    federation.workers[dead].alive = False
    federation.run(3000)
    assert federation.task.state.phase == Phase.COMPLETED
    assert {worker for worker, _ in penalties(federation)} <= {account(dead + 1)}
    assert all(len(hashes) == 1 for hashes in bases(federation).values())
    assert federation.task.balance == 0


def test_all_dead_for_a_while_costs_time_only() -> None:
    federation = Federation(3)
    federation.run(60, lambda: federation.task.state.phase == Phase.OPEN)
    federation.chain.warp(500)
    federation.run(600)
    assert federation.task.state.phase == Phase.COMPLETED
    assert federation.task.balance == 0


@pytest.mark.parametrize("phase", [Phase.TRAIN, Phase.OPEN, Phase.SCORE, Phase.REVEAL, Phase.ATTEST])
def test_whoever_loses_everything_but_its_key_goes_on_and_contradicts_nothing(phase: Phase) -> None:
    federation = Federation(3)
    federation.run(60, lambda: federation.task.state.phase == phase and federation.task.state.round >= 2)
    federation.workers[1].forget()
    federation.run(600)
    assert federation.task.state.phase == Phase.COMPLETED
    assert penalties(federation) == []
    assert all(len(hashes) == 1 for hashes in bases(federation).values())
    assert federation.delivered == federation.task.state.final_hash


def test_a_lost_global_model_comes_back_from_the_members() -> None:
    federation = Federation(3)
    federation.run(60, lambda: federation.task.state.round == 2 and federation.task.state.phase == Phase.TRAIN)
    victim = federation.workers[2]
    victim.forget()
    for cid in list(federation.store):
        if victim.me.address in federation.store[cid].readers:
            del federation.store[cid]                 # what was sealed for it in round 1 is gone as well
    federation.run(600)
    asked = [intent for intent in victim.done if isinstance(intent, SendNotice)]
    assert asked
    assert federation.task.state.phase == Phase.COMPLETED
    assert all(len(hashes) == 1 for hashes in bases(federation).values())


def test_a_void_attempt_keeps_what_was_trained() -> None:
    federation = Federation(5, max_miss=3)
    federation.run(60, lambda: federation.task.state.phase == Phase.TRAIN and federation.task.state.round == 2)
    for worker in federation.workers[1:]:
        worker.alive = False
    federation.run(150, lambda: federation.task.state.voids == 1)
    for worker in federation.workers[1:]:
        worker.alive = True
    federation.run(600)
    assert federation.task.state.phase == Phase.COMPLETED
    for worker in federation.workers:
        rounds = [intent.round for intent in worker.done if isinstance(intent, TrainModel)]
        assert rounds == sorted(set(rounds))


def test_a_late_joiner_starts_from_a_checkpoint_that_two_members_confirm() -> None:
    federation = Federation(3, max_workers=4, late_join=True, rounds=5)
    federation.run(200, lambda: federation.task.state.round == 2)
    newcomer = federation.arrive()
    federation.run(900)
    state = federation.task.state
    assert state.phase == Phase.COMPLETED
    seat = state.seats[newcomer.me.address]
    assert state.member(seat).join_round >= 3
    assert any(seat in attempt.commits for attempt in state.attempts)
    assert all(len(hashes) == 1 for hashes in bases(federation).values())
    assert penalties(federation) == []


def test_nobody_repeats_work_or_commits_twice() -> None:
    federation = Federation(5)
    federation.run(60)
    for worker in federation.workers:
        for kind in (TrainModel, AggregateModels, CommitModel):
            keys = [intent.key for intent in worker.done if isinstance(intent, kind)]
            assert len(keys) == len(set(keys))


def test_a_leaver_is_gone_after_the_settlement_and_has_its_bond_back() -> None:
    federation = Federation(5)
    federation.run(60, lambda: federation.task.state.round == 2)
    leaver = federation.workers[3]
    leaver.me = replace(leaver.me, leaving=frozenset({federation.task.state.address}))
    federation.run(600)
    state = federation.task.state
    seat = state.seats[leaver.me.address]
    assert state.phase == Phase.COMPLETED
    assert not state.active >> seat & 1
    assert penalties(federation) == []
    assert federation.task.balance == 0
