"""Rounds to judge: named edges, and dice with a fixed seed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from random import Random
from typing import Any

from tests.vectors import naive_rules as naive
from tests.vectors.writing import SIZES, bitmap, subset, words

JUDGE = {"auditLane": True, "topK": 2, "tieBand": 500, "acceptBps": 8000, "devTol": 1500}


def judgements() -> Iterator[dict[str, Any]]:
    for name, heard in named_rounds():
        yield judgement(name, heard)
    dice = Random(3)
    for n in SIZES:
        for draw in range(3 if n < 20 else 1):
            yield judgement(f"dice, {n} workers, {draw}", random_round(dice, n))


def named_rounds() -> Iterator[tuple[str, naive.Heard]]:
    yield "two revealers, both fine", honest_round(2, {})
    yield "two revealers, one calls the other bad", honest_round(2, {}, {0: {3: 1}})
    yield "two revealers of three, the third only opened", honest_round(3, {}, scorers={0, 1})
    yield "two revealers of three, who read the third differently", honest_round(3, {}, {0: {4: 1}}, scorers={0, 1})
    yield "nobody is eligible: all zeros", honest_round(5, dict.fromkeys(range(5), 0))
    yield "everybody deviates on a control lane", honest_round(3, {}, {0: {0: 0}, 1: {0: 5000}, 2: {0: 10_000}})
    yield "no model opened", honest_round(4, {}, opened=set())
    for number in range(1, 6):
        yield f"ties at the K-th place, round {number}", honest_round(7, {}, round=number)
    band = dict(enumerate((9000, 8500, 8499, 8999, 8501)))
    yield "exactly within the tie band", honest_round(5, band, round=2)
    yield "a wider tie band than scores", honest_round(5, {4: 400, 3: 300}, round=2, tieBand=5000, acceptBps=0)
    far = dict(enumerate((8600, 9000, 8000, 9500, 8000)))
    yield "a turn that would pass over the best", honest_round(5, far, round=5, tieBand=500, topK=2)
    yield "no tie band", honest_round(5, band, round=2, tieBand=0)
    yield "theta by a hair", honest_round(5, {0: 7200, 1: 7199})
    yield "one invalid model", honest_round(5, {4: 0})
    yield "as many invalid as valid models", honest_round(6, {3: 0, 4: 0, 5: 0})
    yield "more invalid than valid models: the task is at fault", honest_round(5, {2: 0, 3: 0, 4: 0})
    yield "zeros from all who revealed, but from no majority of the roster", \
        honest_round(7, {6: 0}, scorers={0, 1, 2, 6})
    yield "f liars zero the honest", honest_round(5, {}, {i: dict.fromkeys((2, 3, 4), 0) for i in (3, 4)})
    yield "f liars lift each other", honest_round(5, {3: 2000, 4: 2000}, {3: {6: 10_000}, 4: {5: 10_000}})
    yield "an outlier exactly at the tolerance", honest_round(5, {}, {0: {0: 7500}, 1: {0: 10_000}})
    yield "an outlier one beyond it", honest_round(5, {}, {0: {0: 7499}})
    yield "half of the lanes wide", honest_round(4, {}, {0: {3: 1, 4: 1}}, auditLane=False)
    yield "more than half of the lanes wide", honest_round(4, {}, {0: {3: 1, 4: 1, 5: 1}}, auditLane=False)
    yield "no audit lane, and noise where it would be", \
        honest_round(5, {}, {i: {1: 2500 * i} for i in range(4)}, auditLane=False)
    yield "noise on lanes of models not opened", \
        honest_round(5, {}, {i: {6: 2500 * i} for i in range(4)}, opened={0, 1, 2, 3})
    yield "a quality no greater than one", honest_round(5, dict.fromkeys(range(5), 1))
    yield "everything perfect", honest_round(5, dict.fromkeys(range(5), 10_000))
    for n in (14, 15, 30, 31):
        yield f"the best model at a word's border, {n} workers", \
            honest_round(n, {n - 1: 9900, 13: 9950}, topK=1, tieBand=0)


def honest_round(seats: int, quality: Mapping[int, int], lies: Mapping[int, Mapping[int, int]] | None = None, *,
                 scorers: Iterable[int] | None = None, opened: set[int] | None = None, round: int = 1, **terms: Any
                 ) -> naive.Heard:
    """Everybody reads 9000, or `quality` of a model; `lies` by scorer and lane."""
    everybody = frozenset(range(seats))
    read = everybody if opened is None else frozenset(opened)
    filled = {**JUDGE, **terms}
    rows = {}
    for i in sorted(everybody if scorers is None else scorers):
        row = [9000, 4000 if filled["auditLane"] else 0,
               *(quality.get(j, 9000) if j in read else 0 for j in range(seats))]
        row[2 + i] = 0
        for lane, value in (lies or {}).get(i, {}).items():
            row[lane] = value
        rows[i] = row
    return naive.Heard(filled, round, seats, everybody, read, rows)


def random_round(dice: Random, seats: int) -> naive.Heard:
    terms = {"auditLane": dice.random() < .5, "topK": dice.randint(1, seats),
             "tieBand": dice.choice((0, 300, 1000, 5000)),
             "acceptBps": dice.choice((0, 5000, 8000, 9500, 10_000)), "devTol": dice.choice((1, 500, 1500, 3000))}
    roster = subset(dice, range(seats), 2, .9)
    opened = subset(dice, roster, 0, .85)
    scorers = subset(dice, roster, 2, .85 if seats < 40 or seats == 126 else .3)
    level = dice.choice(((0, 10_000), (8000, 9500), (9000, 9000), (0, 3)))
    quality = [dice.randint(*level) if dice.random() < .85 else 0 for _ in range(seats + 2)]
    rows = {}
    for i in sorted(scorers):
        spread = dice.choice((0, 0, 200, 1500, 10_000))
        row = [min(10_000, max(0, q + dice.randint(-spread, spread))) if q or spread > 1500 else 0 for q in quality]
        if dice.random() < .15:
            row = [dice.choice((0, 1, 10_000)) for _ in row]
        row[2 + i] = 0
        rows[i] = row
    return naive.Heard(terms, dice.randint(1, 9), seats, frozenset(roster), frozenset(opened), rows)


def judgement(name: str, heard: naive.Heard) -> dict[str, Any]:
    found = naive.judge(heard)
    sets = {key: bitmap(found[key]) for key in ("accepted", "eligible", "top", "deviant", "invalid", "low")}
    return {"name": name, "terms": dict(heard.terms), "round": heard.round, "seats": heard.seats,
            "roster": bitmap(heard.roster), "opened": bitmap(heard.opened), "scorers": list(heard.rows),
            "rows": [words(row) for row in heard.rows.values()], "medians": words(found["upper"]),
            "lows": words(found["lower"]), "theta": found["theta"], **sets}
