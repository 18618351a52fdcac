"""The alarm of an agent that builds on another global model than most: once a round, and the word that it is over."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from agents.core.divergence import BaseCheck
from agents.health import Health
from agents.metrics import Metrics
from agents.narrator import Narrator
from agents.telemetry import open_log

TASK, MINE, THEIRS = "0x" + "aa" * 20, b"\x11" * 32, b"\x22" * 32
ASTRAY = BaseCheck(2, MINE, THEIRS, held=False, next="the majority's bytes are asked for")


class Voice:
    """A narrator whose lines are kept."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        self.health = Health(clock=lambda: 0.0)
        self.health.beat()
        log = open_log(None, console="json", stream=self._stream).log
        self.narrator = Narrator(log, Metrics(CollectorRegistry()), self.health, "0x" + "01" * 20)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]


@pytest.fixture
def voice() -> Voice:
    return Voice()


def test_the_alarm_names_both_hashes_and_what_happens_next_once_a_round(voice: Voice) -> None:
    for _ in range(3):
        voice.narrator.compared(TASK, ASTRAY)
    (line,) = voice.lines()
    assert (line["event"], line["level"]) == ("round.base.diverged", "warning")
    assert (line["mine"], line["majority"], line["round"]) == (MINE.hex(), THEIRS.hex(), 2)
    assert line["next"] == ASTRAY.next
    assert THEIRS.hex() in voice.health.troubles["base"]
    assert not voice.health.ready


def test_the_end_of_the_alarm_is_said_once_and_the_agent_is_ready_again(voice: Voice) -> None:
    voice.narrator.compared(TASK, ASTRAY)
    for _ in range(2):
        voice.narrator.compared(TASK, BaseCheck(2, MINE, THEIRS, held=True, next=""))
    assert [line["event"] for line in voice.lines()] == ["round.base.diverged", "round.base.resynced"]
    assert voice.health.ready


def test_another_round_is_another_alarm(voice: Voice) -> None:
    voice.narrator.compared(TASK, ASTRAY)
    voice.narrator.compared(TASK, BaseCheck(3, MINE, THEIRS, held=False, next=""))
    assert [line["round"] for line in voice.lines()] == [2, 3]


def test_a_task_that_is_over_leaves_no_trouble_behind(voice: Voice) -> None:
    voice.narrator.compared(TASK, ASTRAY)
    voice.narrator.compared(TASK, None)
    assert [line["event"] for line in voice.lines()] == ["round.base.diverged"]
    assert voice.health.ready


def test_those_who_agree_hear_nothing(voice: Voice) -> None:
    voice.narrator.compared(TASK, BaseCheck(2, THEIRS, THEIRS, held=True, next=""))
    voice.narrator.compared(TASK, None)
    assert voice.lines() == []
