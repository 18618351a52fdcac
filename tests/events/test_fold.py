"""Laws of the fold: states follow from logs, in order, once, and never change afterwards (PROTOCOL 7.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any, get_args

import pytest
from hypothesis import given, settings, strategies as st

from bfl_events import schema as ev
from bfl_events.fold import Created, FoldError, apply, begin, fold
from bfl_events.rules import Content, Fault, Removal, key_for, majority_base, members_of
from bfl_events.schema import Bitmap, Event, Phase, Record, Wei
from bfl_events.state import Standing, TaskState
from tests.events.logs import SEEDS, all_logs, cancelled_log, honest_log, random_log
from tests.simulation.play import STRANGER, account

logs = st.sampled_from(SEEDS).map(random_log)


def states_of(records: Sequence[Record]) -> list[TaskState]:
    """The state after TaskInitialized and after every log that follows."""
    state: Created | TaskState = begin(records[0])
    found = []
    for record in records[1:]:
        state = apply(state, record)
        found.append(state)
    return found


def last(records: Sequence[Record], kind: type[Any]) -> int:
    """The position of the last event of a kind."""
    return max(k for k, record in enumerate(records) if isinstance(record.event, kind))


def with_event(record: Record, **changes: Any) -> Record:
    event: Any = record.event
    return replace(record, event=replace(event, **changes))


def test_the_games_contain_every_event_fault_removal_and_end() -> None:
    events = [record.event for log in all_logs() for record in log]
    assert {type(event) for event in events} == set(get_args(Event))
    assert {event.reason for event in events if isinstance(event, ev.WorkerPenalized)} == set(Fault)
    removals = {event.reason for event in events if isinstance(event, ev.WorkerRemoved)}
    assert removals >= {Fault.INVALID, Fault.MISSED, *Removal}
    ends = {event.phase for event in events if isinstance(event, ev.TaskEnded)}
    assert ends == {Phase.COMPLETED, Phase.CANCELLED, Phase.EXPIRED}
    attempts = [pair for log in all_logs() for pair in pairwise(fold(log).attempts)]
    assert any(before.round == after.round for before, after in attempts)


@settings(max_examples=30, deadline=None)
@given(logs, st.data())
def test_folding_a_prefix_and_then_the_rest_is_folding_all(records: tuple[Record, ...], data: st.DataObject) -> None:
    cut = data.draw(st.integers(2, len(records)))
    state = fold(records[:cut])
    for record in records[cut:]:
        state = apply(state, record)
    assert state == fold(records)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_state_changes_after_it_was_made(seed: int) -> None:
    records = random_log(seed)
    kept = states_of(records)
    for k, state in enumerate(kept):
        assert state == fold(records[: k + 2])


@pytest.mark.parametrize("seed", SEEDS)
def test_after_every_log_the_books_balance_and_the_sets_are_nested(seed: int) -> None:
    paid_in = 0
    for record, state in zip(random_log(seed)[1:], states_of(random_log(seed)), strict=True):
        match record.event:
            case ev.TaskInitialized(reward=amount) | ev.WorkerJoined(collateral=amount):
                paid_in += amount
        owed = sum(m.bond + m.credit for m in state.members if m is not None)
        held = state.reward_left + state.forfeit_pool + state.burn_pool + state.fined + owed
        assert paid_in == held + state.withdrawn + state.refunded + state.burned
        assert state.active & (state.pending | state.dropped) == 0
        assert state.opened & ~state.committed == state.revealed & ~state.scored == 0
        assert state.accepted & state.invalid == state.top & ~state.accepted == 0
        assert state.attested & ~state.active == 0
        assert all(state.member(i).account for i in members_of(state.active | state.pending | state.dropped))


@pytest.mark.parametrize("log", [honest_log, cancelled_log])
def test_a_game_played_to_its_end_leaves_nothing(log: Callable[[], tuple[Record, ...]]) -> None:
    end = fold(log())
    assert end.reward_left + end.forfeit_pool + end.burn_pool == 0
    assert all(m is None or m.bond + m.credit == 0 for m in end.members)


def test_an_honest_game_is_what_it_says() -> None:
    end = fold(honest_log())
    assert (end.phase, end.round, len(end.attempts), end.voids) == (Phase.COMPLETED, 3, 3, 0)
    assert all(set(attempt.opened) == set(attempt.revealed) == {0, 1, 2} for attempt in end.attempts)
    assert all(attempt.scored is not None and attempt.paid is not None for attempt in end.attempts)
    assert all(majority_base(attempt) is not None for attempt in end.attempts)
    assert all(attempt.seed != bytes(32) for attempt in end.attempts)
    assert end.withdrawn + end.refunded == 30 * 10**18 + 3 * 2 * 10**18
    assert all(m is not None and m.status is Standing.MEMBER and not m.strikes for m in end.members)
    chosen = key_for(end, account(1), Content.MODEL, 1)
    assert chosen is not None
    assert chosen.der == b"key 1"


def test_a_seat_given_up_is_free_and_taken_again() -> None:
    states = states_of(cancelled_log())
    freed = next(s for s in states if None in s.members)
    assert freed.members[0] is None
    assert freed.index_of(account(1)) is None
    assert freed.count == 2
    with pytest.raises(LookupError, match="index 0"):
        freed.member(0)
    assert states[-1].member(0).account == account(3)


# ------------------------------------------------------------------------------------------------ what cannot follow


@settings(max_examples=40, deadline=None)
@given(logs, st.data())
def test_a_log_folds_once_only(records: tuple[Record, ...], data: st.DataObject) -> None:
    cut = data.draw(st.integers(2, len(records)))
    with pytest.raises(FoldError, match="not come after"):
        apply(fold(records[:cut]), records[cut - 1])


def test_a_log_of_another_contract_does_not_fold() -> None:
    records = honest_log()
    with pytest.raises(FoldError, match=f"emitted by {STRANGER}"):
        apply(fold(records[:-1]), replace(records[-1], emitter=STRANGER))


def test_time_does_not_run_back() -> None:
    records = honest_log()
    with pytest.raises(FoldError, match="time runs back"):
        apply(fold(records[:-1]), replace(records[-1], time=records[0].time - 1))


def test_a_task_begins_with_its_creation() -> None:
    records = honest_log()
    with pytest.raises(FoldError, match="begins with TaskCreated"):
        fold(records[1:])
    with pytest.raises(FoldError, match="must come before"):
        fold([records[0], *records[2:]])
    with pytest.raises(ValueError, match="TaskInitialized"):
        fold(records[:1])
    with pytest.raises(FoldError, match="exists already"):
        apply(fold(records), replace(records[1], block=10**6, time=10**11))


def test_the_requester_is_the_one_who_was_announced() -> None:
    records = honest_log()
    with pytest.raises(FoldError, match="requester is"):
        fold([records[0], with_event(records[1], requester=STRANGER)])


@pytest.mark.parametrize(("kind", "changes", "reason"), [
    (ev.WorkerJoined, {"index": 7}, "seat 7 is not free"),
    (ev.WorkerJoined, {"worker": account(1)}, "has a seat"),
    (ev.TaskStarted, {"roster": Bitmap(1)}, "roster is 1"),
    (ev.RoundAdvanced, {"attempt": 9}, "attempt is 9"),
    (ev.RoundAdvanced, {"round": 9}, "round is 9"),
    (ev.PhaseChanged, {"round": 9}, "round 9"),
    (ev.PhaseChanged, {"phase": Phase.TRAIN}, "no phase is followed by TRAIN"),
    (ev.PhaseChanged, {"phase": Phase.COMPLETED}, "no phase is followed by COMPLETED"),
    (ev.ModelCommitted, {"worker": STRANGER}, "has no seat"),
    (ev.ModelCommitted, {"attempt": 9}, "attempt 9"),
    (ev.ModelSubmitted, {"round": 9}, "round 9"),
    (ev.ScoresCommitted, {"attempt": 9}, "attempt 9"),
    (ev.ScoresSubmitted, {"worker": STRANGER}, "has no seat"),
    (ev.RoundScored, {"round": 9}, "round is 9"),
    (ev.RewardsDistributed, {"eligible": Bitmap(1)}, "eligible is 1"),
    (ev.RewardsDistributed, {"top_k": Bitmap(64)}, "topK is 64"),
    (ev.FinalAttested, {"worker": STRANGER}, "has no seat"),
    (ev.FinalForfeits, {"attesters": Bitmap(64)}, "no worker with index 6"),
    (ev.TaskEnded, {"refundable": Wei(1)}, "refundable is 1"),
    (ev.TaskEnded, {"phase": Phase.TRAIN}, "cannot end in TRAIN"),
    (ev.Withdrawn, {"to": STRANGER}, "to is"),
    (ev.Withdrawn, {"amount": Wei(1)}, "amount is 1"),
])
def test_a_log_that_cannot_follow_is_named(kind: type[Any], changes: dict[str, Any], reason: str) -> None:
    records = honest_log()
    at = last(records, kind)
    with pytest.raises(FoldError, match=reason) as caught:
        fold([*records[:at], with_event(records[at], **changes)])
    assert caught.value.record.event == with_event(records[at], **changes).event
    assert kind.__name__ in str(caught.value)


@pytest.mark.parametrize(("changes", "reason"), [
    ({"bond_left": Wei(1)}, "bondLeft is 1"), ({"strikes": 9}, "strikes go from"), ({"reason": 99}, "no fault 99"),
])
def test_a_penalty_that_cannot_be_is_named(changes: dict[str, Any], reason: str) -> None:
    records = random_log(SEEDS[0])
    at = last(records, ev.WorkerPenalized)
    with pytest.raises(FoldError, match=reason):
        fold([*records[:at], with_event(records[at], **changes)])


@pytest.mark.parametrize(("kind", "place"), [(ev.ModelCommitted, "commits"), (ev.ScoresCommitted, "score_commits")])
def test_commitments_of_an_attempt_are_counted_and_the_last_one_stands(kind: type[Any], place: str) -> None:
    """By the count an agent knows that it has replaced its own once, or that another hand did (PROTOCOL 2.2)."""
    records = honest_log()
    at = next(k for k, record in enumerate(records) if isinstance(record.event, kind))
    first = records[at]
    again = with_event(replace(first, log_index=first.log_index + 1), commitment=b"\7" * 32)
    once, twice = records[:at + 1], (*records[:at + 1], again)
    for log, digest, times in ((once, first.event.commitment, 1), (twice, again.event.commitment, 2)):
        state = fold(log)
        found = getattr(state.current, place)[state.seats[first.event.worker]]
        assert (found.digest, found.times) == (digest, times)
    everywhere = [one.times for attempt in fold(records).attempts for one in getattr(attempt, place).values()]
    assert set(everywhere) == {1}, "each attempt counts from the beginning"


def test_a_second_opening_and_one_without_a_commitment_are_named() -> None:
    records = honest_log()
    at = last(records, ev.ModelSubmitted)
    again = replace(records[at - 1], block=records[at].block, log_index=9, time=records[at].time)
    with pytest.raises(FoldError, match="done this before"):
        fold([*records[:at], again])
    committed = next(k for k, r in enumerate(records) if isinstance(r.event, ev.ModelCommitted))
    without = [r for k, r in enumerate(records[: committed + 5]) if k != committed]
    with pytest.raises(FoldError, match="nothing to open"):
        fold(without)


@settings(max_examples=60, deadline=None)
@given(logs, st.data())
def test_a_log_left_out_is_a_fold_error_or_a_state_never_a_crash(
    records: tuple[Record, ...], data: st.DataObject
) -> None:
    gone = data.draw(st.integers(2, len(records) - 1))
    with suppress(FoldError):
        assert isinstance(fold([*records[:gone], *records[gone + 1:]]), TaskState)
