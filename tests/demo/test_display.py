"""Live progress: two tables on a terminal, lines elsewhere, and each change said once."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from agents.demo.display import Display, changes
from agents.demo.homes import Participant
from agents.demo.picture import Picture, Quality
from agents.home import Home
from bfl_events.schema import Phase
from tests.demo.test_proof import GLOBAL, WORKERS, state

HOME = Home(Path("nowhere"))
PEOPLE = (Participant("requester", "requester", HOME, "0xRequester"),
          *(Participant(f"worker-{number}", "worker", HOME, address) for number, address in enumerate(WORKERS, 1)))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")


def training() -> Picture:
    """In round 2, after a first that was settled and measured."""
    task = replace(state(), phase=Phase.TRAIN, round=2, final_hash=bytes(32))
    return Picture(PEOPLE, task, {GLOBAL[1]: Quality(0.81234, 0.8, 0.79)},
                   {"worker-1": "training", "worker-2": "waiting", "requester": "starting"}, {"worker-2": 2}, 1_234_567)


def told(picture: Picture, stream: io.StringIO | None = None) -> list[str]:
    stream = stream or io.StringIO()
    with Display(stream=stream) as display:
        display.show(picture)
        display.show(picture)
    return stream.getvalue().splitlines()


def test_every_change_is_told_once_whatever_is_shown_again() -> None:
    assert list(changes(training())) == [
        "worker-1 joined", "worker-2 joined", "worker-3 joined",
        "round 1/2 settled: accuracy 0.812; averaged worker-1, worker-2, worker-3",
        "worker-2 died and was started again (1)", "worker-2 died and was started again (2)"]
    lines = [line.partition(" s  ")[2] for line in told(training())]
    assert lines[:-1] == list(changes(training()))


def test_a_pipe_gets_the_phase_the_steps_of_those_who_are_busy_and_the_gas_in_one_line() -> None:
    assert told(training())[-1].endswith(" s  round 2/2: train   requester starting, worker-1 training   gas 1,234,567")


def test_a_new_phase_is_a_new_line_at_once() -> None:
    stream, picture = io.StringIO(), training()
    with Display(stream=stream) as display:
        display.show(picture)
        assert picture.task is not None
        picture.task = replace(picture.task, phase=Phase.SCORE)
        display.show(picture)
    assert stream.getvalue().count("gas 1,234,567") == 2
    assert "round 2/2: score each other" in stream.getvalue()


def test_a_terminal_gets_a_table_of_everybody_with_account_step_and_restarts() -> None:
    screen = "\n".join(told(training(), Terminal()))
    assert "round 2/2: train   gas 1,234,567" in screen
    rows = {name: screen[screen.rindex(f"{name} "):].splitlines()[0].split() for name in ("worker-1", "worker-2")}
    assert rows["worker-1"][1:] == [f"{WORKERS[0][:6]}…{WORKERS[0][-4:]}", "training"]
    assert rows["worker-2"][1:] == [f"{WORKERS[1][:6]}…{WORKERS[1][-4:]}", "waiting", "2"]


def test_a_cheat_is_shown_as_one() -> None:
    cheat = replace(PEOPLE[1], attack="lazy")
    picture = replace(training(), participants=(PEOPLE[0], cheat, *PEOPLE[2:]))
    assert "worker-1 (lazy)" in "\n".join(told(picture, Terminal()))


def test_whoever_wants_quiet_is_told_nothing() -> None:
    stream = Terminal()
    with Display(quiet=True, stream=stream) as display:
        display.say("a line")
        display.show(training())
    assert stream.getvalue() == ""


def test_before_the_task_is_seen_there_is_nothing_to_tell_but_that() -> None:
    assert not list(changes(Picture(PEOPLE)))
    assert told(Picture(PEOPLE, gas=0))[-1].endswith(" s  setting up   gas 0")


def test_no_gas_is_told_where_it_is_not_counted_yet() -> None:
    assert told(replace(training(), gas=None))[-1].endswith("worker-1 training")
