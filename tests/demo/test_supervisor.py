"""The demo's supervision, with small real processes in place of agents."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.demo import processes
from agents.demo.supervisor import Ended, Restarts, Service, Supervisor

QUICK = Restarts(first_s=0.01, longest_s=0.05, settled_s=60, burst=3)


def until(condition: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        os.sched_yield()


def service(tmp_path: Path, code: str, name: str = "a") -> Service:
    return Service(name, (sys.executable, "-I", "-c", code), tmp_path / f"{name}.log")


def alive(pid: int) -> bool:
    return bool(processes.command_line(pid))


def tend_until(supervisor: Supervisor, condition: Callable[[list[Ended]], object]) -> list[Ended]:
    seen: list[Ended] = []

    def done() -> object:
        seen.extend(supervisor.tend())
        return condition(seen)

    until(done)
    return seen


SLEEP = "import signal; print('up', flush=True); signal.pause()"


async def test_a_killed_process_is_started_again_and_counted(tmp_path: Path) -> None:
    supervisor = Supervisor([service(tmp_path, SLEEP)], QUICK)
    supervisor.start()
    first = supervisor.pids["a"]
    os.kill(first, signal.SIGKILL)
    tend_until(supervisor, lambda _: supervisor.pids.get("a", first) != first)
    assert supervisor.restarts == {"a": 1}
    assert not supervisor.finished
    await supervisor.stop(0)


@pytest.mark.parametrize("code", [0, 2, 10, 11, 12, 14, 19])
def test_a_process_that_is_done_or_needs_a_person_is_not_started_again(tmp_path: Path, code: int) -> None:
    supervisor = Supervisor([service(tmp_path, f"raise SystemExit({code})")], QUICK)
    supervisor.start()
    (ended,) = tend_until(supervisor, lambda seen: seen)
    assert supervisor.finished
    assert ended.failed == (code != 0)
    assert supervisor.restarts == {"a": 0}


def test_an_operator_may_stop_an_agent_without_it_coming_back(tmp_path: Path) -> None:
    supervisor = Supervisor([service(tmp_path, SLEEP)], QUICK)
    supervisor.start()
    until((tmp_path / "a.log").read_text)
    os.kill(supervisor.pids["a"], signal.SIGTERM)
    (ended,) = tend_until(supervisor, lambda seen: seen)
    assert supervisor.finished
    assert not ended.failed


def test_a_process_that_keeps_failing_is_given_up(tmp_path: Path) -> None:
    supervisor = Supervisor([service(tmp_path, "raise SystemExit(1)")], QUICK)
    supervisor.start()
    seen = tend_until(supervisor, lambda _: supervisor.finished)
    assert [ended.final for ended in seen] == [False, False, True]
    assert str(seen[-1]) == "a ended with exit code 1"
    assert supervisor.restarts == {"a": 2}


async def test_kills_never_count_as_failure(tmp_path: Path) -> None:
    supervisor = Supervisor([service(tmp_path, SLEEP)], QUICK)
    supervisor.start()
    for _ in range(5):
        tend_until(supervisor, lambda _: supervisor.pids)
        os.kill(supervisor.pids["a"], signal.SIGKILL)
        tend_until(supervisor, lambda seen: seen)
    tend_until(supervisor, lambda _: supervisor.pids)
    assert supervisor.restarts == {"a": 5}
    await supervisor.stop(0)


def test_whoever_is_retired_stays_down_and_has_not_failed(tmp_path: Path) -> None:
    supervisor = Supervisor([service(tmp_path, SLEEP)], QUICK)
    supervisor.start()
    supervisor.retire("a")
    (ended,) = tend_until(supervisor, lambda _: supervisor.finished)
    assert (ended.final, ended.failed) == (True, False)
    assert supervisor.restarts == {"a": 0}


def test_whoever_is_retired_between_two_lives_is_not_started_again(tmp_path: Path) -> None:
    supervisor = Supervisor([service(tmp_path, SLEEP)], Restarts(first_s=0.0))
    supervisor.start()
    os.kill(supervisor.pids["a"], signal.SIGKILL)
    until(supervisor.tend)
    supervisor.retire("a")
    assert supervisor.finished
    assert not supervisor.tend()
    assert not supervisor.pids


async def test_stop_ends_even_who_ignores_it_and_whom_he_started(tmp_path: Path) -> None:
    stubborn = ("import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
                "p = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']); "
                "print(p.pid, flush=True); p.wait()")
    supervisor = Supervisor([service(tmp_path, stubborn)], QUICK)
    supervisor.start()
    until(lambda: (tmp_path / "a.log").read_text().endswith("\n"))
    child, parent = int((tmp_path / "a.log").read_text()), supervisor.pids["a"]
    supervisor.tend()
    await supervisor.stop(0.1)
    until(lambda: not alive(parent) and not alive(child))


async def test_memory_of_a_process_and_its_child_is_measured(tmp_path: Path) -> None:
    hungry = ("import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', "
              "'x = bytes(range(256)) * 300_000; print(1, flush=True); import signal; signal.pause()']); p.wait()")
    supervisor = Supervisor([service(tmp_path, hungry)], QUICK)
    supervisor.start()
    until((tmp_path / "a.log").read_text)
    supervisor.tend()
    own, child = supervisor.peaks_mib["a"]
    assert 1 < own < 60
    assert child > 73
    await supervisor.stop(0)


SUPERVISE = """
import sys, time
from pathlib import Path
from agents.demo.supervisor import Service, Supervisor
folder = Path(sys.argv[1])
supervisor = Supervisor([Service(n, (sys.executable, "-I", "-c", sys.argv[2]), folder / n) for n in ("x", "y")])
supervisor.start()
print(*supervisor.pids.values(), flush=True)
while not supervisor.finished:
    supervisor.tend()
    time.sleep(0.01)
print("finished", flush=True)
"""


def supervise(folder: Path, code: str) -> tuple[subprocess.Popen[str], list[int]]:
    command = [sys.executable, "-c", SUPERVISE, str(folder), code]
    outer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert outer.stdout is not None
    return outer, [int(pid) for pid in outer.stdout.readline().split()]


def test_nobody_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    outer, pids = supervise(tmp_path, SLEEP)
    until(lambda: all((tmp_path / name).read_text() for name in ("x", "y")))
    assert all(alive(pid) for pid in pids)
    with outer:
        outer.kill()
    until(lambda: not any(alive(pid) for pid in pids))


def test_a_frozen_supervisor_stops_nobody(tmp_path: Path) -> None:
    """They write more than any pipe would hold, wait for a sign, and end, all while the supervisor sleeps."""
    code = f"print('-' * 300_000, flush=True)\nimport os\nwhile not os.path.exists({str(tmp_path / 'go')!r}): pass"
    outer, pids = supervise(tmp_path, code)
    with outer:
        outer.send_signal(signal.SIGSTOP)
        try:
            until(lambda: (tmp_path / "x").stat().st_size > 300_000)
            (tmp_path / "go").touch()
            until(lambda: not any(alive(pid) for pid in pids))      # a zombie has no command line
        finally:
            outer.send_signal(signal.SIGCONT)
        assert outer.communicate(timeout=10)[0] == "finished\n"


ORPHAN = """
import os, subprocess, sys
from agents.demo import processes
processes.adopt_orphans()
nested = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])"
subprocess.run([sys.executable, "-c", nested], check=True)
left = processes.end_strangers()
print(len(left), "pause" in left[0])
while processes.children(os.getpid()):
    processes.reap_adopted(())
print("none")
"""


def test_an_orphan_is_adopted_named_and_ended() -> None:
    done = subprocess.run([sys.executable, "-c", ORPHAN], capture_output=True, text=True, check=True, timeout=20,
                          cwd=Path(__file__).parents[2])
    assert done.stdout.split() == ["1", "True", "none"]
