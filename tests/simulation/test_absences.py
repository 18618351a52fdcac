"""A live honest worker has no excuse for an absence but what left it too little time.

Each excuse beside a run that comes close to it, with a worker that sleeps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import inf

import pytest

from agents.core import worker
from agents.core.intents import Intent
from agents.core.state import Me, Memory, Now
from bfl_events.schema import Phase, PhaseChanged
from bfl_events.state import TaskState
from tests.simulation import absences
from tests.simulation.faults import Disturbance, Faults
from tests.simulation.judge import Judge
from tests.simulation.play import account
from tests.simulation.scenario import Fault, Scenario
from tests.simulation.simulation import run

QUIET = Scenario(1, rounds=1, slow_txs=0.0, whole_event_path=False)


def sleeping(monkeypatch: pytest.MonkeyPatch, phase: Phase) -> None:
    """The first worker does nothing in this phase; the others do as they should."""
    original = worker._in_phase

    def in_phase(task: TaskState, memory: Memory, me: Me, now: Now, index: int) -> Iterator[Intent]:
        if me.address != account(1) or task.phase is not phase:
            yield from original(task, memory, me, now, index)

    monkeypatch.setattr(worker, "_in_phase", in_phase)


def deadline_of(judge: Judge, phase: Phase) -> float:
    return next(one.event.deadline for one in judge.records()
                if isinstance(one.event, PhaseChanged) and one.event.phase is phase) - judge.network.epoch


def asleep_in_reveal(monkeypatch: pytest.MonkeyPatch, *disturbances: Disturbance) -> list[str]:
    """What breaks where the first worker sleeps through Reveal, and this has happened, with times in seconds from that
    phase's deadline."""
    original = Judge.finish

    def finish(self: Judge, *, over: bool) -> None:
        end = deadline_of(self, Phase.REVEAL)
        self.faults.disturbances += [replace(one, since=end + one.since, until=end + one.until) for one in disturbances]
        original(self, over=over)

    sleeping(monkeypatch, Phase.REVEAL)
    monkeypatch.setattr(Judge, "finish", finish)
    return run(QUIET).broken


ASLEEP = ["worker 1 is absent from REVEAL of round 1 without having been away"]


@pytest.mark.parametrize("phase", [Phase.TRAIN, Phase.OPEN, Phase.SCORE, Phase.REVEAL, Phase.ATTEST])
def test_whoever_sleeps_through_a_phase_has_no_excuse(monkeypatch: pytest.MonkeyPatch, phase: Phase) -> None:
    sleeping(monkeypatch, phase)
    assert run(QUIET).broken == [f"worker 1 is absent from {phase.name} of round 1 without having been away"]


@pytest.mark.parametrize("host", [1, None], ids=["its-own", "everybodys"])
@pytest.mark.parametrize(("since", "until"), [(-30, -4.9), (-0.1, -0.1), (-0.1, 60)])
def test_a_disturbance_excuses_until_it_is_caught_up_with(
    monkeypatch: pytest.MonkeyPatch, host: int | None, since: float, until: float,
) -> None:
    assert asleep_in_reveal(monkeypatch, Disturbance(host, since, until, "cut")) == []


@pytest.mark.parametrize("disturbance", [
    pytest.param(Disturbance(1, -30, -5.1, "cut"), id="it-could-have-caught-up"),
    pytest.param(Disturbance(None, -30, -5.1, "store-down"), id="all-could-have-caught-up"),
    pytest.param(Disturbance(None, 0.1, 60, "store-down"), id="the-phase-was-over"),
    pytest.param(Disturbance(2, -30, 60, "cut"), id="another-one-was-away"),
])
def test_any_other_disturbance_is_no_excuse(monkeypatch: pytest.MonkeyPatch, disturbance: Disturbance) -> None:
    assert asleep_in_reveal(monkeypatch, disturbance) == ASLEEP


@pytest.mark.parametrize(("before", "endpoints", "broken"), [
    pytest.param(6.0, (0, 1), [], id="both-are-down-at-the-deadline"),
    pytest.param(6.9, (0,), [], id="one-is-down-and-another-was-just-found"),
    pytest.param(7.1, (0,), ASLEEP, id="one-is-down-and-another-was-found"),
])
def test_an_endpoint_that_is_down_excuses_until_another_one_is_found(
    monkeypatch: pytest.MonkeyPatch, before: float, endpoints: tuple[int, ...], broken: list[str],
) -> None:
    """Down for 8 s, from so many seconds before the deadline on."""
    original, ends = Judge.finish, list[float]()

    def finish(self: Judge, *, over: bool) -> None:
        ends.append(deadline_of(self, Phase.REVEAL))
        original(self, over=over)

    sleeping(monkeypatch, Phase.REVEAL)
    monkeypatch.setattr(Judge, "finish", finish)
    assert run(QUIET).broken == ASLEEP
    assert run(replace(QUIET, faults=(Fault(ends[0] - before, "down", endpoints, 8.0),))).broken == broken
    assert ends[0] == ends[1]


def losing_models(seconds: float) -> Scenario:
    """The first worker's models are lost at that time. Commitments are mined after 4 s, openings are sent after 9."""
    return replace(QUIET, confirmations=3, faults=(Fault(seconds, "forget", (1,), 0.5, 1),))


LOST = ["worker 1 is absent from OPEN of round 1 without having been away"]


def test_a_model_that_was_lost_after_it_was_committed_to_cannot_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(losing_models(6.0)).broken == []
    monkeypatch.setattr(absences, "_lost", lambda *_: False)
    assert run(losing_models(6.0)).broken == LOST


def test_a_loss_before_the_model_was_made_is_no_excuse(monkeypatch: pytest.MonkeyPatch) -> None:
    sleeping(monkeypatch, Phase.OPEN)
    assert run(losing_models(1.0)).broken == LOST


def test_who_joins_late_and_has_the_word_of_one_alone_cannot_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of the three who know the model are gone when round 1 is settled."""
    duties, finish, story = worker._duties, Judge.finish, Scenario(1, 4, late_s=13.0, whole_event_path=False)

    def gone(task: TaskState, memory: Memory, me: Me, now: Now) -> Iterator[Intent]:
        if task.round == 1 or me.address not in (account(2), account(3)):
            yield from duties(task, memory, me, now)

    def excused(self: Judge, *, over: bool) -> None:
        self.faults.disturbances += [Disturbance(host, 0.0, inf, "gone") for host in (2, 3)]
        finish(self, over=over)

    monkeypatch.setattr(worker, "_duties", gone)
    monkeypatch.setattr(Judge, "finish", excused)
    assert run(story).broken == []
    monkeypatch.setattr(absences, "_strange", lambda *_: False)
    assert set(run(story).broken) == {"worker 4 is absent from TRAIN of round 2 without having been away"}


def test_work_that_was_begun_slowly_excuses_until_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child is slow for 3 s only, but what it trains meanwhile takes the whole phase."""
    story = replace(QUIET, faults=(Fault(1.5, "slow", (1,), 3.0, 40.0),))
    assert run(story).broken == []
    monkeypatch.setattr(Faults, "_quicken", lambda self, host: setattr(host.bench, "slowness", 1.0))
    assert run(story).broken == ["worker 1 is absent from TRAIN of round 1 without having been away"]
