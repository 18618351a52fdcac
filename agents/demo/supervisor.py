"""Keeps processes alive as a service manager would: starts them apart from itself, starts a dead one again, stops all.

Owns pids, restarts and memory peaks. Must not know what the processes do, and they must never need it: their
output goes to files, so that a frozen supervisor stops nobody.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from agents.demo import processes, tether

PERSON_CODES = frozenset({2, 10, 11, 12, 14, 19})      # as RestartPreventExitStatus= in the systemd unit
CLEAN_SIGNALS = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE})


@dataclass(frozen=True, slots=True)
class Service:
    """A program (absolute path) to keep alive. `output`: the file that takes its stdout and stderr."""

    name: str
    command: tuple[str, ...]
    output: Path
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Restarts:
    """Seconds before a restart: `first_s`, doubled up to `longest_s` while lives are shorter than `settled_s`.

    After `burst` short lives in a row that ended by an exit code, the service has failed. A kill never counts.
    """

    first_s: float = 0.1
    longest_s: float = 5.0
    settled_s: float = 120.0
    burst: int = 4


@dataclass(frozen=True, slots=True)
class Started:
    """A process was started at `at` (seconds since the epoch). `after`: the exit status of the life before, if any."""

    name: str
    at: float
    after: int | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """A process ended: `code` is the exit status, negative for a signal. `final`: it is not started again, `retired`
    since it was never to be."""

    name: str
    code: int
    final: bool
    retired: bool = False

    @property
    def failed(self) -> bool:
        return self.final and not self.retired and self.code != 0 and -self.code not in CLEAN_SIGNALS

    def __str__(self) -> str:
        if self.code < 0:
            return f"{self.name} was ended by {signal.Signals(-self.code).name}"
        return f"{self.name} ended with exit code {self.code}"


@dataclass(slots=True)
class _Life:
    """One service's present process and its history."""

    service: Service
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    due: float | None = None
    short_lives: int = 0
    restarts: int = 0
    peak_mib: float = 0.0
    child_peak_mib: float = 0.0
    ended: Ended | None = None
    retired: bool = False


class Supervisor:
    """`start` them, `tend` often, `stop` at the end. Not a task of its own: the caller's loop is the only loop."""

    def __init__(self, services: Iterable[Service], restarts: Restarts | None = None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._lives = {service.name: _Life(service) for service in services}
        self._policy, self._clock = restarts or Restarts(), clock
        self.starts: list[Started] = []

    @property
    def pids(self) -> dict[str, int]:
        return {name: life.process.pid for name, life in self._lives.items() if life.process is not None}

    @property
    def restarts(self) -> dict[str, int]:
        return {name: life.restarts for name, life in self._lives.items()}

    @property
    def peaks_mib(self) -> dict[str, tuple[float, float]]:
        """Largest resident sizes seen: of the process, and of its largest child."""
        return {name: (life.peak_mib, life.child_peak_mib) for name, life in self._lives.items()}

    @property
    def finished(self) -> bool:
        """Nobody runs, and nobody is to be started again."""
        return all(life.ended is not None and life.ended.final for life in self._lives.values())

    def start(self, name: str | None = None) -> None:
        """Start one service, or all. Raises OSError if a program cannot be started."""
        for life in self._lives.values():
            if name in (None, life.service.name) and life.process is None:
                self._spawn(life)

    def retire(self, name: str) -> None:
        """Kill it now, and never start it again."""
        life = self._lives[name]
        life.retired, life.due = True, None
        if life.process is not None:
            processes.kill_session(life.process.pid)
        elif life.ended is not None:
            life.ended = replace(life.ended, final=True, retired=True)

    def tend(self) -> list[Ended]:
        """Reap what died, start what is due again, measure the others. Returns who ended since the last call."""
        now, news = self._clock(), []
        for life in self._lives.values():
            if life.process is None:
                if life.due is not None and now >= life.due:
                    life.restarts += 1
                    self._spawn(life)
                continue
            code = life.process.poll()
            if code is None:
                self._measure(life)
            else:
                news.append(self._bury(life, code, now))
        processes.reap_adopted(self.pids.values())
        return news

    async def stop(self, grace_s: float) -> None:
        """End all: SIGTERM, and SIGKILL to the whole session of whoever is left after `grace_s` seconds."""
        for life in self._lives.values():
            life.due = None
        self._signal(signal.SIGCONT, signal.SIGTERM)
        until = self._clock() + grace_s
        while self._running() and self._clock() < until:
            await asyncio.sleep(0.05)
        self._signal(signal.SIGKILL)
        while self._running():
            await asyncio.sleep(0.01)

    def _spawn(self, life: _Life) -> None:
        after = None if life.ended is None else life.ended.code
        life.due, life.began, life.ended = None, self._clock(), None
        self.starts.append(Started(life.service.name, time.time(), after))
        life.process = spawn(life.service)

    def _bury(self, life: _Life, code: int, now: float) -> Ended:
        life.process = None
        failed_soon = code > 0 and now - life.began < self._policy.settled_s
        life.short_lives = life.short_lives + 1 if failed_soon else 0
        wait_s = self._policy.first_s * 2 ** max(life.short_lives - 1, 0)
        wanted = code == 0 or code in PERSON_CODES or -code in CLEAN_SIGNALS
        stays_down = life.retired or wanted or life.short_lives >= self._policy.burst
        life.due = None if stays_down else now + min(wait_s, self._policy.longest_s)
        life.ended = Ended(life.service.name, code, stays_down, life.retired)
        return life.ended

    def _measure(self, life: _Life) -> None:
        assert life.process is not None
        life.peak_mib = max(life.peak_mib, processes.peak_mib(life.process.pid))
        for child in processes.children(life.process.pid):
            life.child_peak_mib = max(life.child_peak_mib, processes.peak_mib(child))

    def _running(self) -> list[subprocess.Popen[bytes]]:
        started = [life.process for life in self._lives.values() if life.process is not None]
        return [process for process in started if process.poll() is None]

    def _signal(self, *signals: signal.Signals) -> None:
        for process in self._running():
            for one in signals:
                if one is signal.SIGKILL:
                    processes.kill_session(process.pid)
                else:
                    process.send_signal(one)


def spawn(service: Service) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, tied to this process's life. Raises OSError."""
    program: Sequence[str] = (sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *service.command)
    service.output.parent.mkdir(parents=True, exist_ok=True)
    with service.output.open("ab") as output:
        return subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                                env={**os.environ, **service.environment})
