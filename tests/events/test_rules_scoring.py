"""Laws of the verdict on a round (PROTOCOL 3 and 4.1)."""

from __future__ import annotations

from statistics import median_high, median_low

import pytest
from hypothesis import given, settings, strategies as st

from bfl_events.rules import (
    AUDIT_LANE,
    CONTROL_LANES,
    PREVIOUS_LANE,
    SCORE_MAX,
    Ballot,
    audit_beta,
    bit,
    bitmap_of,
    lane,
    lane_of,
    lower_median,
    members_of,
    pack_row,
    row_faults,
    size,
    tally,
    top_count,
    unpack_row,
    upper_median,
    words_for,
)
from bfl_events.schema import Params
from tests.events.ballots import Crowd, ballots, crowds, opened_lanes, scores, terms


@given(st.lists(scores, max_size=130))
def test_a_row_is_read_as_it_was_packed(values: list[int]) -> None:
    row = pack_row(values)
    assert len(row) == words_for(len(values))
    assert unpack_row(row)[: len(values)] == tuple(values)
    assert not any(unpack_row(row)[len(values):])
    assert [lane(row, k) for k in range(len(values))] == values
    assert all(word < 2**256 for word in row)


def test_lane_l_is_bits_16_l_of_its_word() -> None:
    row = pack_row([*range(1, 17), 77])
    assert row == (sum((k + 1) << 16 * k for k in range(16)), 77)


@pytest.mark.parametrize("score", [-1, SCORE_MAX + 1, 2**15])
def test_a_score_out_of_range_is_not_packed(score: int) -> None:
    with pytest.raises(ValueError, match="0 … 10000"):
        pack_row([0, score])


def test_a_row_is_refused_for_its_length_its_lanes_and_its_own_score() -> None:
    assert row_faults(pack_row([1] * 4 + [0]), index=2, lanes=5) == ()
    assert "2 words" in row_faults((0, 0), index=2, lanes=5)[0]
    assert "above 10000" in row_faults((SCORE_MAX + 1,), index=2, lanes=5)[0]
    assert "own lane" in row_faults(pack_row([1] * 5), index=2, lanes=5)[0]
    assert "unused" in row_faults(pack_row([1] * 4 + [0, 1]), index=2, lanes=5)[0]


@given(st.lists(scores, min_size=1))
def test_the_medians_are_the_textbooks(values: list[int]) -> None:
    assert upper_median(values) == median_high(values)
    assert lower_median(values) == median_low(values)


def test_the_median_of_nothing_is_0() -> None:
    assert upper_median([]) == lower_median([]) == 0


@settings(max_examples=60, deadline=None)
@given(ballots())
def test_every_median_is_that_of_a_naive_sort_without_the_own_reading(drawn: tuple[Params, Ballot]) -> None:
    params, ballot = drawn
    scored = tally(params, ballot)
    upper, lower = unpack_row(scored.medians), unpack_row(scored.lows)
    counted = {PREVIOUS_LANE, *opened_lanes(ballot), *([AUDIT_LANE] if params.audit_lane else [])}
    for k in range(words_for(ballot.lanes) * 16):
        readings = sorted(lane(row, k) for i, row in ballot.rows.items() if lane_of(i) != k) if k in counted else []
        assert upper[k] == (readings[len(readings) // 2] if readings else 0)
        assert lower[k] == (readings[(len(readings) - 1) // 2] if readings else 0)


@settings(max_examples=60, deadline=None)
@given(ballots())
def test_the_sets_of_a_verdict_are_nested(drawn: tuple[Params, Ballot]) -> None:
    params, ballot = drawn
    scored, revealed = tally(params, ballot), bitmap_of(ballot.rows)
    assert scored.accepted & ~ballot.opened == 0
    assert scored.eligible & ~(scored.accepted & revealed) == scored.eligible & scored.deviant == 0
    assert scored.top & ~scored.eligible == 0
    assert scored.invalid & scored.accepted == scored.invalid & ~ballot.opened == 0
    assert scored.low & scored.accepted == 0
    assert size(scored.top) == top_count(size(scored.eligible), len(ballot.rows), params.top_k)
    assert scored.theta >= 1


@settings(max_examples=60, deadline=None)
@given(ballots())
def test_the_top_are_the_best_but_for_the_tie_band(drawn: tuple[Params, Ballot]) -> None:
    params, ballot = drawn
    scored = tally(params, ballot)
    upper, rest = unpack_row(scored.medians), scored.eligible & ~scored.top
    if len(ballot.rows) >= 3 and scored.top and rest:
        worst = min(upper[lane_of(i)] for i in members_of(scored.top))
        assert worst >= max(upper[lane_of(i)] for i in members_of(rest)) - params.tie_band


@settings(max_examples=150, deadline=None)
@given(crowds())
def test_no_minority_moves_a_median_out_of_the_honest_readings(crowd: Crowd) -> None:
    scored = tally(crowd.params, crowd.ballot)
    upper, lower = unpack_row(scored.medians), unpack_row(scored.lows)
    for k, honest in crowd.honest_readings.items():
        if not honest:
            continue
        assert upper[k] >= min(honest)
        assert lower[k] <= max(honest)
        if k >= CONTROL_LANES and crowd.liars & bit(k - CONTROL_LANES):
            assert upper[k] <= max(honest)


@settings(max_examples=150, deadline=None)
@given(crowds())
def test_no_honest_scorer_is_deviant_whatever_a_minority_says_or_opens(crowd: Crowd) -> None:
    assert tally(crowd.params, crowd.ballot).deviant & ~crowd.liars == 0


@settings(max_examples=100, deadline=None)
@given(crowds())
def test_no_minority_has_an_honest_model_called_invalid(crowd: Crowd) -> None:
    assert tally(crowd.params, crowd.ballot).invalid & ~crowd.liars == 0


def ballot_of(table: list[list[int]], *, opened: int, roster: int, round_number: int = 1) -> Ballot:
    return Ballot(round_number, len(table[0]), bitmap_of(range(roster)), bitmap_of(range(opened)),
                  {i: pack_row(row) for i, row in enumerate(table)})


def honest_table(count: int, score: int = 9000) -> list[list[int]]:
    return [[9000, 4500, *(0 if i == j else score for j in range(count))] for i in range(count)]


def test_one_lie_among_three_costs_an_honest_model_nothing() -> None:
    table = honest_table(3)
    table[2][lane_of(0)] = table[2][lane_of(1)] = 0
    scored = tally(terms(), ballot_of(table, opened=3, roster=3))
    assert scored.accepted == 0b111
    assert [unpack_row(scored.medians)[lane_of(j)] for j in range(3)] == [9000, 9000, 9000]


def test_of_two_scorers_a_lie_pays_nobody() -> None:
    table = honest_table(3)[:2]
    table[1] = [9000, 4500, 0, 0, 0]
    scored = tally(terms(), ballot_of(table, opened=3, roster=3))
    assert scored.eligible == scored.top == 0


def test_two_honest_scorers_share_all() -> None:
    scored = tally(terms(top_k=1), ballot_of(honest_table(3)[:2], opened=2, roster=3))
    assert scored.eligible == scored.top == 0b11


def test_liars_cannot_lift_theta_above_the_honest() -> None:
    table = honest_table(7, score=6000)
    for i in range(4, 7):
        table[i][CONTROL_LANES:] = [0 if j == i else 10_000 if j < 2 else 6000 for j in range(7)]
    scored = tally(terms(), ballot_of(table, opened=7, roster=7))
    assert scored.accepted == 0b1111111


def test_liars_that_do_not_open_cannot_push_theta_down_to_nothing() -> None:
    """Two of five zero every honest model: the median over the roster still is the honest quality."""
    table = honest_table(5, score=8000)
    for i in (3, 4):
        table[i][CONTROL_LANES:] = [0] * 5
    scored = tally(terms(), ballot_of(table, opened=5, roster=5))
    assert scored.theta == 6400


def test_more_invalid_than_valid_models_blame_the_task() -> None:
    table = [[9000, 4500, 0, 0, 0, 0, 0] for _ in range(5)]
    scored = tally(terms(), ballot_of(table, opened=5, roster=5))
    assert (scored.invalid, scored.accepted, scored.theta) == (0, 0, 1)


def test_invalid_needs_zeros_from_a_majority_of_the_roster_not_of_those_who_revealed() -> None:
    table = honest_table(5)
    for row in table[:4]:
        row[lane_of(4)] = 0
    everybody = tally(terms(), ballot_of(table, opened=5, roster=5))
    two_rows = Ballot(1, 7, bitmap_of(range(5)), bitmap_of(range(5)), {i: pack_row(table[i]) for i in range(2)})
    assert everybody.invalid == bit(4)
    assert tally(terms(), two_rows).invalid == 0


def test_a_constant_scorer_is_convicted_by_the_audit_model_alone() -> None:
    table = honest_table(5)
    table[4][AUDIT_LANE] = 9000
    assert tally(terms(), ballot_of(table, opened=5, roster=5)).deviant == bit(4)
    assert tally(terms(audit_lane=False), ballot_of(table, opened=5, roster=5)).deviant == 0


def test_equals_within_the_tie_band_take_turns() -> None:
    tops = {tally(terms(top_k=1), ballot_of(honest_table(5), opened=5, roster=5, round_number=r)).top
            for r in range(1, 6)}
    assert tops == {bit(i) for i in range(5)}


def test_a_better_model_beyond_the_tie_band_wins_every_round() -> None:
    table = honest_table(5)
    for i, row in enumerate(table):
        row[lane_of(3)] = 0 if i == 3 else 9600
    for number in range(1, 6):
        ballot = ballot_of(table, opened=5, roster=5, round_number=number)
        assert tally(terms(top_k=1, tie_band=500), ballot).top == bit(3)


def test_no_turn_passes_over_a_model_that_is_better_than_the_band() -> None:
    """Two places, 9500 against 9000 and 8600 in a band of 500: the best is in the top whoever's turn it is."""
    table = honest_table(5)
    for i, row in enumerate(table):
        for j, score in enumerate((8600, 9000, 8000, 9500, 8000)):
            row[lane_of(j)] = 0 if i == j else score
    tops = [tally(terms(top_k=2, tie_band=500), ballot_of(table, opened=5, roster=5, round_number=r)).top
            for r in range(1, 6)]
    assert set(tops) == {bit(3) | bit(0), bit(3) | bit(1)}


@given(st.binary(min_size=32, max_size=32))
def test_the_audit_models_step_is_0_to_400_thousandths_of_the_seed(seed: bytes) -> None:
    assert audit_beta(seed) == int(seed.hex(), 16) % 401
