"""Phases whose time is over, the end of attesting among them: named edges, and dice with a fixed seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from tests.vectors import naive_rules as naive
from tests.vectors.writing import COLLATERAL, FEW_SIZES, FRESH, SIZES, bitmap, columns, money_text, subset

SETS = ("dropped", "excused", "committed", "opened", "scored", "revealed")
WAITING = {"maxMiss": 3, "maxVoid": 5, "minActive": 2}


def deadlines() -> Iterator[dict[str, Any]]:
    all5, pair = set(range(5)), {0, 1}
    scenes: list[tuple[str, int, str, dict[str, Any]]] = [
        ("a quorum has committed", 5, "Train", {"committed": {0, 1, 2}}),
        ("too few have committed: a fresh window", 5, "Train", {"committed": pair}),
        ("the last miss of two drops them, and two make a quorum of three", 5, "Train",
         {"committed": pair, "missStreaks": [0, 0, 0, 2, 2]}),
        ("the last miss of all absent", 5, "Train", {"committed": pair, "missStreaks": [1, 1, 2, 2, 2]}),
        ("nobody came, for the last time", 5, "Train", {"missStreaks": [2] * 5}),
        ("one void too many", 5, "Train", {"committed": pair, "voids": 5}),
        ("the last void that is allowed", 5, "Train", {"committed": pair, "voids": 4}),
        ("an excused leaver falls out, and those left are a quorum", 4, "Train", {"committed": pair, "excused": {3}}),
        ("too few models to open: the round restarts", 5, "Open",
         {"committed": {0, 1, 2}, "opened": {0}, "missStreaks": [0, 2, 2, 0, 0]}),
        ("models can still be opened", 5, "Open", {"committed": all5, "opened": pair}),
        ("a quorum has opened", 5, "Open", {"committed": all5, "opened": {0, 1, 2}}),
        ("too few scores", 5, "Score", {"committed": all5, "opened": all5, "scored": {4}}),
        ("one of two", 2, "Score", {"committed": pair, "opened": pair, "scored": {1}}),
        ("one of two, below minActive", 2, "Score",
         {"committed": pair, "opened": pair, "scored": {1}, "missStreaks": [2, 0]}),
        ("a quorum has revealed: settle", 5, "Reveal",
         dict.fromkeys(("committed", "opened", "scored"), all5) | {"revealed": {0, 2, 4}}),
        ("scores of two can still be revealed, of three needed", 5, "Reveal",
         dict.fromkeys(("committed", "opened", "scored"), {0, 1, 2})
         | {"revealed": {1}, "missStreaks": [2, 0, 2, 0, 0]}),
    ]
    for name, n, phase, changes in scenes:
        yield passing(name, scene_of(n, phase, changes))
    dice = Random(5)
    for n in SIZES:
        for phase in naive.ROUND_PHASES:
            yield passing(f"dice, {n} workers, {phase}", random_deadline(dice, n, phase))


def scene_of(n: int, phase: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in changes.items() if key not in WAITING}
    empty: dict[str, set[int]] = {key: set() for key in SETS}
    return {"terms": {**WAITING, **{key: value for key, value in changes.items() if key in WAITING}}, "phase": phase,
            "attempt": 4, "active": set(range(n)), **empty, "voids": 0, "missStreaks": [0] * n, **rest}


def random_deadline(dice: Random, n: int, phase: str) -> dict[str, Any]:
    active, share = subset(dice, range(n), 2, .9), dice.choice((.3, .5, .7, .9))
    excused = subset(dice, active, 0, .15)
    committed = subset(dice, set(range(n)) - excused, 0, share if phase == "Train" else .85)
    opened = subset(dice, committed, 0, share if phase == "Open" else .85) if phase != "Train" else set()
    scored = subset(dice, range(n), 0, share if phase == "Score" else .85) if phase in {"Score", "Reveal"} else set()
    revealed = subset(dice, scored, 0, share) if phase == "Reveal" else set()
    return scene_of(n, phase, {
        "active": active, "dropped": set(range(n)) - active, "excused": excused, "committed": committed,
        "opened": opened, "scored": scored, "revealed": revealed, "voids": dice.randint(0, 3),
        "missStreaks": [dice.randint(0, 2) for _ in range(n)], "maxMiss": 3, "maxVoid": dice.choice((3, 5)),
        "minActive": dice.choice((2, max(2, n // 3)))})


def passing(name: str, scene: Mapping[str, Any]) -> dict[str, Any]:
    after = naive.deadline(scene)
    return {"name": name, "terms": scene["terms"], "phase": naive.ROUND_PHASES[scene["phase"]],
            "attempt": scene["attempt"], "voids": scene["voids"], "missStreaks": scene["missStreaks"],
            **{key: bitmap(scene[key]) for key in ("active", *SETS)},
            "later": {**after, **{key: bitmap(after[key]) for key in ("absent", "active", "dropped")}}}


def attestations() -> Iterator[dict[str, Any]]:
    scenes: list[tuple[str, int, dict[str, Any]]] = [
        ("all agree", 3, {"voters": {0, 1, 2}, "attested": {0, 1, 2}, "forfeitPool": 10}),
        ("one is absent", 3, {"voters": {0, 1}, "attested": {0, 1}}),
        ("one is absent and has nothing left", 3, {"voters": {0, 1}, "attested": {0, 1}, "poor": {2}}),
        ("one disagrees", 3, {"voters": {0, 1}, "attested": {0, 1, 2}, "forfeitPool": 3}),
        ("no final hash", 3, {"final": False, "attested": {0, 1}, "forfeitPool": 9}),
    ]
    for name, n, changes in scenes:
        yield attestation(name, n, changes)
    dice = Random(6)
    for n in FEW_SIZES:
        active = subset(dice, range(n), 2, .9)
        attested = subset(dice, active, len(active) // 2 + 1, .9)
        voters = subset(dice, attested, len(active) // 2 + 1, .9)
        yield attestation(f"dice, {n} workers", n, {
            "active": active, "attested": attested, "voters": voters, "poor": subset(dice, range(n), 0, .2),
            "forfeitPool": dice.choice((0, 1, 10**18 + 1)), "missBps": dice.choice((0, 333, 500)),
            "final": dice.random() < .9})


def attestation(name: str, n: int, changes: Mapping[str, Any]) -> dict[str, Any]:
    terms = {"collateral": COLLATERAL, "missBps": changes.get("missBps", 500)}
    seats = [{**FRESH, "bond": 10**7 if i in changes.get("poor", ()) else COLLATERAL, "credit": i} for i in range(n)]
    scene = {"terms": terms, "active": changes.get("active", set(range(n))), "attested": changes["attested"],
             "final": changes.get("final", True), "voters": changes.get("voters", set()), "seats": seats,
             "forfeitPool": changes.get("forfeitPool", 0)}
    after = naive.attest(scene)
    return {"name": name, "terms": money_text(terms), "isFinal": scene["final"],
            "forfeitPool": str(scene["forfeitPool"]),
            **{key: bitmap(scene[key]) for key in ("active", "attested", "voters")},
            "seats": columns(seats), "later": {"perVoter": str(after["perVoter"]), "burned": str(after["burned"]),
                                               "seats": columns(after["seats"])}}
