"""Recovery times are read from log lines and from nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agents.demo.recovery import Recovery, percentiles, recoveries, repeated_epochs
from agents.demo.supervisor import Restarts, Service, Started, Supervisor
from tests.demo.test_telltale import MOMENT, line

T = MOMENT.timestamp()


def started(name: str, second: float, after: int | None = -9) -> Started:
    return Started(name, T + second, after)


def of(lines: Sequence[dict[str, Any]], *starts: Started) -> list[Recovery]:
    return recoveries(starts, {"worker-1": lines})


def resumed(second: float, due: int) -> dict[str, Any]:
    return line("agent.resumed", second, due=due, cpu_s=0.5, queued_s=0.25)


@pytest.mark.parametrize("act", [
    {"event": "train.started", "intent": "TrainModel"}, {"event": "score.started", "intent": "ScoreModels"},
    {"event": "intent.started", "intent": "FetchModel"}, {"event": "tx.sent", "step": "sent"},
])
def test_the_first_work_or_transaction_after_the_start_counts(act: dict[str, str]) -> None:
    lines = [line("agent.started", 0.4), resumed(0.9, due=2), line("intent.started", 1.0, intent="CommitModel"),
             line(second=1.5, **act), line("train.started", 4)]
    assert of(lines, started("worker-1", 0)) == [Recovery("worker-1", T, 0.9, 1.5, 0.5, 0.25)]


def test_what_the_machine_took_for_others_is_told_apart() -> None:
    (found,) = of([resumed(0.9, due=1), line("train.started", 1.0)], started("worker-1", 0))
    assert found.quiet_s == 0.75
    assert Recovery("worker-1", T).quiet_s is None
    assert Recovery("worker-1", T, 1.0, 1.0, 0.5, None).quiet_s is None


def test_with_nothing_due_an_agent_is_useful_when_it_has_resumed() -> None:
    lines = [resumed(0.9, due=0), line("train.started", 30)]
    assert of(lines, started("worker-1", 0)) == [Recovery("worker-1", T, 0.9, 0.9, 0.5, 0.25, idle=True)]


def test_a_transaction_that_is_sent_again_before_the_first_decision_is_useful() -> None:
    (found,) = of([line("tx.sent", 0.7, step="sent"), resumed(0.9, due=0)], started("worker-1", 0))
    assert (found.resumed_s, found.useful_s) == (0.9, 0.7)


def test_a_life_that_ends_too_soon_has_no_figure_and_takes_none_from_the_next() -> None:
    lines = [line("agent.started", 0.5), resumed(2.0, due=1), line("train.started", 2.25)]
    first, second = of(lines, started("worker-1", 0), started("worker-1", 1))
    assert first == Recovery("worker-1", T)
    assert (second.resumed_s, second.useful_s) == (1.0, 1.25)


@pytest.mark.parametrize("after", [None, 0, 1])
def test_only_a_start_after_a_kill_is_a_recovery(after: int | None) -> None:
    assert of([resumed(1, due=0)], started("worker-1", 0, after)) == []


def test_each_agent_is_judged_by_its_own_log_alone() -> None:
    logs = {"worker-1": [resumed(3.0, due=0)], "worker-2": [resumed(1.0, due=0)]}
    found = recoveries([started("worker-1", 0), started("worker-2", 0.5)], logs)
    assert [(one.name, one.resumed_s) for one in found] == [("worker-1", 3.0), ("worker-2", 0.5)]


def epoch(number: int, round: int = 1, step: int = 9) -> dict[str, Any]:
    return line("train.epoch.completed", epoch=number, of=4, step=step, steps=9, task="0xT", round=round)


@pytest.mark.parametrize(("lines", "repeated"), [
    ([], 0), ([epoch(1), epoch(2), epoch(1, round=2), epoch(2, round=2)], 0),
    ([epoch(1), epoch(2), epoch(3, step=4), epoch(3)], 0), ([epoch(1), epoch(2), epoch(2), epoch(3)], 1),
    ([epoch(1), epoch(2), epoch(3), epoch(1), epoch(2)], 3),
])
def test_work_that_a_kill_cost_is_counted_in_epochs(lines: list[dict[str, Any]], repeated: int) -> None:
    assert repeated_epochs(lines) == repeated


def test_percentiles_are_values_that_were_seen() -> None:
    assert percentiles([]) == {"p50": None, "p99": None}
    assert percentiles([None, 2.0]) == {"p50": 2.0, "p99": 2.0}
    assert percentiles([*range(1, 201), None]) == {"p50": 100, "p99": 198}


async def test_the_supervisor_keeps_when_it_started_whom_after_what(tmp_path: Path) -> None:
    code = "import signal; signal.pause()"
    service = Service("a", (sys.executable, "-I", "-c", code), tmp_path / "a.log")
    supervisor, began = Supervisor([service], Restarts(first_s=0.0)), time.time()
    supervisor.start()
    os.kill(supervisor.pids["a"], signal.SIGKILL)
    async with asyncio.timeout(10):
        while len(supervisor.starts) < 2:
            supervisor.tend()
            await asyncio.sleep(0.005)
    await supervisor.stop(0)
    assert [(one.name, one.after) for one in supervisor.starts] == [("a", None), ("a", -signal.SIGKILL)]
    assert began <= supervisor.starts[0].at <= supervisor.starts[1].at <= time.time()
