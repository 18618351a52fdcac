"""How the benchmarks judge: limits, what is overhead, which lives after kills count. Nothing is measured here."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from math import nan
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.limits import Figure, judge
from tests.benchmarks.recovery import Lives
from tests.benchmarks.round_overhead import overheads


@pytest.mark.parametrize(("figure", "holds"), [
    (Figure("ratio", 2.0, 2), True),
    (Figure("ratio", 2.01, 2), False),
    (Figure("speed", 50_000, 50_000, at_least=True), True),
    (Figure("speed", 49_999, 50_000, at_least=True), False),
    (Figure("never seen", nan, 2), False),
    (Figure("never seen", nan, 2, at_least=True), False),
])
def test_a_figure_beyond_its_limit_is_told_and_makes_the_exit_code_1(
    figure: Figure, holds: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge("work", [Figure("another", 1, 2), figure], "done twice") == (0 if holds else 1)
    told, another, line = capsys.readouterr().out.splitlines()
    assert (told, another) == ("work: done twice", "work: another 1.00, at most 2: ok")
    assert line.startswith(f"work: {figure.what} ")
    assert line.endswith(": ok" if holds else ": BEYOND")


def test_overhead_is_what_the_slowest_training_and_scoring_leave_of_a_round(tmp_path: Path) -> None:
    """A training from step to step: the rest of its request is overhead."""
    def line(at: float, event: str, round: int, **fields: float) -> str:
        return json.dumps({"ts": datetime.fromtimestamp(at, UTC).isoformat(), "event": event, "round": round, **fields})

    stepped = {"worker-1": (101.0, 104.0), "worker-2": (101.5, 105.5)}
    for name, (first, last) in stepped.items():
        log = tmp_path / name / "logs" / "agent.log"
        log.parent.mkdir(parents=True)
        log.write_text("\n".join([
            line(100.0, "round.opened", 1),
            line(106.0, "train.completed", 1, seconds=5.5, first_step_at=first, last_step_at=last),
            line(108.0, "score.completed", 1, seconds=1.0 if name == "worker-1" else 1.25),
            line(110.0 if name == "worker-1" else 110.5, "round.opened", 2), ""]))
    assert overheads(tmp_path) == [10.0 - 4.0 - 1.25]


def test_idle_lives_count_but_are_told_apart_and_lives_cut_short_are_left_out(tmp_path: Path) -> None:
    def life(useful_s: float | None, *, idle: bool = False, troubled: bool = False) -> dict[str, Any]:
        return {"useful_s": useful_s, "resumed_s": 1.0, "quiet_s": useful_s, "cpu_s": 0.5, "idle": idle,
                "troubled": troubled}

    lives = [life(1.0, idle=True), life(1.2, idle=True), life(3.0), life(None), life(9.0, troubled=True)]
    (tmp_path / "result.json").write_text(json.dumps({"faults": {"recoveries": lives, "epochs_repeated": 2}}))
    found = Lives().and_of(tmp_path)
    assert next(found.told()) == ("5 lives after kills: 3 count, 2 of them idle; left out: 1 killed again before their "
                                  "act, 1 with the chain out of reach")
    assert [(figure.value, figure.holds) for figure in found.figures()] == [
        (1.2, True), (3.0, True), (3.0, False), (3.0, True), (2, False)]
    assert [figure.holds for figure in Lives().figures()] == [False, False, False, False, True]
