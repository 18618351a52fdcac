"""Whom are we waiting for, until when, what happens then: in every phase, for everybody."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.cli.explain import duration, explain
from bfl_events.bitmap import bitmap_of
from bfl_events.schema import Phase, Wei
from bfl_events.state import ModelCommitment, ScoreCommitment
from tests.core.tasks import BEGAN, PARAMS, REQUESTER, account, at, attempt, member, task

NOW = BEGAN + 500


def lines(*arguments: object) -> str:
    return "\n".join(explain(*arguments).lines())  # type: ignore[arg-type]


def test_who_has_not_acted_is_named_with_what_silence_costs() -> None:
    training = task(phase=Phase.TRAIN, committed=bitmap_of([1]))
    found = explain(training, NOW, account(0))
    assert [one.account for one in found.waiting] == [account(0), account(2)]
    assert (found.acted, found.expected, found.left_s) == (1, 3, 200)
    assert found.waiting[0].cost == PARAMS.collateral * PARAMS.miss_bps // 10_000
    text = lines(training, NOW, account(0))
    assert "Waiting for  2 of 3 model commitments" in text
    assert "deadline in 3 min 20 s" in text
    assert "it is your turn" in text
    assert "a fresh window and nothing is lost" in text
    assert "no fee before you commit" in text


def test_a_quorum_means_that_the_round_goes_on_without_the_rest() -> None:
    text = lines(task(phase=Phase.TRAIN, committed=bitmap_of([0, 1])), NOW, account(0))
    assert "the round goes on without the rest" in text
    assert "nothing to do now" in text
    assert "you still owe this round's acts" in text


def test_after_the_deadline_anybody_may_go_on() -> None:
    text = lines(task(phase=Phase.TRAIN, committed=bitmap_of([0, 1])), BEGAN + 900, None)
    assert "the deadline has passed: anybody calls nextRound() now" in text
    assert "deadline 3 min 20 s ago" in text
    assert "no account in this home" in text


def test_silence_after_a_commitment_costs_the_fee_and_a_second_time_more() -> None:
    commits = {i: ModelCommitment(b"", b"", at(1)) for i in range(3)}
    opening = task(
        phase=Phase.OPEN,
        committed=bitmap_of(range(3)),
        attempts=(replace(attempt(1, 1, {}), commits=commits),),
        members=(member(0), member(1, unopened=1), member(2)),
    )
    costs = [one.cost for one in explain(opening, NOW, None).waiting]
    assert costs == [PARAMS.collateral // 10, PARAMS.collateral // 4, PARAMS.collateral // 10]


def test_whoever_missed_too_often_is_about_to_be_dropped() -> None:
    scoring = task(phase=Phase.SCORE, members=(member(0, miss_streak=2), member(1), member(2)))
    assert "2 missed in a row before" in lines(scoring, NOW, None)
    assert "is dropped as absent too often" in lines(scoring, NOW, None)


def test_too_few_who_can_still_act_restart_the_round_and_too_many_voids_end_the_task() -> None:
    revealing = task(
        phase=Phase.REVEAL,
        scored=bitmap_of([0]),
        committed=bitmap_of(range(3)),
        attempts=(replace(attempt(1, 1, {}), score_commits={0: ScoreCommitment(b"", at(1))}),),
    )
    assert "begins again with a new attempt" in lines(revealing, NOW, account(0))
    assert "the task expires" in lines(replace(revealing, voids=5), NOW, account(0))


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (
            task(phase=Phase.JOINING, round=0, active=bitmap_of([0])),
            "1 of 3 needed workers have joined; too few at the deadline cancels",
        ),
        (
            task(phase=Phase.JOINING, round=0),
            "3 of 3 needed workers have joined; anybody calls startTask() at the deadline",
        ),
        (task(phase=Phase.SETTLE), "There is no deadline"),
        (task(phase=Phase.ATTEST), "has not attested the final model"),
        (task(phase=Phase.COMPLETED), "0.1 ether (100000000000000000 wei) to withdraw"),
        (task(phase=Phase.EXPIRED, members=(member(0, bond=Wei(0)), member(1), member(2))), "everything is withdrawn"),
        (task(pending=bitmap_of([0]), active=bitmap_of([1, 2])), "active after the next settlement"),
    ],
)
def test_every_phase_has_its_sentence(state: object, words: str) -> None:
    assert words in lines(state, NOW, account(0))


def test_too_few_at_the_deadline_of_joining_are_named() -> None:
    late = lines(task(phase=Phase.JOINING, round=0, active=bitmap_of([0])), BEGAN + 800, REQUESTER)
    assert "only 1 of 3 workers joined in time" in late
    assert "the requester" in late


def test_strangers_learn_that_they_have_no_seat() -> None:
    assert "has no seat" in lines(task(), NOW, "0x" + "77" * 20)


def test_the_document_has_the_same_facts() -> None:
    document = explain(task(committed=bitmap_of([1])), NOW, account(0)).document()
    assert document["phase"] == "train"
    assert document["waiting_for"][0]["cost_wei"] == str(PARAMS.collateral // 20)
    assert document["left_s"] == 200


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "in 0 s"),
        (59.6, "in 1 min"),
        (3_700, "in 1 h 1 min"),
        (-61, "1 min 1 s ago"),
        (90_000, "in 1 d 1 h"),
    ],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text
