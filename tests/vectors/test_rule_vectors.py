"""bfl_events.rules finds the numbers of contracts/test/vectors/rules.json, which the contract's tests read too."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from bfl_events import rules
from bfl_events.rules import After, Ballot, members_of
from bfl_events.schema import Bitmap, Phase, Wei
from bfl_events.scoring import eligible_workers
from bfl_events.state import Attestation, Member, TaskState
from tests.events.ballots import terms
from tests.events.states import START, member, state
from tests.vectors import make

VECTORS: dict[str, list[dict[str, Any]]] = json.loads(make.FILE.read_text())
SETS = ("roster", "active", "dropped", "excused", "committed", "opened", "scored", "revealed", "accepted", "top",
        "deviant", "invalid", "low", "eligible")
TERM_NAMES = {"auditLane": "audit_lane", "topK": "top_k", "tieBand": "tie_band", "acceptBps": "accept_bps",
              "devTol": "dev_tol", "topShareBps": "top_share_bps", "slashBps": "slash_bps", "feeBps": "fee_bps",
              "missBps": "miss_bps", "burnBps": "burn_bps", "maxMiss": "max_miss", "maxLow": "max_low",
              "maxVoid": "max_void", "minActive": "min_active", "rounds": "rounds", "collateral": "collateral"}


def terms_of(case: Mapping[str, Any]) -> dict[str, Any]:
    return {TERM_NAMES[key]: int(value) for key, value in case["terms"].items()}


def sets_of(case: Mapping[str, Any], names: Sequence[str] = SETS) -> dict[str, Bitmap]:
    return {name: Bitmap(int(case[name], 16)) for name in names}


def members(seats: Mapping[str, Sequence[int | str]]) -> Callable[[int], Member]:
    def made(i: int) -> Member:
        number = {key: int(column[i]) for key, column in seats.items()}
        return member(i, bond=Wei(number["bond"]), credit=Wei(number["credit"]), strikes=number["strikes"],
                      miss_streak=number["missStreak"], low_streak=number["lowStreak"], unopened=number["unopened"])
    return made


def columns(people: Sequence[Member]) -> dict[str, list[int]]:
    return {"bond": [p.bond for p in people], "credit": [p.credit for p in people],
            "strikes": [p.strikes for p in people], "missStreak": [p.miss_streak for p in people],
            "lowStreak": [p.low_streak for p in people], "unopened": [p.unopened for p in people]}


def number(value: str | int) -> int:
    return int(value, 0) if isinstance(value, str) else value


def numbers(found: Any) -> Any:
    """A case with every big number read."""
    if isinstance(found, dict):
        return {key: numbers(value) for key, value in found.items() if key != "name"}
    return [numbers(value) for value in found] if isinstance(found, list) else number(found)


# --------------------------------------------------------------------------------------------------- the checks


def check_median(case: dict[str, Any]) -> None:
    assert rules.upper_median(case["values"]) == case["upper"]
    assert rules.lower_median(case["values"]) == case["lower"]


def check_quorum(case: dict[str, Any]) -> None:
    everybody = (1 << case["n"]) - 1
    assert rules.quorum(everybody) == case["quorum"]
    assert rules.fine_quorum(everybody) == case["fineQuorum"]


def check_payout(case: dict[str, Any]) -> None:
    given = {key: number(value) for key, value in case.items()}
    running = state(1, params={"rounds": given["rounds"]}, round=given["round"], reward_left=Wei(given["rewardLeft"]))
    assert rules.round_reward(running) == given["reward"]
    assert rules.top_count(given["eligible"], given["revealers"], given["topK"]) == given["top"]
    shares = (0, 0)
    if given["eligible"]:
        shares = rules.split_reward(given["reward"], given["eligible"], given["top"], given["topShareBps"])
    assert shares == (given["perTop"], given["perRest"])
    assert (given["pool"] // given["eligible"] if given["eligible"] else 0) == given["perForfeit"]


def check_judgement(case: dict[str, Any]) -> None:
    rows = {i: tuple(map(number, row)) for i, row in zip(case["scorers"], case["rows"], strict=True)}
    given = sets_of(case, ("roster", "opened"))
    ballot = Ballot(case["round"], case["seats"] + 2, given["roster"], given["opened"], rows)
    found = rules.tally(terms(**terms_of(case)), ballot)
    expected = numbers({key: case[key] for key in (
        "medians", "lows", "theta", "accepted", "eligible", "top", "deviant", "invalid", "low")})
    assert expected == {
        "medians": list(found.medians), "lows": list(found.lows), "theta": found.theta, "accepted": found.accepted,
        "eligible": found.eligible, "top": found.top, "deviant": found.deviant, "invalid": found.invalid,
        "low": found.low}


def check_settlement(case: dict[str, Any]) -> None:
    before = state(
        len(case["seats"]["bond"]), Phase.SETTLE, params=terms_of(case), members=members(case["seats"]), step=1,
        round=case["round"], **sets_of(case), **{name: Wei(int(case[key])) for name, key in (
            ("reward_left", "rewardLeft"), ("forfeit_pool", "forfeitPool"), ("burn_pool", "burnPool"))})
    after = rules.settle(before)
    assert numbers(case["later"]) == {
        "active": after.active, "rewardLeft": after.reward_left, "forfeitPool": after.forfeit_pool,
        "burnPool": after.burn_pool, "perTop": after.per_top, "perRest": after.per_rest,
        "perForfeit": after.per_forfeit,
        "penalties": [{"seat": p.index, "reason": p.fault, "amount": p.amount, "bondLeft": p.bond_left,
                       "strikes": p.strikes} for p in after.penalties],
        "seats": columns([settled_member(before, after, i) for i in range(before.count)]),
    }
    taken = eligible_workers(before.accepted, before.opened, before.revealed, before.deviant)
    assert (after.eligible, after.top) == (taken, before.top)


def settled_member(before: TaskState, after: rules.SettledRound, index: int) -> Member:
    """What the fold makes of a worker after its penalty, its reward and the end of its streaks."""
    one = before.member(index)
    for fine in after.penalties:
        if fine.index == index:
            one = replace(one, bond=fine.bond_left, strikes=fine.strikes, miss_streak=fine.miss_streak,
                          low_streak=fine.low_streak, unopened=fine.unopened)
            if fine.ejected:
                one = replace(one, credit=Wei(one.credit + one.bond), bond=Wei(0))
    if after.miss_cleared >> index & 1:
        one = replace(one, miss_streak=0)
    if after.low_cleared >> index & 1:
        one = replace(one, low_streak=0)
    return replace(one, credit=Wei(one.credit + after.credits.get(index, 0)))


def check_deadline(case: dict[str, Any]) -> None:
    names = ("active", "dropped", "excused", "committed", "opened", "scored", "revealed")
    streaks, phase = case["missStreaks"], Phase(case["phase"])
    before = state(len(streaks), phase, params=terms_of(case), attempt=case["attempt"], voids=case["voids"],
                   members=lambda i: member(i, miss_streak=streaks[i]), **sets_of(case, names))
    found = rules.deadline_passes(before)
    after, attempt = {After.NEXT_PHASE: (phase + 1, 0), After.EXTENDED: (phase, 0),
                      After.RESTARTED: (Phase.TRAIN, 1), After.EXPIRED: (Phase.EXPIRED, 0)}[found.after]
    assert numbers(case["later"]) == {
        "absent": found.absent, "active": found.active, "dropped": found.dropped, "voids": found.voids,
        "phase": after, "attempt": case["attempt"] + attempt,
        "missStreaks": [0 if found.reset >> i & 1 else streak + (found.missed >> i & 1)
                        for i, streak in enumerate(streaks)]}


def check_attestation(case: dict[str, Any]) -> None:
    final, other = b"f" * 32, b"o" * 32
    given = sets_of(case, ("active", "attested", "voters"))
    votes = {i: Attestation(final if given["voters"] >> i & 1 else other, b"", START)
             for i in members_of(given["attested"])}
    before = state(len(case["seats"]["bond"]), Phase.ATTEST, params=terms_of(case), members=members(case["seats"]),
                   active=given["active"], attested=given["attested"], attestations=votes,
                   final_hash=final if case["isFinal"] else bytes(32), forfeit_pool=Wei(number(case["forfeitPool"])))
    found = rules.attest_result(before)
    people = [before.member(i) for i in range(before.count)]
    for fine in found.penalties:
        people[fine.index] = replace(people[fine.index], bond=fine.bond_left)
    for i in members_of(found.voters):
        people[i] = replace(people[i], credit=Wei(people[i].credit + found.per_voter))
    assert numbers(case["later"]) == {
        "perVoter": found.per_voter, "burned": found.forfeit_pool, "seats": columns(people)}


CHECKS: Mapping[str, Callable[[dict[str, Any]], None]] = {
    "medians": check_median, "quorums": check_quorum, "payouts": check_payout, "judgements": check_judgement,
    "settlements": check_settlement, "deadlines": check_deadline, "attestations": check_attestation,
}
ANSWERS: Mapping[str, tuple[str, ...]] = {
    "medians": ("upper", "lower"), "quorums": ("quorum", "fineQuorum"),
    "payouts": ("reward", "top", "perTop", "perRest", "perForfeit"),
    "judgements": ("medians", "lows", "theta", "accepted", "eligible", "top", "deviant", "invalid", "low"),
    "settlements": ("later",), "deadlines": ("later",), "attestations": ("later",),
}


@pytest.mark.parametrize("section", CHECKS)
def test_the_rules_find_every_number(section: str) -> None:
    for case in VECTORS[section]:
        try:
            CHECKS[section](case)
        except AssertionError as error:
            raise AssertionError(f"{section}, {case.get('name', case)}: {error}") from error


@pytest.mark.parametrize("section", CHECKS)
def test_a_changed_answer_is_noticed(section: str) -> None:
    cases = VECTORS[section]
    for case in (cases[0], cases[len(cases) // 2], cases[-1]):
        paths = [path for key in ANSWERS[section] for path in leaves(case[key], (key,))]
        for path in paths[:: max(1, len(paths) // 20)]:
            wrong = changed(case, path)
            with pytest.raises(AssertionError):
                CHECKS[section](wrong)


def test_the_file_is_what_its_generator_writes() -> None:
    assert make.FILE.read_text() == make.text()


def test_every_size_from_2_to_126_and_every_edge_is_there() -> None:
    assert [case["n"] for case in VECTORS["quorums"]] == list(range(2, 127))
    assert {case["seats"] for case in VECTORS["judgements"]} >= {2, 3, 13, 14, 15, 16, 29, 30, 31, 62, 63, 126}
    assert any(not case["values"] for case in VECTORS["medians"])
    assert any(len(case["scorers"]) == 2 for case in VECTORS["judgements"])
    assert any(case["eligible"] == "0x0" for case in VECTORS["judgements"])
    assert {case["later"]["phase"] for case in VECTORS["deadlines"]} == {2, 3, 4, 5, 6, 10}
    assert {p["reason"] for case in VECTORS["settlements"] for p in case["later"]["penalties"]} == {1, 2, 3, 4, 5, 7}


def leaves(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for k, inner in enumerate(value):
            yield from leaves(inner, (*path, k))
    else:
        yield path


def changed(case: Mapping[str, Any], path: Sequence[str | int]) -> dict[str, Any]:
    """The case with one of its numbers one greater."""
    copied = copy.deepcopy(dict(case))
    at: Any = copied
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = number(at[path[-1]]) + 1 if isinstance(at[path[-1]], int) else hex(number(at[path[-1]]) + 1)
    return copied
