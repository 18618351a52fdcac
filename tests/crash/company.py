"""Keeps the agents of one run alive as systemd would, each life armed with the failpoints that are still to fire.

Owns who lives and what killed whom. A life that ends otherwise than by its failpoint or with code 0 fails the test.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.crash.stage import Stage

ROOT = Path(__file__).resolve().parents[2]
LONGEST_S = 240.0


@dataclass
class Member:
    """One agent over all its lives. `armed`: failpoints still to fire; `fired`: those that did, in order."""

    name: str
    armed: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    fired: list[str] = field(default_factory=list)
    lives: int = 0
    stays_down: int = 0
    pid: int | None = None
    code: int | None = None
    began: float = 0.0


class Company:
    """`with Company(stage) as company: company.start("worker-1", armed); company.until(...)`."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.members: dict[str, Member] = {}
        self._pending = b""
        self._nursery: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with (self.stage.directory / "nursery.stderr").open("wb") as stderr:
            self._nursery = subprocess.Popen(
                [sys.executable, "-m", "tests.crash.nursery"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=stderr, cwd=ROOT, env=environment)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._nursery is not None
        for member in self.members.values():
            if member.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(member.pid, signal.SIGKILL)
        assert self._nursery.stdin is not None
        self._nursery.stdin.close()
        with self._nursery:
            self._nursery.wait(20)

    def start(self, name: str, armed: Sequence[str] = (), environment: Mapping[str, str] | None = None, *,
              stays_down: int = 0) -> None:
        """`stays_down`: the exit code after which it is not started again."""
        member = self.members[name] = Member(name, list(armed), dict(environment or {}), stays_down=stays_down)
        self._spawn(member)

    def until(self, condition: Callable[[], object], what: str, seconds: float = LONGEST_S,
              weather: Callable[[], None] = lambda: None) -> None:
        """Tend everybody, and the weather, until it holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"never {what}:\n{self.told()}"
            self.tend()
            weather()

    def all_done(self) -> bool:
        return all(member.code == 0 for member in self.members.values())

    def tend(self, wait_s: float = 0.05) -> None:
        """Hear who ended; start the killed again."""
        assert self._nursery is not None
        assert self._nursery.stdout is not None
        ready, _, _ = select.select([self._nursery.stdout], [], [], wait_s)
        if not ready:
            return
        data = os.read(self._nursery.stdout.fileno(), 65536)
        assert data, f"the nursery died: {(self.stage.directory / 'nursery.stderr').read_text()}"
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            self._hear(json.loads(line))

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

    def _hear(self, message: dict[str, Any]) -> None:
        member = self.members[message["name"]]
        if "pid" in message:
            member.pid = message["pid"]
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
        assert self._nursery is not None
        assert self._nursery.stdin is not None
        member.lives, member.code, member.began = member.lives + 1, None, time.monotonic()
        environment = dict(member.environment)
        if member.armed:
            environment["BFL_FAILPOINT"] = ",".join(member.armed)
        wish = {"name": member.name, "environment": environment, "output": str(self.output(member.name)),
                "argv": ["run", "--home", str(self.stage.home(member.name).root), "--task", self.stage.task]}
        self._nursery.stdin.write(json.dumps(wish).encode() + b"\n")
        self._nursery.stdin.flush()
