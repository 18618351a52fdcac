"""Keeps the agents of one run alive as systemd would, each life armed with the failpoints that are still to fire.

Owns who lives and what killed whom. A life that ends otherwise than by its failpoint or with code 0 fails the test.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from bfl_events.boundaries import VARIABLE, Boundary
from tests.crash.manner import Manner
from tests.crash.stage import Stage
from tests.crash.witness import WHO


@dataclass
class Member:
    """One agent over all its lives. `armed`: failpoints still to fire; `fired`: those that did, in order."""

    name: str
    armed: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    fired: list[str] = field(default_factory=list)
    lives: int = 0
    stays_down: int = 0
    frozen: bool = False
    pid: int | None = None
    code: int | None = None
    began: float = 0.0


class Company:
    """`with Company(stage, manner) as company: company.start("worker-1", armed); company.until(...)`."""

    def __init__(self, stage: Stage, manner: Manner) -> None:
        self.stage, self._births, self._patience_s = stage, manner.births, manner.patience_s
        self.members: dict[str, Member] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.members:
            self.signal(name, signal.SIGKILL)

    def start(self, name: str, armed: Sequence[str] = (), environment: Mapping[str, str] | None = None, *,
              stays_down: int = 0) -> None:
        """`stays_down`: the exit code after which it is not started again."""
        member = self.members[name] = Member(name, list(armed), dict(environment or {}), stays_down=stays_down)
        self._spawn(member)

    def until(self, condition: Callable[[], object], what: str,
              weather: Callable[[], None] = lambda: None) -> None:
        """Tend everybody, and the weather, until it holds."""
        end = time.monotonic() + self._patience_s
        while not condition():
            assert time.monotonic() < end, f"never {what}:\n{self.told()}"
            self.tend()
            weather()

    def all_done(self) -> bool:
        return all(member.code == 0 for member in self.members.values())

    def tend(self, wait_s: float = 0.05) -> None:
        """Hear who ended; start the killed again."""
        for message in self._births.hear(wait_s):
            run, _, name = message["name"].partition("|")
            if run == str(self.stage.directory):        # else of a run that failed, and is told late
                self._hear(self.members[name], message)

    def armed(self, name: str, *steps: Boundary) -> bool:
        """Whether one of these steps is still to kill it."""
        return any(one.startswith(f"{step}.") for step in steps for one in self.members[name].armed)

    def freeze(self, *names: str) -> None:
        """They stand still, in whichever life."""
        for name in names:
            self.members[name].frozen = True
            self.signal(name, signal.SIGSTOP)

    def thaw(self, *names: str) -> None:
        for name in names:
            self.members[name].frozen = False
            self.signal(name, signal.SIGCONT)

    def signal(self, name: str, number: signal.Signals) -> None:
        pid = self.members[name].pid
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def told(self) -> str:
        """The last words of everybody who still runs."""
        return "\n".join(f"--- {m.name} (life {m.lives}, code {m.code}, armed {m.armed}, last {m.fired[-3:]}):\n"
                         f"{self.output(m.name).read_text(errors='replace')[-1500:]}" for m in self.members.values())

    def output(self, name: str) -> Path:
        return self.stage.directory / f"{name}.output"

    def _hear(self, member: Member, message: dict[str, Any]) -> None:
        if "pid" in message:
            member.pid = message["pid"]
            if member.frozen:
                self.signal(member.name, signal.SIGSTOP)
            return
        member.pid, member.code = None, message["status"]
        self._count(member)
        if member.code == member.stays_down:
            return
        assert member.code == -signal.SIGKILL, f"{member.name} ended with {member.code}:\n{self.told()}"
        self._spawn(member)

    def _count(self, member: Member) -> None:
        """Strike off what fired: the process's own, and its learning children's."""
        told = self._failpoints(self.output(member.name), *self._child_logs(member.name))
        for armed in list(member.armed):
            if armed.partition(":")[0] in told:
                member.armed.remove(armed)
                member.fired.append(armed)

    def _child_logs(self, name: str) -> list[Path]:
        return sorted(self.stage.network(name).work.glob("learner.log*"))

    @staticmethod
    def _failpoints(*paths: Path) -> list[str]:
        lines = [line for path in paths if path.exists() for line in path.read_text(errors="replace").splitlines()]
        return [line.removeprefix("failpoint ") for line in lines if line.startswith("failpoint ")]

    def _spawn(self, member: Member) -> None:
        member.lives, member.code, member.began = member.lives + 1, None, time.monotonic()
        environment = {**member.environment, WHO: member.name}
        if any(armed.startswith(f"{Boundary.BLOB_SWEEP}.") for armed in member.armed):
            self.stage.leave_a_part()
        if member.armed:
            environment[VARIABLE] = ",".join(member.armed)
        command = ["bfl-agent", "run", "--home", str(self.stage.home(member.name).root), "--task", self.stage.task]
        self._births.bear(f"{self.stage.directory}|{member.name}", command, environment, self.output(member.name))
