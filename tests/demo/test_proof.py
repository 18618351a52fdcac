"""The proof refuses everything that is not exactly as claimed. Each test spoils one thing of a run that was fine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from agents.demo.picture import Picture, global_models, round_rows
from agents.demo.proof import Facts, prove
from bfl_events.rules import presets
from bfl_events.schema import Bitmap, Phase, RoundScored, Wei
from bfl_events.state import Attempt, Attestation, Member, ModelCommitment, Position, TaskState

WORKERS = tuple(f"0x{number:040d}" for number in (11, 12, 13))
GLOBAL = [bytes([number]) * 32 for number in range(3)]
START = Position(0, 0, 1000)


def attempt(number: int, round: int, bases: Mapping[int, bytes], *, scored: bool = True) -> Attempt:
    result = RoundScored(round, (), (), 1, Bitmap(7), Bitmap(1), Bitmap(0), Bitmap(0)) if scored else None
    commits = {index: ModelCommitment(bytes(32), base, START) for index, base in bases.items()}
    return Attempt(round, number, Bitmap(7), 5, Position(number, 0, 1000 + 10 * number), commits=commits, scored=result)


def all_from(base: bytes) -> dict[int, bytes]:
    return dict.fromkeys(range(3), base)


def state() -> TaskState:
    params = replace(presets_params(), rounds=2, model_hash=GLOBAL[0])
    members = tuple(Member(worker, index, worker, 1, Wei(0), Wei(0), ()) for index, worker in enumerate(WORKERS))
    return TaskState(
        "0xTask", "0xRequester", params, Wei(10), b"", b"", (), START, bytes(32), Phase.COMPLETED, 0, START,
        members=members, seats={worker: index for index, worker in enumerate(WORKERS)}, active=Bitmap(7),
        final_hash=GLOBAL[2], attestations={index: Attestation(GLOBAL[2], b"cid", START) for index in range(3)},
        attempts=(attempt(1, 1, all_from(GLOBAL[0])), attempt(2, 2, all_from(GLOBAL[1]))),
        attest_since=Position(9, 0, 1035),
    )


def presets_params() -> Any:
    from dataclasses import asdict, fields

    from bfl_events.schema import Params

    given = asdict(presets()["iid"])
    return Params(**{field.name: given.get(field.name, 0) for field in fields(Params)})


def facts(**changes: Any) -> Facts:
    usual = Facts(task=state(), honest=set(WORKERS), delivered=GLOBAL[2], accuracy=0.97, wanted_accuracy=0.95,
                  balance_wei=0, differences=(), left=())
    return replace(usual, **changes)


def broken(given: Facts) -> list[str]:
    return [check.claim for check in prove(given) if not check.holds]


def test_a_run_in_which_everything_is_right_is_proven() -> None:
    assert broken(facts()) == []


@pytest.mark.parametrize(("changes", "claim"), [
    ({"delivered": None}, "the requester's file is the attested model"),
    ({"delivered": GLOBAL[1]}, "the requester's file is the attested model"),
    ({"accuracy": 0.9499}, "it is right on at least 95% of data that nobody trained on"),
    ({"accuracy": None}, "it is right on at least 95% of data that nobody trained on"),
    ({"balance_wei": 1}, "the contract holds nothing any more"),
    ({"differences": ["line 7: the median is wrong"]}, "the log alone gives the same medians, payouts and penalties"),
    ({"left": ["bfl-agent run"]}, "no process is left"),
    ({"task": replace(state(), phase=Phase.EXPIRED)}, "the task completed all its rounds"),
    ({"task": replace(state(), attempts=state().attempts[:1])}, "the task completed all its rounds"),
])
def test_each_claim_is_checked(changes: dict[str, Any], claim: str) -> None:
    assert broken(facts(**changes)) == [claim]


@pytest.mark.parametrize("bases", [{0: GLOBAL[1], 1: GLOBAL[1], 2: b"?" * 32}, {0: GLOBAL[1], 2: GLOBAL[1]}])
def test_one_worker_with_another_base_or_none_is_enough_to_fail(bases: dict[int, bytes]) -> None:
    spoilt = replace(state(), attempts=(state().attempts[0], attempt(2, 2, bases)))
    assert broken(facts(task=spoilt)) == ["every honest worker started every round from the same model"]
    assert broken(facts(task=spoilt, honest=set(WORKERS) - ({WORKERS[2]} if 1 in bases else {WORKERS[1]}))) == []


def test_a_final_model_without_a_majority_is_no_proof() -> None:
    one_vote = {0: Attestation(GLOBAL[2], b"", START), 1: Attestation(GLOBAL[1], b"", START)}
    assert broken(facts(task=replace(state(), attestations=one_vote))) == ["the final model is attested"]


def test_models_and_times_of_rounds_are_read_off_the_log() -> None:
    void = attempt(2, 2, {0: GLOBAL[1]}, scored=False)
    task = replace(state(), attempts=(state().attempts[0], void, attempt(3, 2, all_from(GLOBAL[1]))))
    assert global_models(task) == {0: GLOBAL[0], 1: GLOBAL[1], 2: GLOBAL[2]}
    rows = round_rows(task)
    assert [(row.number, row.attempts, row.seconds) for row in rows] == [(1, 1, 10), (2, 2, 15)]
    assert [(row.accepted, row.top) for row in rows] == [((0, 1, 2), (0,))] * 2
    assert round_rows(replace(task, attempts=())) == []
    assert Picture(()).phase == "setting up"
    assert Picture((), replace(task, phase=Phase.SCORE, round=2)).phase == "round 2/2: score each other"


def absent_in_round_2() -> Facts:
    """Worker 1 committed nothing in round 2."""
    second = attempt(2, 2, {0: GLOBAL[1], 2: GLOBAL[1]})
    return facts(task=replace(state(), attempts=(state().attempts[0], second)))


def test_under_chaos_a_worker_may_have_been_away_but_may_not_have_started_from_another_model() -> None:
    assert broken(absent_in_round_2()) == ["every honest worker started every round from the same model"]
    assert broken(replace(absent_in_round_2(), chaos=True)) == []
    odd = replace(state(), attempts=(state().attempts[0], attempt(2, 2, {0: GLOBAL[1], 2: GLOBAL[0]})))
    assert broken(facts(task=odd, chaos=True)) == ["every honest worker started every round from the same model"]


@pytest.mark.parametrize(("changes", "claim"), [
    ({"losses": ["0x01 lost 5 wei"]}, "an honest worker lost at most liveness fees for its own absences"),
    ({"contradictions": ["twice"]}, "nobody submitted twice, or anything but what it had committed to"),
    ({"fetched": True, "delivered": None}, "a fresh `models get final` brings the attested model"),
])
def test_chaos_adds_claims_that_can_fail(changes: Mapping[str, Any], claim: str) -> None:
    assert broken(facts(chaos=True)) == []
    assert broken(facts(chaos=True, **changes)) == [claim]
