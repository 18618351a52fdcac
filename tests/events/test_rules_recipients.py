"""Whose key seals what, and the majority's base (PROTOCOL 2.4, 8)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bfl_events.rules import Content, key_for, majority_base, recipients
from bfl_events.schema import Bitmap, Phase
from bfl_events.state import ModelCommitment, Position, Standing
from tests.events.states import START, key, member, state
from tests.simulation.play import REQUESTER, STRANGER, account

ROTATED = (key(1, 5, b"first"), key(3, 20, b"second"), key(4, 30, b"third"))


@pytest.mark.parametrize(("round_number", "name"), [(1, b"first"), (2, b"first"), (3, b"second"), (9, b"third")])
def test_a_model_is_sealed_with_the_last_key_effective_in_its_round(round_number: int, name: bytes) -> None:
    task = state(members=lambda i: member(i, keys=ROTATED))
    chosen = key_for(task, account(1), Content.MODEL, round_number)
    assert chosen is not None
    assert chosen.der == name


def test_two_rotations_in_one_round_leave_the_later() -> None:
    task = state(members=lambda i: member(i, keys=(key(1, 5), key(2, 20, b"a"), key(2, 21, b"b"))))
    chosen = key_for(task, account(1), Content.MODEL, 2)
    assert chosen is not None
    assert chosen.der == b"b"


def test_before_any_key_is_effective_the_one_of_joining_is_used() -> None:
    task = state(members=lambda i: member(i, keys=(key(3, 5, b"first"), key(4, 20))))
    chosen = key_for(task, account(1), Content.MODEL, 1)
    assert chosen is not None
    assert chosen.der == b"first"


def test_repairs_and_checkpoints_use_the_newest_key() -> None:
    task = state(members=lambda i: member(i, keys=ROTATED))
    for kind in (Content.CHECKPOINT, Content.REPAIR):
        chosen = key_for(task, account(1), kind, 1)
        assert chosen is not None
        assert chosen.der == b"third"


def test_the_final_model_uses_the_requesters_newest_key_from_before_attest() -> None:
    keys = (key(0, 1, b"old"), key(2, 10, b"new"), key(2, 40, b"too late"))
    task = state(phase=Phase.ATTEST, requester_keys=keys, attest_since=Position(40, 0, START.time + 40))
    chosen = recipients(task, Content.FINAL, 3)
    assert [(r.account, r.index, r.key.der) for r in chosen] == [(REQUESTER, None, b"new")]
    later = replace(task, attest_since=Position(40, 1, START.time + 40))
    assert recipients(later, Content.FINAL, 3)[0].key.der == b"too late"


def test_a_model_goes_to_the_roster_of_its_attempt_dropped_members_and_sender_included_not_to_the_pending() -> None:
    task = state(4)
    task = replace(task, active=Bitmap(0b0001), dropped=Bitmap(0b0110), pending=Bitmap(0b1000),
                   attempts=(replace(task.current, roster=Bitmap(0b0111)),))
    assert [r.index for r in recipients(task, Content.MODEL, 1)] == [0, 1, 2]


def test_a_checkpoint_goes_to_those_who_become_active_and_stayed() -> None:
    joiners = {3: Standing.MEMBER, 4: Standing.GONE}
    task = state(members=lambda i: member(i, join_round=2, status=joiners[i]) if i in joiners else member(i))
    assert [r.index for r in recipients(task, Content.CHECKPOINT, 2)] == [3]


def test_a_repair_goes_to_the_asker_who_may_be_the_requester() -> None:
    assert [r.index for r in recipients(state(), Content.REPAIR, 1, asker=account(3))] == [2]
    assert [r.index for r in recipients(state(), Content.REPAIR, 1, asker=REQUESTER)] == [None]
    with pytest.raises(ValueError, match="asker"):
        recipients(state(), Content.REPAIR, 1)


def test_a_stranger_has_no_key() -> None:
    with pytest.raises(LookupError, match=STRANGER):
        key_for(state(), STRANGER, Content.MODEL, 1)


@pytest.mark.parametrize(("bases", "majority"), [
    ("aaabb", b"a"), ("aabb", None), ("aab", None), ("abcde", None), ("", None), ("aaa", b"a"),
])
def test_the_majority_base_needs_more_than_half_of_the_roster(bases: str, majority: bytes | None) -> None:
    """Five on the roster; who has not committed counts against every hash."""
    commits = {i: ModelCommitment(b"", base.encode(), START) for i, base in enumerate(bases)}
    assert majority_base(replace(state().current, commits=commits)) == majority
