"""Laws of time: quorum, early exit, what a missed deadline does, what is due, what can be claimed (PROTOCOL 2.1)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from bfl_events.rules import (
    After,
    Claim,
    Due,
    actors,
    claims,
    deadline_passes,
    due,
    expected,
    hard_stop_passed,
    phase_complete,
    quorum,
    size,
    window,
)
from bfl_events.schema import Params, Phase, Wei
from tests.events.states import START, member, state
from tests.simulation.play import REQUESTER, account

ALL = 0b11111


@given(st.integers(0, 2**126 - 1))
def test_two_quorums_of_the_active_always_meet(active: int) -> None:
    assert quorum(active) >= 2
    assert 2 * quorum(active) > size(active)


def test_each_phase_waits_for_those_who_can_act_in_it() -> None:
    common: dict[str, Any] = {
        "committed": 0b00111, "opened": 0b00011, "scored": 0b01110, "revealed": 0b00110, "excused": 0b10000}
    waited = {p: (expected(state(phase=p, **common)), actors(state(phase=p, **common))) for p in Phase}
    assert waited[Phase.TRAIN] == (0b01111, 0b00111)
    assert waited[Phase.OPEN] == (0b00111, 0b00011)
    assert waited[Phase.SCORE] == (0b01111, 0b01110)
    assert waited[Phase.REVEAL] == (0b01110, 0b00110)
    assert waited[Phase.ATTEST] == (ALL, 0)
    assert waited[Phase.SETTLE] == waited[Phase.JOINING] == waited[Phase.COMPLETED] == (0, 0)


def test_a_phase_is_not_complete_below_the_quorum_even_if_all_expected_have_acted() -> None:
    leavers = state(committed=0b11, excused=0b11100)
    assert expected(leavers) == actors(leavers)
    assert not phase_complete(leavers)
    assert phase_complete(state(committed=0b111, excused=0b11000))


def test_with_a_quorum_of_actors_a_deadline_costs_nobody_anything() -> None:
    outcome = deadline_passes(state(committed=0b00111, excused=0b10000, voids=1))
    assert outcome.after is After.NEXT_PHASE
    assert (outcome.absent, outcome.missed, outcome.fallen, outcome.voids) == (0b01000, 0, 0, 1)
    assert outcome.active == ALL


def test_below_the_quorum_the_same_phase_is_extended() -> None:
    outcome = deadline_passes(state(phase=Phase.OPEN, committed=ALL, opened=0b00011))
    assert outcome.after is After.EXTENDED
    assert (outcome.missed, outcome.reset, outcome.voids, outcome.active) == (0b11100, 0b00011, 1, ALL)


def test_the_third_miss_in_a_row_drops_and_the_quorum_shrinks_with_it() -> None:
    tired = state(phase=Phase.REVEAL, scored=ALL, revealed=0b00011,
                  members=lambda i: member(i, miss_streak=2 if i > 1 else 0))
    outcome = deadline_passes(tired)
    assert (outcome.fallen, outcome.active, outcome.dropped) == (0b11100, 0b00011, 0b11100)
    assert outcome.after is After.NEXT_PHASE


def test_excused_leavers_fall_out_at_once() -> None:
    outcome = deadline_passes(state(committed=0b00011, excused=0b11100))
    assert (outcome.leavers, outcome.active, outcome.missed) == (0b11100, 0b00011, 0)
    assert outcome.after is After.NEXT_PHASE


def test_a_round_restarts_only_when_too_few_can_still_act() -> None:
    stuck = state(phase=Phase.REVEAL, scored=0b00011, revealed=0b00001)
    assert deadline_passes(stuck).after is After.RESTARTED


@pytest.mark.parametrize(("voids", "after"), [(4, After.EXTENDED), (5, After.EXPIRED)])
def test_more_than_max_void_misses_expire_the_task(voids: int, after: After) -> None:
    assert deadline_passes(state(voids=voids)).after is after


def test_too_few_active_workers_expire_the_task() -> None:
    tired = state(committed=1, params={"min_active": 2}, members=lambda i: member(i, miss_streak=2))
    assert deadline_passes(tired).after is After.EXPIRED


@given(committed=st.integers(0, 31), excused=st.integers(0, 31), misses=st.integers(0, 2), voids=st.integers(0, 5))
def test_a_deadline_only_ever_moves_workers_from_active_to_dropped(
    committed: int, excused: int, misses: int, voids: int
) -> None:
    before = state(committed=committed, excused=excused & ~committed, voids=voids,
                   members=lambda i: member(i, miss_streak=misses))
    outcome = deadline_passes(before)
    assert outcome.active & outcome.dropped == 0
    assert outcome.active | outcome.dropped == before.active | before.dropped
    assert outcome.fallen & actors(before) == 0
    assert outcome.missed & outcome.reset == 0


@pytest.mark.parametrize("phase", [Phase.JOINING, Phase.SETTLE, Phase.ATTEST, Phase.EXPIRED])
def test_only_the_four_phases_drop_anybody(phase: Phase) -> None:
    with pytest.raises(ValueError, match=phase.name):
        deadline_passes(state(phase=phase))


@pytest.mark.parametrize("phase", [Phase.TRAIN, Phase.OPEN, Phase.SCORE, Phase.REVEAL, Phase.ATTEST])
def test_at_the_deadline_nothing_is_due_and_a_second_later_next_round_is(phase: Phase) -> None:
    waiting = state(phase=phase)
    assert due(waiting, waiting.deadline) is None
    assert due(waiting, waiting.deadline + 1) == Due("nextRound", waiting.deadline + 1)


def test_a_settlement_is_due_at_once_and_an_attested_task_too() -> None:
    assert due(state(phase=Phase.SETTLE, deadline=0), START.time) == Due("nextRound", START.time)
    assert due(state(phase=Phase.ATTEST, attested=ALL), START.time) == Due("nextRound", START.time)


def test_the_hard_stop_is_due_before_a_later_deadline_but_waits_thirty_days_for_a_settlement() -> None:
    stop = START.time + 50
    waiting = state(params={"hard_stop": stop})
    assert due(waiting, stop) is None
    assert due(waiting, stop + 1) == Due("nextRound", stop + 1)
    assert hard_stop_passed(waiting, stop + 1)
    settling = state(phase=Phase.SETTLE, params={"hard_stop": stop})
    assert not hard_stop_passed(settling, stop + 30 * 86_400)
    assert hard_stop_passed(settling, stop + 30 * 86_400 + 1)


def test_starting_is_due_when_full_or_late_and_earlier_for_the_requester() -> None:
    def joining(count: int) -> Due | None:
        return due(state(count, Phase.JOINING, params={"max_workers": 5}), START.time)

    assert joining(5) == Due("startTask", START.time)
    assert joining(4) is None
    three, two = state(3, Phase.JOINING), state(2, Phase.JOINING)
    assert due(three, START.time, caller=REQUESTER) == Due("startTask", START.time)
    assert due(three, START.time, caller=account(1)) is None
    assert due(two, START.time, caller=REQUESTER) is None
    assert due(two, two.deadline + 1) == Due("startTask", two.deadline + 1)


def test_nothing_is_due_after_the_end() -> None:
    assert due(state(phase=Phase.COMPLETED), START.time + 10**9) is None


def test_credits_can_be_claimed_at_any_time_and_the_rest_after_the_end() -> None:
    rich: dict[str, Any] = {"burn_pool": Wei(7), "members": lambda i: member(i, bond=Wei(10), credit=Wei(i))}
    running, over = state(3, **rich), state(3, Phase.EXPIRED, **rich)
    assert claims(running).withdrawals == tuple(Claim(account(i + 1), account(i + 1), Wei(i)) for i in (1, 2))
    assert (claims(running).refund, claims(running).burn) == (0, 0)
    assert [c.amount for c in claims(over).withdrawals] == [10, 11, 12]
    assert (claims(over).refund, claims(over).burn) == (over.reward_left, 7)
    empty = state(3, Phase.EXPIRED, reward_left=Wei(0), members=lambda i: member(i, bond=Wei(0)))
    assert claims(empty).empty


def test_settle_has_no_window_and_joining_and_attesting_have_their_own() -> None:
    params: Params = state(params={"join_window": 1, "train_window": 2, "attest_window": 6}).params
    assert [window(params, p) for p in (Phase.JOINING, Phase.TRAIN, Phase.ATTEST, Phase.SETTLE)] == [1, 2, 6, 0]
