"""Judged rounds to fine and pay: every fault alone and together, and dice with a fixed seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

from tests.vectors import naive_rules as naive
from tests.vectors.writing import COLLATERAL, FEW_SIZES, FRESH, bitmap, columns, money_text, pools, subset

MONEY = {"rounds": 5, "topShareBps": 7000, "slashBps": 5000, "feeBps": 1000, "missBps": 500, "burnBps": 0,
         "maxMiss": 3, "maxLow": 3, "collateral": COLLATERAL}
SETS = ("roster", "active", "dropped", "excused", "committed", "opened", "scored", "revealed", "accepted", "top",
        "deviant", "invalid", "low", "eligible")


def settlements() -> Iterator[dict[str, Any]]:
    everybody = set(range(5))
    scenes: list[tuple[str, dict[str, Any]]] = [
        ("all is well", {}),
        ("invalid", {"invalid": {4}, "accepted": everybody - {4}}),
        ("invalid for the second time", {"invalid": {4}, "accepted": everybody - {4}, "seat": {4: {"strikes": 1}}}),
        ("invalid and already dropped", {"invalid": {4}, "accepted": {0, 1, 2, 3},
                                          "active": {0, 1, 2, 3}, "dropped": {4}}),
        ("not revealed", {"revealed": everybody - {4}}),
        ("not revealed, and no bond left beyond a slash", {"revealed": everybody - {4}, "seat": {4: {"bond": 10**9}}}),
        ("not opened once", {"opened": everybody - {4}, "accepted": everybody - {4}}),
        ("not opened twice", {"opened": everybody - {4}, "accepted": everybody - {4}, "seat": {4: {"unopened": 1}}}),
        ("not opened, and a strike before", {"opened": everybody - {4}, "accepted": everybody - {4},
                                             "seat": {4: {"unopened": 2, "strikes": 1}}}),
        ("no scores", {"scored": everybody - {4}, "revealed": everybody - {4}}),
        ("no model", {"committed": everybody - {4}, "opened": everybody - {4}, "accepted": everybody - {4}}),
        ("absent", {"absent": {4}}),
        ("absent for the last time", {"absent": {4}, "seat": {4: {"missStreak": 2}}}),
        ("excused", {"absent": {4}, "excused": {4}}),
        ("deviant", {"deviant": {4}}),
        ("deviant, with too few rows to fine it", {"deviant": {3}, "revealed": {0, 1, 2, 3}, "scored": {0, 1, 2, 3}}),
        ("low", {"low": {4}, "accepted": everybody - {4}}),
        ("low for the third time", {"low": {4}, "accepted": everybody - {4}, "seat": {4: {"lowStreak": 2}}}),
        ("low for the third time, and a strike before", {"low": {4}, "accepted": everybody - {4},
                                                         "seat": {4: {"lowStreak": 2, "strikes": 1}}}),
        ("low where that is no fault", {"low": {4}, "accepted": everybody - {4}, "maxLow": 0}),
        ("low, with too few rows", {"low": {4}, "accepted": {0, 1, 2, 3}, "scored": {0, 1, 2, 4},
                                    "revealed": {0, 1, 2, 4}}),
        ("streaks end", {"seat": {i: {"missStreak": i, "lowStreak": 4 - i} for i in range(5)}}),
        ("a low streak goes on without acceptance",
         {"accepted": everybody - {4}, "seat": {4: {"lowStreak": 1, "missStreak": 1}}}),
        ("two faults: the first of the order", {"invalid": {4}, "revealed": everybody - {4}, "deviant": {4},
                                                "accepted": everybody - {4}}),
        ("nobody eligible: all rolls on", {"accepted": set(), "invalid": {4}, "forfeitPool": 7}),
        ("half of the forfeits burned", {"invalid": {3, 4}, "accepted": {0, 1, 2}, "burnBps": 5000, "forfeitPool": 11,
                                         "burnPool": 13}),
        ("all forfeits burned", {"deviant": {4}, "burnBps": 10_000}),
        ("no collateral", {"invalid": {4}, "accepted": everybody - {4}, "revealed": {0, 1, 2, 4}, "collateral": 0,
                           "seat": {i: {"bond": 0} for i in range(5)}}),
        ("the top takes all", {"topShareBps": 10_000}),
        ("a wei of reward", {"rewardLeft": 1, "round": 5}),
        ("the last round", {"rewardLeft": 10**18 + 1, "round": 5}),
    ]
    for name, changes in scenes:
        yield settlement(name, books(5, changes))
    dice = Random(4)
    for n in FEW_SIZES:
        for draw in range(2 if n < 20 else 1):
            yield settlement(f"dice, {n} workers, {draw}", random_books(dice, n))


def books(n: int, changes: Mapping[str, Any]) -> dict[str, Any]:
    """A judged round in which everybody did everything, unless `changes` say otherwise."""
    everybody = set(range(n))
    present = everybody - changes.get("absent", set())
    rest = {key: value for key, value in changes.items() if key not in {"absent", "seat", *MONEY}}
    made: dict[str, Any] = {
        "terms": {**MONEY, **{key: value for key, value in changes.items() if key in MONEY}}, "round": 2,
        "rewardLeft": 24 * 10**9 + 5, "forfeitPool": 0, "burnPool": 0, "roster": everybody, "active": everybody,
        "dropped": set(), "excused": set(), "deviant": set(), "invalid": set(), "low": set(),
        **dict.fromkeys(("committed", "opened", "scored", "revealed", "accepted"), present), **rest,
        "seats": [{**FRESH, **changes.get("seat", {}).get(i, {})} for i in range(n)],
    }
    made["eligible"] = naive.payable(made["accepted"], made["opened"], made["revealed"], made["deviant"])
    k = naive.top_size(len(made["eligible"]), len(made["revealed"]), 2)
    made["top"] = set(sorted(made["eligible"])[:k])
    return made


def random_books(dice: Random, n: int) -> dict[str, Any]:
    chosen: Callable[..., set[int]] = lambda of, share, least=0: subset(dice, of, least, share)   # noqa: E731
    roster = chosen(range(n), .95, 2)
    active = chosen(roster, .9, 2)
    committed, scored = chosen(roster, .9, 2), chosen(roster, .9, 2)
    opened, revealed = chosen(committed, .9, 2), chosen(scored, .9, 2)
    accepted = chosen(opened, .8)
    rejected = opened - accepted
    low = chosen(rejected, .5)
    slash = dice.randint(0, 10_000)
    fee = dice.randint(0, slash)
    collateral = dice.choice((0, 10_001, 2 * 10**9, 10**9 + 9))
    seats = [{"bond": dice.choice((collateral, collateral * 3 // 4, collateral // 2, 0)),
              "credit": dice.choice((0, 5, 10**9)),
              "strikes": dice.choice((0, 0, 0, 1)), "missStreak": dice.randint(0, 2), "lowStreak": dice.randint(0, 1),
              "unopened": dice.choice((0, 0, 1, 2))} for _ in range(n)]
    changes: dict[str, Any] = {
        "roster": roster, "active": active, "dropped": roster - active, "committed": committed, "opened": opened,
        "excused": chosen(active - committed - scored, .3), "scored": scored, "revealed": revealed,
        "accepted": accepted, "low": low, "invalid": chosen(rejected - low, .7), "deviant": chosen(revealed, .15),
        "rewardLeft": dice.choice((0, 1, 10**18 + 3, 7 * 10**21)), "forfeitPool": dice.choice((0, 17)),
        "burnPool": dice.choice((0, 3)), "round": dice.randint(1, 5), "slashBps": slash, "feeBps": fee,
        "missBps": dice.randint(0, fee), "burnBps": dice.choice((0, 3333, 10_000)), "maxMiss": dice.randint(1, 3),
        "maxLow": dice.randint(0, 2), "collateral": collateral, "topShareBps": dice.choice((5000, 7000, 10_000)),
        "seat": dict(enumerate(seats)),
    }
    return books(n, changes)


def settlement(name: str, before: Mapping[str, Any]) -> dict[str, Any]:
    after = naive.settle(before)
    return {
        "name": name, "terms": money_text(before["terms"]), "round": before["round"],
        **{key: bitmap(before[key]) for key in SETS}, **pools(before), "seats": columns(before["seats"]),
        "later": {"active": bitmap(after["active"]), **pools(after), "perTop": str(after["per"][0]),
                  "perRest": str(after["per"][1]), "perForfeit": str(after["per"][2]),
                  "penalties": [money_text(one) for one in after["penalties"]], "seats": columns(after["seats"])},
    }
