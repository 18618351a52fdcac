"""Each way to cheat against real training and the contract's rules: what PROTOCOL 1 promises for it, and who pays.

The sessions are real, so the figures are this data's; the claims are not. One cheat among five, a task of three rounds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from agents.demo.attack import Attack
from agents.demo.attacks import read
from bfl_events.rules import Fault, members_of
from bfl_events.schema import Phase
from tests.adversaries.consortium import WORKERS, Consortium, Laboratory, laboratory

ROUNDS, CHEAT = 3, WORKERS - 1
EVERY_ROUND = list(range(1, ROUNDS + 1))
Played = Callable[[Attack], Consortium]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    return laboratory(tmp_path_factory.mktemp("laboratory"), ROUNDS)


@pytest.fixture(scope="module")
def played(lab: Laboratory, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """A task with one cheat, played once for all tests."""
    done: dict[Attack, Consortium] = {}

    def play(attack: Attack) -> Consortium:
        if attack not in done:
            done[attack] = Consortium(lab, {CHEAT: attack}, tmp_path_factory.mktemp(attack))
            asyncio.run(done[attack].play())
        return done[attack]

    return play


def reasons(task: Consortium) -> list[tuple[int, Fault]]:
    return [(number, Fault(reason)) for number, reason in task.faults(CHEAT)]


@pytest.mark.parametrize("attack", Attack)
def test_the_honest_lose_nothing_and_the_model_is_as_good_as_without_the_cheat(played: Played, attack: Attack) -> None:
    task = played(attack)
    assert task.state.phase is Phase.ATTEST
    assert [one.number for one in task.settled()] == EVERY_ROUND, "no attempt was void"
    for index in task.honest:
        assert task.accepted(index) == EVERY_ROUND
        assert task.faults(index) == []
        assert task.earned(index) > 0
    assert task.accuracy() >= 0.95


@pytest.mark.parametrize("attack", Attack)
def test_cheating_earns_no_premium(played: Played, attack: Attack) -> None:
    """Lies about scores come with an honest model, whose turn at the top may come twice; other lies earn no mean."""
    task = played(attack)
    honest = [task.earned(index) for index in task.honest]
    trained = attack in {Attack.LIAR_LOW, Attack.LIAR_HIGH, Attack.CONSTANT_SCORES}
    assert task.earned(CHEAT) - task.slashed(CHEAT) <= (max(honest) if trained else sum(honest) / len(honest))


@pytest.mark.parametrize("attack", Attack)
def test_what_a_cheat_loses_goes_to_the_honest(played: Played, attack: Attack) -> None:
    task = played(attack)
    state = task.state
    paid = sum(task.earned(index) for index in range(WORKERS))
    assert paid + state.reward_left + state.forfeit_pool == state.reward + task.slashed(CHEAT)
    assert state.burn_pool == 0


def test_the_lazy_are_invalid_at_once_and_out_at_the_second_time(played: Played) -> None:
    task = played(Attack.LAZY)
    assert task.accepted(CHEAT) == []
    assert reasons(task) == [(1, Fault.INVALID), (2, Fault.INVALID)]
    assert task.earned(CHEAT) == 0
    assert task.slashed(CHEAT) == task.state.params.collateral
    assert not task.state.active >> CHEAT & 1


def test_a_plagiarist_is_paid_only_while_it_has_nothing_to_copy(played: Played) -> None:
    task = played(Attack.COPY)
    assert task.accepted(CHEAT) == [1], "nobody has published a model before round 1, so it trained one"
    assert reasons(task) == [(2, Fault.INVALID), (3, Fault.INVALID)]
    assert task.slashed(CHEAT) == task.state.params.collateral


def test_flipped_labels_are_never_averaged_nor_paid_and_the_third_time_costs_a_strike(played: Played) -> None:
    task = played(Attack.LABEL_FLIP)
    assert task.accepted(CHEAT) == []
    assert task.earned(CHEAT) == 0
    assert reasons(task) == [(number, Fault.LOW) for number in EVERY_ROUND]
    assert task.slashed(CHEAT) == task.state.params.collateral * task.state.params.slash_bps // 20_000
    assert task.state.member(CHEAT).strikes == 1


@pytest.mark.parametrize("attack", [Attack.SIGN_FLIP, Attack.NOISE])
def test_a_step_that_harms_is_not_averaged_and_at_convergence_a_step_that_small_harms_nobody(
    played: Played, attack: Attack
) -> None:
    """T3 to T5 while there is something to learn; near the optimum it is a free-rider like any other (T1a)."""
    task = played(attack)
    assert 1 not in task.accepted(CHEAT)
    assert (1, Fault.LOW) in reasons(task)
    upper = [one.scored for one in task.settled()]
    for scored, number in zip(upper, EVERY_ROUND, strict=True):
        assert scored is not None
        reading = scored.medians[0] >> 16 * (2 + CHEAT) & 0xFFFF
        assert (reading >= scored.theta) == (number in task.accepted(CHEAT))


def test_a_scaled_step_is_rejected_or_clipped_to_twice_the_median_step(played: Played) -> None:
    task = played(Attack.SCALED)
    assert 0 < len(task.accepted(CHEAT)) < ROUNDS, "accepted once, so that there is something to clip; then found out"
    for attempt, before, after in zip(task.settled(), task.bases, task.bases[1:], strict=False):
        assert attempt.scored is not None
        ground, moved = flat(before), flat(after) - flat(before)
        steps = {j: flat(task.models[attempt.opened[j].model_hash]) - ground
                 for j in members_of(attempt.scored.accepted)}
        longest = 2 * sorted(np.linalg.norm(step) for step in steps.values())[(len(steps) - 1) // 2]
        rest = sum(step for j, step in steps.items() if j != CHEAT)
        influence = np.linalg.norm(moved * len(steps) - rest)
        assert influence <= longest * 1.001
        if CHEAT in steps:
            assert np.linalg.norm(steps[CHEAT]) > 5 * longest, "unclipped it would have been a multiple of that"


def test_who_calls_everybody_bad_is_fined_every_time_and_changes_no_verdict(played: Played) -> None:
    task = played(Attack.LIAR_LOW)
    assert reasons(task) == [(number, Fault.DEVIANT) for number in EVERY_ROUND]
    assert task.earned(CHEAT) == 0
    assert task.slashed(CHEAT) == ROUNDS * (task.state.params.collateral * task.state.params.fee_bps // 10_000)


def test_who_calls_everybody_perfect_moves_no_median(played: Played) -> None:
    task = played(Attack.LIAR_HIGH)
    for attempt in task.settled():
        assert attempt.scored is not None
        for j in task.honest:
            readings = [attempt.revealed[i].row[0] >> 16 * (2 + j) & 0xFFFF for i in task.honest if i != j]
            median = attempt.scored.medians[0] >> 16 * (2 + j) & 0xFFFF
            assert min(readings) <= median <= max(readings)


def test_who_does_not_look_is_convicted_by_the_control_lanes(played: Played) -> None:
    task = played(Attack.CONSTANT_SCORES)
    fined = [number for number, reason in reasons(task)]
    assert set(reasons(task)) == {(number, Fault.DEVIANT) for number in fined}
    assert set(fined) >= set(EVERY_ROUND[1:]), "in round 1 an untrained model may be as bad as it says"
    assert task.slashed(CHEAT) == len(fined) * (task.state.params.collateral * task.state.params.fee_bps // 10_000)


def flat(model: Path) -> np.ndarray:
    """A model's float tensors as one vector, names sorted."""
    tensors = read(model)
    return np.concatenate([tensors[name].ravel().astype(np.float64) for name in sorted(tensors)])
