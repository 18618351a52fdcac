"""Laws of money: rewards, penalties, ejections, the end of attesting (PROTOCOL 4)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from bfl_events.rules import Fault, attest_result, bit, faults, members_of, penalise, round_reward, settle, split_reward
from bfl_events.schema import Bitmap, Phase, Wei
from bfl_events.state import Attestation, TaskState
from tests.events.ballots import terms
from tests.events.states import START, member, settled, state

ETHER = 10**18
bitmaps = st.integers(0, 31)


@given(reward=st.integers(0, 10**24), eligible=st.integers(1, 126), share=st.integers(5000, 10_000), data=st.data())
def test_the_pools_never_pay_more_than_the_rounds_reward(
    reward: int, eligible: int, share: int, data: st.DataObject
) -> None:
    top = data.draw(st.integers(1, eligible))
    per_top, per_rest = split_reward(reward, eligible, top, share)
    paid = per_top * top + per_rest * (eligible - top)
    assert reward - eligible < paid <= reward


@given(reward=st.integers(0, 10**24), eligible=st.integers(3, 126), share=st.integers(5000, 10_000), data=st.data())
def test_the_top_never_earn_less_than_the_rest(reward: int, eligible: int, share: int, data: st.DataObject) -> None:
    top = data.draw(st.integers(1, (eligible - 1) // 2))
    per_top, per_rest = split_reward(reward, eligible, top, share)
    assert per_top >= per_rest


@given(accepted=bitmaps, opened=bitmaps, scored=bitmaps, revealed=bitmaps, deviant=bitmaps, invalid=bitmaps,
       low=bitmaps, burn=st.sampled_from((0, 3333, 10_000)), pool=st.integers(0, 10**18))
def test_a_settlement_neither_makes_nor_loses_a_wei(
    accepted: int, opened: int, scored: int, revealed: int, deviant: int, invalid: int, low: int, burn: int, pool: int
) -> None:
    eligible = accepted & revealed & ~deviant
    before = settled(accepted=accepted, opened=opened, scored=scored, revealed=revealed, deviant=deviant,
                     invalid=invalid & ~accepted, low=low, eligible=eligible, top=eligible & -eligible,
                     forfeit_pool=Wei(pool), params={"burn_bps": burn})
    after = settle(before)
    fined = {p.index: p.amount for p in after.penalties}
    bonds = sum(before.member(i).bond for i in range(5))
    assert all(before.member(p.index).bond - p.amount == p.bond_left >= 0 for p in after.penalties)
    left = after.reward_left + after.forfeit_pool + after.burn_pool + sum(after.credits.values())
    assert left + bonds - sum(fined.values()) == before.reward_left + before.forfeit_pool + before.burn_pool + bonds


def test_a_round_pays_an_equal_share_of_what_is_left() -> None:
    assert round_reward(settled()) == 10 * ETHER
    assert round_reward(settled(round=3, reward_left=Wei(7))) == 7


def test_with_nobody_eligible_the_reward_rolls_on_and_forfeits_wait() -> None:
    after = settle(settled(eligible=0, accepted=0, top=0, invalid=0b11, deviant=0))
    assert after.reward_left == 30 * ETHER
    assert after.forfeit_pool == 2 * ETHER
    assert not after.credits


def test_forfeits_go_to_the_eligible_but_for_what_is_burned() -> None:
    after = settle(settled(accepted=0b01111, eligible=0b01111, invalid=0b10000, params={"burn_bps": 2500}))
    assert after.burn_pool == ETHER // 4
    assert after.per_forfeit == ETHER * 3 // 16
    assert after.forfeit_pool == 0


@pytest.mark.parametrize(("sets", "fault"), [
    ({"invalid": 1, "accepted": 30}, Fault.INVALID),
    ({"revealed": 30}, Fault.NO_REVEAL),
    ({"opened": 30}, Fault.UNOPENED),
    ({"committed": 30, "opened": 30}, Fault.MISSED),
    ({"scored": 30, "revealed": 30}, Fault.MISSED),
    ({"deviant": 1}, Fault.DEVIANT),
    ({"low": 1, "accepted": 30}, Fault.LOW),
    ({"invalid": 1, "revealed": 30, "low": 1, "deviant": 1}, Fault.INVALID),
    ({"opened": 30, "revealed": 30}, Fault.NO_REVEAL),
    ({"opened": 30, "scored": 30, "revealed": 30}, Fault.UNOPENED),
    ({"deviant": 1, "low": 1}, Fault.DEVIANT),
])
def test_one_penalty_a_worker_and_round_in_the_order_1_2_7_3_4_5(sets: dict[str, Any], fault: Fault) -> None:
    assert faults(settled(**sets)) == {0: fault}


def test_an_excused_leaver_owes_nothing() -> None:
    assert faults(settled(committed=30, opened=30, scored=30, revealed=30, excused=1)) == {}


def test_a_dropped_worker_answers_for_its_model_only() -> None:
    gone = settled(active=30, dropped=1, invalid=1, accepted=30, revealed=30)
    assert faults(gone) == {0: Fault.INVALID}
    assert not settle(gone).penalties[0].ejected
    assert faults(replace(gone, invalid=Bitmap(0))) == {}


@pytest.mark.parametrize(("workers", "rows"), [(5, 5), (6, 5), (15, 15), (16, 11), (30, 19)])
def test_scores_and_quality_are_fined_only_with_2f_plus_1_rows(workers: int, rows: int) -> None:
    def fined_with(revealed: int) -> bool:
        return 0 in faults(settled(workers, deviant=1, scored=revealed, revealed=revealed))

    assert fined_with((1 << rows) - 1)
    assert not fined_with((1 << rows - 1) - 1)


def test_max_low_0_switches_fault_5_off() -> None:
    assert faults(settled(low=1, accepted=30, params={"max_low": 0})) == {}


def fined(fault: Fault, *, params: dict[str, int] | None = None, **history: Any) -> tuple[int, bool, int]:
    """(milliether lost of 2 ether, ejected, strikes) of a worker with this history."""
    penalty = penalise(terms(**(params or {})), member(0, **history), fault)
    return penalty.amount * 1000 // ETHER, penalty.ejected, penalty.strikes


def test_the_table_of_penalties() -> None:
    assert fined(Fault.INVALID) == (1000, False, 1)
    assert fined(Fault.INVALID, strikes=1, bond=ETHER) == (1000, True, 2)
    assert fined(Fault.NO_REVEAL) == (200, False, 0)
    assert fined(Fault.MISSED) == (100, False, 0)
    assert fined(Fault.MISSED, miss_streak=2) == (100, True, 0)
    assert fined(Fault.DEVIANT) == (200, False, 0)
    assert fined(Fault.LOW) == (0, False, 0)
    assert fined(Fault.LOW, low_streak=2) == (500, False, 1)
    assert fined(Fault.LOW, low_streak=2, strikes=1) == (500, True, 2)
    assert fined(Fault.NO_ATTEST) == (100, False, 0)
    assert fined(Fault.UNOPENED) == (200, False, 0)
    assert fined(Fault.UNOPENED, unopened=1) == (500, False, 1)
    assert fined(Fault.UNOPENED, unopened=2, strikes=1) == (500, True, 2)


def test_who_has_less_left_than_one_slash_is_out_unless_there_is_no_collateral() -> None:
    assert fined(Fault.DEVIANT, bond=ETHER + ETHER // 10) == (200, True, 0)
    assert fined(Fault.DEVIANT, bond=ETHER + ETHER // 5) == (200, False, 0)
    assert fined(Fault.DEVIANT, bond=0, params={"collateral": 0}) == (0, False, 0)


def test_a_penalty_takes_no_more_than_the_bond() -> None:
    penalty = penalise(terms(), member(0, bond=Wei(5)), Fault.INVALID)
    assert (penalty.amount, penalty.bond_left) == (5, 0)


def test_streaks_follow_the_faults() -> None:
    missed = penalise(terms(), member(0, miss_streak=1, low_streak=1), Fault.MISSED)
    assert (missed.miss_streak, missed.low_streak) == (2, 1)
    low = penalise(terms(), member(0, miss_streak=1, low_streak=2), Fault.LOW)
    assert (low.miss_streak, low.low_streak) == (1, 0)
    unopened = penalise(terms(), member(0, miss_streak=1), Fault.UNOPENED)
    assert (unopened.miss_streak, unopened.unopened) == (1, 1)


def test_taking_part_ends_the_miss_streak_and_an_accepted_model_the_low_one() -> None:
    after = settle(settled(accepted=0b11101, deviant=0b00100, opened=0b11110))
    assert after.miss_cleared == 0b11110
    assert after.low_cleared == 0b11000


def attesting(hashes: list[bytes | None], *, final: bytes = bytes(32)) -> TaskState:
    votes = {i: Attestation(h, b"", START) for i, h in enumerate(hashes) if h is not None}
    return state(len(hashes), Phase.ATTEST, attested=sum(bit(i) for i in votes), attestations=votes, final_hash=final,
                 forfeit_pool=Wei(100))


def test_the_voters_of_the_final_hash_share_the_forfeits_and_the_absent_add_to_them() -> None:
    good, bad = b"g" * 32, b"b" * 32
    result = attest_result(attesting([good, good, good, bad, None], final=good))
    assert result.voters == 0b111
    assert [(p.index, p.fault, p.amount) for p in result.penalties] == [(4, Fault.NO_ATTEST, ETHER // 10)]
    assert result.per_voter == (100 + ETHER // 10) // 3
    assert result.per_voter * 3 + result.forfeit_pool == 100 + ETHER // 10


def test_without_a_final_hash_nobody_pays_and_nobody_shares() -> None:
    result = attest_result(attesting([b"a" * 32, b"b" * 32, None]))
    assert (result.penalties, result.voters, result.per_voter, result.forfeit_pool) == ((), 0, 0, 100)


def test_only_attest_ends_with_forfeits() -> None:
    with pytest.raises(ValueError, match="TRAIN"):
        attest_result(state())


@given(top=st.integers(1, 31), eligible=st.integers(1, 31))
def test_rewards_by_index_are_the_two_shares(top: int, eligible: int) -> None:
    top &= eligible
    if not top:
        return
    after = settle(settled(eligible=eligible, accepted=eligible, deviant=31 & ~eligible, top=top))
    assert set(after.credits) == set(members_of(eligible))
    for index, credit in after.credits.items():
        assert credit == (after.per_top if top & bit(index) else after.per_rest) + after.per_forfeit
