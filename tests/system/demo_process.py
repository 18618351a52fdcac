"""Real demos with real processes, for tests: start one, watch it from outside, kill its parts, look at what it left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from agents.cli.failures import Failure
from agents.demo.chain import find_anvil
from bfl_events.export import read_export
from bfl_events.schema import Record

BFL_AGENT = (sys.executable, "-c", "from agents.cli import main; main()")
LONGEST_S = 170


class RunningDemo:
    """One `bfl-agent demo`, seen from outside: /proc, log files, and what it prints."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.stdout, self.stderr = (directory.with_suffix(f".{stream}") for stream in ("stdout", "stderr"))
        with self.stderr.open("wb") as err, self.stdout.open("wb") as out:
            self.process = subprocess.Popen(
                (*BFL_AGENT, "demo", "--keep", str(directory), *options), stdout=out, stderr=err,
                start_new_session=True, cwd=Path(__file__).parents[2],
            )

    def processes(self, *words: str) -> list[int]:
        """Living processes below the demo's directory whose command line has all these words."""
        wanted = (str(self.directory), *words)
        found = [pid for pid, line in command_lines() if all(word in line for word in wanted)]
        return [pid for pid in found if pid != self.process.pid]

    def agent(self, name: str) -> int:
        """The pid of a participant that runs now."""
        (pid,) = self.processes("--task", f"{self.directory}/{name} ")
        return pid

    def everybody(self) -> list[int]:
        """The supervisor and all below it, the chain and the learning children included."""
        found, todo = [], [self.process.pid]
        while todo:
            found.append(todo[0])
            todo += children(todo.pop(0))
        return found

    def log(self, name: str) -> list[dict[str, Any]]:
        path = self.directory / name / "logs" / "agent.log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def seen(self, name: str, event: str, **fields: object) -> bool:
        """Whether a participant's log has such a line."""
        return any(line["event"] == event and fields.items() <= line.items() for line in self.log(name))

    def until(self, condition: Callable[[], object], what: str, seconds: float = LONGEST_S) -> None:
        """Wait; fails with the last of what the demo said if it ends first, or takes too long."""
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"the demo ended before {what}:\n{self.told()}"
            assert time.monotonic() < end, f"never {what}:\n{self.told()}"
            time.sleep(0.05)

    def gone(self, pids: list[int], seconds: float = 10.0) -> None:
        """Wait until none of them lives."""
        end = time.monotonic() + seconds
        while left := [pid for pid in pids if alive(pid)]:
            assert time.monotonic() < end, f"still there: {left}"
            time.sleep(0.02)

    def wait(self, seconds: float = LONGEST_S) -> int:
        """Its exit code."""
        return self.process.wait(seconds)

    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.directory / "result.json").read_text())
        return found

    def records(self) -> list[Record]:
        """What it exported."""
        return list(read_export(self.directory / "events.jsonl"))

    def events(self, kind: type[Any]) -> list[Any]:
        return [record.event for record in self.records() if isinstance(record.event, kind)]

    def told(self) -> str:
        """The last of its progress and, if it came to that, of its summary."""
        return self.stderr.read_text()[-3000:] + self.stdout.read_text()[-3000:]

    def end(self) -> None:
        """Whatever happened, nothing of it stays on the machine."""
        for pid in [*self.everybody(), *self.processes()]:
            kill(pid)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def command_lines() -> Iterator[tuple[int, str]]:
    """(pid, command line) of all processes that are not zombies; arguments end with a space."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if line:
            yield int(path.parent.name), line


def alive(pid: int) -> bool:
    return any(pid == other for other, _ in command_lines())


def children(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, path.read_text().split())
        except OSError:
            continue
    return found


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


@contextmanager
def running_demo(directory: Path, *options: str) -> Iterator[RunningDemo]:
    """A demo that is ended with the block, whatever happened. Skips the test where there is no chain."""
    try:
        find_anvil()
    except Failure as error:
        pytest.skip(f"no chain on this machine: {error}")
    demo = RunningDemo(directory, *options)
    try:
        yield demo
    finally:
        demo.end()
