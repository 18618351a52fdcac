"""The rules of a round read off PROTOCOL 2.1, 3 and 4 in plain lists and sets, for the shared test vectors.

Shares no code with bfl_events, so that both it and the contract are held against something else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set as AbstractSet
from dataclasses import dataclass
from typing import Any

Terms = Mapping[str, Any]
Lanes = Sequence[int]
Seat = dict[str, int]
ROUND_PHASES = {"Train": 2, "Open": 3, "Score": 4, "Reveal": 5}
EXPIRED = 10


def median(values: Sequence[int], *, upper: bool) -> int:
    """Element ⌊m/2⌋ or ⌊(m−1)/2⌋ of the ascending order; 0 of nothing."""
    m = len(values)
    return sorted(values)[m // 2 if upper else (m - 1) // 2] if m else 0


def quorum(active: int) -> int:
    return max(2, active // 2 + 1)


def fine_quorum(roster: int) -> int:
    f = (roster - 1) // 2 if roster <= 15 else (roster - 1) // 3
    return 2 * f + 1


@dataclass(frozen=True)
class Heard:
    """A round's readings: `rows` by scorer, one number a lane."""

    terms: Terms
    round: int
    seats: int
    roster: frozenset[int]
    opened: frozenset[int]
    rows: Mapping[int, Lanes]

    @property
    def counted(self) -> list[int]:
        return [0, *([1] if self.terms["auditLane"] else []), *(2 + j for j in sorted(self.opened))]


def judge(heard: Heard) -> dict[str, Any]:
    """Medians by lane, theta, and the sets of PROTOCOL 3.3, 4.1 and faults 1 and 5."""
    upper, lower = [0] * (heard.seats + 2), [0] * (heard.seats + 2)
    for lane in heard.counted:
        column = [row[lane] for i, row in heard.rows.items() if i + 2 != lane]
        upper[lane], lower[lane] = median(column, upper=True), median(column, upper=False)
    bps = heard.terms["acceptBps"]
    valid = {j for j in heard.opened if upper[2 + j] > 0}
    first = median([lower[2 + j] for j in valid], upper=False) * bps // 10_000
    second = median([upper[2 + j] if j in heard.opened else 0 for j in heard.roster], upper=False) * bps // 10_000
    theta = max(1, first, second)
    accepted = {j for j in valid if upper[2 + j] >= theta}
    deviant = {i for i in heard.rows if deviates(heard, i, upper, lower)}
    eligible = payable(accepted, heard.opened, set(heard.rows), deviant)
    return {
        "upper": upper, "lower": lower, "theta": theta, "accepted": accepted, "eligible": eligible,
        "top": top(heard, eligible, upper), "deviant": deviant, "invalid": invalid(heard, valid, upper),
        "low": {j for j in valid if upper[2 + j] < first},
    }


def payable(accepted: set[int], opened: AbstractSet[int], revealed: set[int], deviant: set[int]) -> set[int]:
    """Who is eligible. Of two scorers either may have lied: a model of theirs not accepted, and nobody is."""
    if len(revealed) < 3 and revealed & opened - accepted:
        return set()
    return (accepted & revealed) - deviant


def deviates(heard: Heard, i: int, upper: Lanes, lower: Lanes) -> bool:
    """PROTOCOL 3.3."""
    tolerance = heard.terms["devTol"]
    mine = [lane for lane in heard.counted if lane != i + 2]
    reading = heard.rows[i]
    sure = [k for k in mine if reading[k] > upper[k] + tolerance or reading[k] < lower[k] - tolerance]
    wide = [k for k in mine if abs(reading[k] - upper[k]) > tolerance]
    return any(k in {0, 1} for k in sure) or (bool(sure) and len(wide) > len(mine) / 2)


def invalid(heard: Heard, valid: set[int], upper: Lanes) -> set[int]:
    """Fault 1: zeros in a majority of the roster's rows, and not more such models than valid ones."""
    needed = len(heard.roster) // 2 + 1
    found = {j for j in heard.opened if upper[2 + j] == 0
             and len([i for i, row in heard.rows.items() if i != j and row[2 + j] == 0]) >= needed}
    return found if len(found) <= len(valid) else set()


def top_size(eligible: int, revealers: int, top_k: int) -> int:
    if revealers < 3:
        return eligible
    return min(top_k, (eligible - 1) // 2) if eligible >= 3 else min(eligible, 1)


def top(heard: Heard, eligible: set[int], upper: Lanes) -> set[int]:
    """K of the eligible within the tie band of the K-th, drawn in turn (PROTOCOL 4.1), but after those who beat the
    worst of these by more than the band."""
    k = top_size(len(eligible), len(heard.rows), heard.terms["topK"])
    if len(heard.rows) < 3 or k == 0:
        return set(eligible)
    kth = sorted((upper[2 + i] for i in eligible), reverse=True)[k - 1]
    near = [i for i in eligible if upper[2 + i] >= kth - heard.terms["tieBand"]]
    better = {i for i in near if upper[2 + i] > min(upper[2 + j] for j in near) + heard.terms["tieBand"]}
    drawn = sorted(set(near) - better, key=lambda i: (i - heard.round * k) % heard.seats)
    return better | set(drawn[:k - len(better)])


def shares(reward: int, pool: int, eligible: int, k: int, top_share_bps: int) -> tuple[int, int, int]:
    """(perTop, perRest, perForfeit)."""
    rest = eligible - k
    rest_pool = reward * (10_000 - top_share_bps) // 10_000 if rest else 0
    return (reward - rest_pool) // k, rest_pool // rest if rest else 0, pool // eligible


def fault(books: Mapping[str, Any], i: int) -> int:
    """The first of 1, 2, 7, 3, 4, 5 that a worker committed; 0 for none. Dropped workers answer for 1 only."""
    if i in books["invalid"] and i in books["active"] | books["dropped"]:
        return 1
    if i not in books["active"]:
        return 0
    if i in books["scored"] and i not in books["revealed"]:
        return 2
    if i in books["committed"] and i not in books["opened"]:
        return 7
    if i not in books["excused"] and (i not in books["committed"] or i not in books["scored"]):
        return 3
    if len(books["revealed"]) < fine_quorum(len(books["roster"])):
        return 0
    if i in books["deviant"]:
        return 4
    return 5 if i in books["low"] and books["terms"]["maxLow"] else 0


def fine(terms: Terms, seat: Seat, reason: int) -> tuple[int, bool]:
    """(wei, whether it is out); changes the seat."""
    bps, strike, out = {2: terms["feeBps"], 4: terms["feeBps"], 3: terms["missBps"]}.get(reason, 0), False, False
    if reason == 1:
        bps, strike = terms["slashBps"], True
    elif reason == 3:
        seat["missStreak"] += 1
        out = seat["missStreak"] >= terms["maxMiss"]
    elif reason == 5:
        seat["lowStreak"] += 1
        if seat["lowStreak"] >= terms["maxLow"]:
            bps, strike, seat["lowStreak"] = terms["slashBps"] // 2, True, 0
    elif reason == 7:
        seat["unopened"] += 1
        bps, strike = (terms["feeBps"], False) if seat["unopened"] == 1 else (terms["slashBps"] // 2, True)
    seat["strikes"] += strike
    second = strike and seat["strikes"] > 1
    amount = seat["bond"] if reason == 1 and second else min(seat["bond"], terms["collateral"] * bps // 10_000)
    seat["bond"] -= amount
    poor = terms["collateral"] > 0 and seat["bond"] < terms["collateral"] * terms["slashBps"] // 10_000
    return amount, out or second or poor


def settle(books: Mapping[str, Any]) -> dict[str, Any]:
    """The second step of a settlement: fines, streaks, rewards (PROTOCOL 4.1, 4.2)."""
    terms, seats, active = books["terms"], [dict(seat) for seat in books["seats"]], set(books["active"])
    penalties, forfeits = [], 0
    for i, seat in enumerate(seats):
        if reason := fault(books, i):
            amount, out = fine(terms, seat, reason)
            forfeits += amount
            penalties.append({"seat": i, "reason": reason, "amount": amount, "bondLeft": seat["bond"],
                              "strikes": seat["strikes"]})
            if out and i in books["active"]:
                active.discard(i)
                seat["credit"], seat["bond"] = seat["credit"] + seat["bond"], 0
    for i in active & books["opened"] & books["revealed"]:
        seats[i]["missStreak"] = 0
        if i in books["accepted"] - books["deviant"]:
            seats[i]["lowStreak"] = 0
    burned = forfeits * terms["burnBps"] // 10_000
    pool, left = books["forfeitPool"] + forfeits - burned, books["rewardLeft"]
    n, k, per = len(books["eligible"]), len(books["top"]), (0, 0, 0)
    if n:
        per = shares(left // (terms["rounds"] - books["round"] + 1), pool, n, k, terms["topShareBps"])
        left, pool = left - per[0] * k - per[1] * (n - k), pool - per[2] * n
        for i in books["eligible"]:
            seats[i]["credit"] += (per[0] if i in books["top"] else per[1]) + per[2]
    return {"penalties": penalties, "active": active, "per": per, "rewardLeft": left, "forfeitPool": pool,
            "burnPool": books["burnPool"] + burned, "seats": seats}


def deadline(scene: Mapping[str, Any]) -> dict[str, Any]:
    """What is after a phase whose deadline has passed (PROTOCOL 2.1.4)."""
    phase, terms = scene["phase"], scene["terms"]
    active, streaks = set(scene["active"]), list(scene["missStreaks"])
    can_act = {"Train": active - scene["excused"], "Open": active & scene["committed"],
               "Score": active - scene["excused"], "Reveal": active & scene["scored"]}[phase]
    did = {"Train": "committed", "Open": "opened", "Score": "scored", "Reveal": "revealed"}[phase]
    acted = active & scene[did]
    absent, voids, out = can_act - acted, scene["voids"], set()
    if len(acted) < quorum(len(active)):
        voids += 1
        for i in absent:
            streaks[i] += 1
        for i in acted:
            streaks[i] = 0
        out = {i for i in absent if streaks[i] >= terms["maxMiss"]} | scene["excused"] & active
        active -= out
    now, attempt = ROUND_PHASES[phase], scene["attempt"]
    if voids > scene["voids"] and (voids > terms["maxVoid"] or len(active) < terms["minActive"]):
        now = EXPIRED
    elif len(acted & active) >= quorum(len(active)):
        now += 1
    elif len(can_act & active) < quorum(len(active)):
        now, attempt = ROUND_PHASES["Train"], attempt + 1
    return {"absent": absent, "active": active, "dropped": scene["dropped"] | out, "voids": voids, "phase": now,
            "attempt": attempt, "missStreaks": streaks}


def attest(scene: Mapping[str, Any]) -> dict[str, Any]:
    """How attesting ends (PROTOCOL 2.5, fault 6). `voters`: who attested the final hash, if there is one."""
    terms, seats = scene["terms"], [dict(seat) for seat in scene["seats"]]
    pool, per_voter = scene["forfeitPool"], 0
    if scene["final"]:
        for i in scene["active"] - scene["attested"]:
            amount = min(seats[i]["bond"], terms["collateral"] * terms["missBps"] // 10_000)
            seats[i]["bond"] -= amount
            pool += amount
        voters = scene["voters"] & scene["active"]
        per_voter = pool // len(voters)
        for i in voters:
            seats[i]["credit"] += per_voter
        pool -= per_voter * len(voters)
    return {"seats": seats, "perVoter": per_voter, "burned": pool}
