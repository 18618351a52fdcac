"""Hypothesis strategies for what a round is judged by, and a naive judge to compare with."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from bfl_events.rules import CONTROL_LANES, SCORE_MAX, Ballot, bitmap_of, members_of, pack_row
from bfl_events.schema import Params
from tests.simulation.play import default_params

scores = st.one_of(st.integers(0, SCORE_MAX), st.sampled_from((0, 1, SCORE_MAX)))


def terms(**changes: object) -> Params:
    return default_params(1_700_000_000, **changes)


@st.composite
def ballots(draw: st.DrawFn, max_workers: int = 20) -> tuple[Params, Ballot]:
    """Any ballot that the contract could hold: at least two rows, everything within the roster."""
    count = draw(st.integers(2, max_workers))
    roster = draw(st.sets(st.integers(0, count - 1), min_size=2))
    opened = draw(st.sets(st.sampled_from(sorted(roster))))
    revealers = draw(st.sets(st.sampled_from(sorted(roster)), min_size=2))
    lanes = count + CONTROL_LANES
    rows = {}
    for i in sorted(revealers):
        values = draw(st.lists(scores, min_size=lanes, max_size=lanes))
        values[CONTROL_LANES + i] = 0
        rows[i] = pack_row(values)
    params = terms(
        audit_lane=draw(st.booleans()), top_k=draw(st.integers(1, 6)), tie_band=draw(st.sampled_from((0, 300, 5000))),
        dev_tol=draw(st.integers(1, 3000)), accept_bps=draw(st.integers(0, 10_000)),
    )
    return params, Ballot(draw(st.integers(1, 9)), lanes, bitmap_of(roster), bitmap_of(opened), rows)


@dataclass(frozen=True)
class Crowd:
    """A round with `liars` among the revealers, every honest reading of a lane within `spread` of the others'."""

    params: Params
    ballot: Ballot
    liars: int
    honest_readings: dict[int, list[int]]


@st.composite
def crowds(draw: st.DrawFn, max_honest: int = 6) -> Crowd:
    """Fewer than half of the revealers lie, in any way, together or not; whoever likes has opened its model."""
    liars = draw(st.integers(0, 3))
    honest = draw(st.integers(liars + 1, liars + max_honest))
    count = honest + liars
    spread, audit = draw(st.sampled_from((0, 100, 1500))), draw(st.booleans())
    opened = {j for j in range(count) if j < honest or draw(st.booleans())}
    lanes, readings = count + CONTROL_LANES, {}
    table = [[0] * lanes for _ in range(count)]
    for k in [0, *([1] if audit else []), *(CONTROL_LANES + j for j in opened)]:
        true = draw(st.integers(1, SCORE_MAX - spread))
        readings[k] = [true + draw(st.integers(0, spread)) for i in range(honest) if i + CONTROL_LANES != k]
        aims = st.sampled_from(sorted({0, 1, true, max(0, true - spread - 1501), min(SCORE_MAX, true + spread + 1501),
                                       SCORE_MAX}))
        mine = iter(readings[k])
        for i in range(count):
            if i + CONTROL_LANES != k:
                table[i][k] = next(mine) if i < honest else draw(aims)
    rows = {i: pack_row(row) for i, row in enumerate(table)}
    params = terms(audit_lane=audit, dev_tol=max(1, spread), top_k=draw(st.integers(1, 4)))
    ballot = Ballot(draw(st.integers(1, 5)), lanes, bitmap_of(range(count)), bitmap_of(opened), rows)
    return Crowd(params, ballot, bitmap_of(range(honest, count)), readings)


def opened_lanes(ballot: Ballot) -> list[int]:
    return [CONTROL_LANES + j for j in members_of(ballot.opened)]
