"""The failpoint itself: it ends the process by SIGKILL exactly where it was asked to, and costs nothing unasked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bfl_events import boundaries
from bfl_events.boundaries import VARIABLE, Boundary, Failpoints, childs_environment, passing

ROOT = Path(__file__).resolve().parents[2]
STEPS = """
import os
from bfl_events.boundaries import Boundary, arm, passing
arm(os.environ)
for number in (1, 2, 3):
    print("outside", number, flush=True)
    with passing(Boundary.JOURNAL_RECORD):
        print("step", number, flush=True)
print("end", os.environ.get("BFL_FAILPOINT"), flush=True)
"""


def life(failpoint: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, VARIABLE: failpoint, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", STEPS]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(("failpoint", "last"), [
    ("journal.record.before", "outside 1"),
    ("journal.record.after", "step 1"),
    ("journal.record.before:3", "outside 3"),
    ("tx.send.after, journal.record.after:2", "step 2"),
])
def test_it_kills_right_before_or_right_after_the_nth_passing(failpoint: str, last: str) -> None:
    ended = life(failpoint)
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout.splitlines()[-1] == last
    assert ended.stderr == f"failpoint {failpoint.rsplit(', ', 1)[-1].partition(':')[0]}\n"


def test_a_failpoint_that_is_not_reached_changes_nothing_and_is_not_inherited() -> None:
    ended = life("journal.record.before:4,tx.send.before")
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (0, "end None")


@pytest.mark.parametrize("text", ["journal.record", "journal.recrod.before", "journal.record.before:x", "before"])
def test_a_failpoint_that_cannot_be_read_ends_the_command_with_a_sentence(text: str) -> None:
    ended = life(text)
    assert ended.returncode == 1
    assert f"{text!r} is no failpoint" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_step_that_fails_has_not_been_passed() -> None:
    """`after` means that it happened: a full disk in the step is no durable step."""
    seen: list[bool] = []

    class Watcher:
        def before(self, boundary: Boundary) -> None: ...
        def after(self, boundary: Boundary, *, done: bool) -> None:
            seen.append(done)

    boundaries.watch(Watcher())
    try:
        with pytest.raises(OSError, match="full"), passing(Boundary.MODEL_ADOPT):
            raise OSError("full")
    finally:
        boundaries.watch(None)
    assert seen == [False]


def test_each_of_the_childs_failpoints_is_handed_to_one_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that is started again must not die of the same failpoint for ever."""
    armed = Failpoints("child.model.before,tx.send.after,child.checkpoint.after:2")
    monkeypatch.setattr(boundaries, "_armed", armed)
    assert [childs_environment() for _ in range(3)] == [
        {VARIABLE: "child.model.before:1"}, {VARIABLE: "child.checkpoint.after:2"}, {},
    ]


def test_a_passing_that_nobody_watches_costs_next_to_nothing() -> None:
    rounds = 20_000
    before = time.process_time()
    for _ in range(rounds):
        with passing(Boundary.JOURNAL_RECORD):
            pass
    assert (time.process_time() - before) / rounds < 5e-6     # seconds of CPU; 0.2 µs on a quiet machine
