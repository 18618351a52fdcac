"""From revealed rows to the round's verdict: medians, acceptance, top K, deviants, invalid models (PROTOCOL 3, 4.1).

Owns the arithmetic of lanes and nothing about money. Differentially tested against the contract's packed version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct

from bfl_events.bitmap import bitmap_of, members_of, size
from bfl_events.schema import Bitmap, Params, RoundScored, Word
from bfl_events.state import TaskState

SCORE_MAX = 10_000
LANES_PER_WORD = 16
PREVIOUS_LANE = 0
AUDIT_LANE = 1
CONTROL_LANES = 2          # lane 0: the previous global model; lane 1: the audit model; then one per worker

_WORD_OF_LANES = Struct("<16H")
Row = Sequence[int]


@dataclass(frozen=True, slots=True)
class Ballot:
    """What a round is judged by. `rows` are the revealed ones, by the scorer's index; `lanes` includes the controls."""

    round: int
    lanes: int
    roster: Bitmap
    opened: Bitmap
    rows: Mapping[int, Row]


@dataclass(frozen=True, slots=True)
class ScoredRound:
    """The contract's `RoundScored`, and the two sets that only its storage knows: `eligible` and `low`."""

    medians: tuple[Word, ...]
    lows: tuple[Word, ...]
    theta: int
    accepted: Bitmap
    eligible: Bitmap
    top: Bitmap
    deviant: Bitmap
    invalid: Bitmap
    low: Bitmap


def words_for(lanes: int) -> int:
    """How many words a row of so many lanes takes."""
    return (lanes + LANES_PER_WORD - 1) // LANES_PER_WORD


def lane_of(index: int) -> int:
    """The lane that holds the score of the worker with this index."""
    return index + CONTROL_LANES


def pack_row(lanes: Sequence[int]) -> tuple[Word, ...]:
    """Sixteen lanes of 16 bits a word, lane 0 lowest. Raises ValueError for a score outside 0 … 10000."""
    for number, value in enumerate(lanes):
        if not 0 <= value <= SCORE_MAX:
            raise ValueError(f"lane {number} holds {value}: a score is 0 … {SCORE_MAX}")
    padded = (*lanes, *(0,) * (-len(lanes) % LANES_PER_WORD))
    chunks = (padded[k:k + LANES_PER_WORD] for k in range(0, len(padded), LANES_PER_WORD))
    return tuple(Word(int.from_bytes(_WORD_OF_LANES.pack(*chunk), "little")) for chunk in chunks)


def unpack_row(row: Row) -> tuple[int, ...]:
    """All lanes of a row, 16 per word."""
    lanes: list[int] = []
    for word in row:
        lanes += _WORD_OF_LANES.unpack(word.to_bytes(32, "little"))
    return tuple(lanes)


def lane(row: Row, number: int) -> int:
    """One lane of a row: bits 16 (l mod 16) … of word l / 16. Raises IndexError beyond the row."""
    return row[number // LANES_PER_WORD] >> 16 * (number % LANES_PER_WORD) & 0xFFFF


def row_faults(row: Row, index: int, lanes: int) -> tuple[str, ...]:
    """Why the contract would refuse a row with `BadScores`; empty if it would not."""
    if len(row) != words_for(lanes):
        return (f"the row has {len(row)} words, {lanes} lanes take {words_for(lanes)}",)
    values = unpack_row(row)
    return (
        *(f"lane {k} holds {v}, above {SCORE_MAX}" for k, v in enumerate(values) if v > SCORE_MAX),
        *(f"lane {k} is unused and must be 0" for k, v in enumerate(values) if v and k >= lanes),
        *(("the worker's own lane must be 0",) if values[lane_of(index)] else ()),
    )


def upper_median(values: Iterable[int]) -> int:
    """Element ⌊m/2⌋ of the ascending order; 0 of nothing (PROTOCOL 3.2)."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2] if ordered else 0


def lower_median(values: Iterable[int]) -> int:
    """Element ⌊(m−1)/2⌋ of the ascending order; 0 of nothing (PROTOCOL 3.2)."""
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2] if ordered else 0


def counted_lanes(opened: int, audit_lane: bool) -> tuple[int, ...]:
    """The lanes that carry a verdict: the control lanes in use and the opened models'."""
    control = (PREVIOUS_LANE, AUDIT_LANE) if audit_lane else (PREVIOUS_LANE,)
    return (*control, *(lane_of(j) for j in members_of(opened)))


def top_count(eligible: int, revealers: int, top_k: int) -> int:
    """K of PROTOCOL 4.1 for so many eligible workers and revealed rows."""
    if revealers < 3:
        return eligible
    return min(top_k, (eligible - 1) // 2) if eligible >= 3 else min(eligible, 1)


def audit_beta(seed: bytes) -> int:
    """The audit model's step from G₀ towards the previous model, in thousandths: 0 … 400 (PROTOCOL 3.1)."""
    return int.from_bytes(seed, "big") % 401


def ballot_of(state: TaskState) -> Ballot:
    """What the running attempt is judged by, as far as its rows are revealed."""
    rows = {index: revealed.row for index, revealed in sorted(state.current.revealed.items())}
    return Ballot(state.round, state.lanes, state.roster, state.opened, rows)


def score_round(state: TaskState) -> ScoredRound:
    """The verdict of a settlement's first step, from the state before it. Raises LookupError before the start."""
    return tally(state.params, ballot_of(state))


def tally(params: Params, ballot: Ballot) -> ScoredRound:
    """Judges a round exactly as the contract's settlement does.

    Lanes that carry no verdict read 0 in both medians. With no model above 0, theta is 1 and nothing is accepted.
    """
    values = {i: unpack_row(row) for i, row in ballot.rows.items()}
    counted = counted_lanes(ballot.opened, params.audit_lane)
    upper, lower = _medians(values, counted, ballot.lanes)
    valid = tuple(j for j in members_of(ballot.opened) if upper[lane_of(j)])
    theta, low_bound = _thresholds(params, ballot.roster, valid, upper, lower)
    accepted = bitmap_of(j for j in valid if upper[lane_of(j)] >= theta)
    deviant = _deviants(params.dev_tol, values, counted, upper, lower)
    eligible = eligible_workers(accepted, ballot.opened, bitmap_of(values), deviant)
    return ScoredRound(
        medians=pack_row(upper),
        lows=pack_row(lower),
        theta=theta,
        accepted=accepted,
        eligible=eligible,
        top=_top(params, ballot, eligible, upper),
        deviant=deviant,
        invalid=_invalid(ballot, values, valid, upper),
        low=bitmap_of(j for j in valid if upper[lane_of(j)] < low_bound),
    )


def low_workers(params: Params, scored: RoundScored) -> Bitmap:
    """`ScoredRound.low` from the logged medians: valid, and below the share of the lower medians' median."""
    upper, lower = unpack_row(scored.medians), unpack_row(scored.lows)
    valid = tuple(k for k in range(CONTROL_LANES, len(upper)) if upper[k])
    bound = lower_median(lower[k] for k in valid) * params.accept_bps // 10_000
    return bitmap_of(k - CONTROL_LANES for k in valid if upper[k] < bound)


def eligible_workers(accepted: int, opened: int, revealed: int, deviant: int) -> Bitmap:
    """Who is paid: accepted, revealed, not deviant. With two scorers it is all or nothing, so that a lie cannot pay."""
    if size(revealed) < 3 and opened & revealed & ~accepted:
        return Bitmap(0)
    return Bitmap(accepted & revealed & ~deviant)


def _medians(values: Mapping[int, Row], counted: Sequence[int], lanes: int) -> tuple[list[int], list[int]]:
    width = words_for(lanes) * LANES_PER_WORD
    upper, lower = [0] * width, [0] * width
    for k in counted:
        column = sorted(row[k] for i, row in values.items() if lane_of(i) != k)
        if column:
            upper[k], lower[k] = column[len(column) // 2], column[(len(column) - 1) // 2]
    return upper, lower


def _thresholds(params: Params, roster: int, valid: Sequence[int], upper: Row, lower: Row) -> tuple[int, int]:
    """(theta, the bound of fault 5): the first term of theta cannot be lifted by liars, the second not pushed down."""
    liftable_by_none = lower_median(lower[lane_of(j)] for j in valid) * params.accept_bps // 10_000
    over_roster = lower_median(upper[lane_of(j)] for j in members_of(roster)) * params.accept_bps // 10_000
    return max(1, liftable_by_none, over_roster), liftable_by_none


def _invalid(ballot: Ballot, values: Mapping[int, Row], valid: Sequence[int], upper: Row) -> Bitmap:
    """Fault 1: a majority of the roster says 0; but never more such models than valid ones."""
    majority = size(ballot.roster) // 2 + 1
    suspects = (j for j in members_of(ballot.opened) if not upper[lane_of(j)])
    found = [j for j in suspects
             if sum(1 for i, row in values.items() if i != j and not row[lane_of(j)]) >= majority]
    return bitmap_of(found) if len(found) <= len(valid) else Bitmap(0)


def _deviants(tolerance: int, values: Mapping[int, Row], counted: Sequence[int], upper: Row, lower: Row) -> Bitmap:
    """PROTOCOL 3.3: a sure outlier on a control lane, or one anywhere and more than half of the lanes off."""
    found = []
    for i, row in values.items():
        sure = control = off = seen = 0
        for k in counted:
            if k == lane_of(i):
                continue
            seen += 1
            above = row[k] > upper[k] + tolerance
            if above or row[k] < upper[k] - tolerance:
                off += 1
            if above or row[k] < lower[k] - tolerance:
                sure += 1
                control += k < CONTROL_LANES
        if control or (sure and 2 * off > seen):
            found.append(i)
    return bitmap_of(found)


def _top(params: Params, ballot: Ballot, eligible: Bitmap, upper: Row) -> Bitmap:
    """The top K; scores within the tie band of the K-th count as equal and take turns by round.

    Whoever beats the worst of them by more than the band comes first, so that no turn passes over a better model.
    """
    count = top_count(size(eligible), len(ballot.rows), params.top_k)
    if len(ballot.rows) < 3 or count == 0:
        return eligible
    scores = {i: upper[lane_of(i)] for i in members_of(eligible)}
    bound = sorted(scores.values(), reverse=True)[count - 1] - params.tie_band
    equals = {i: score for i, score in scores.items() if score >= bound}
    worst, workers = min(equals.values()), ballot.lanes - CONTROL_LANES
    in_turn = sorted(equals, key=lambda i: (equals[i] <= worst + params.tie_band, (i - ballot.round * count) % workers))
    return bitmap_of(in_turn[:count])
