"""What the kernel says about processes: memory peaks, children, orphans. Linux only, from /proc."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_LOWEST = 19


def adopt_orphans() -> None:
    """From now on, whoever loses its parent below this process becomes its child, so that nobody is left unseen."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children(pid: int) -> list[int]:
    """Pids of all threads' children, empty if the process is gone."""
    found: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (thread / "children").read_text().split())
    return found


def descendants(pid: int) -> list[int]:
    """All below a process, parents before children."""
    direct = children(pid)
    return direct + [below for child in direct for below in descendants(child)]


def peak_mib(pid: int) -> float:
    """The largest resident size so far, 0 if the process is gone."""
    with suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def command_line(pid: int) -> str:
    """As `ps` shows it, empty if the process is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def lower_priority(word: str) -> bool:
    """Let this process's own children with `word` in their command line run only when nobody else wants to."""
    found = [pid for pid in children(os.getpid()) if word in command_line(pid)]
    for pid in found:
        with suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, pid, _LOWEST)
    return bool(found)


def kill_session(leader: int) -> None:
    """SIGKILL to the group that a process leads."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def reap_adopted(own: Iterable[int]) -> None:
    """Bury dead orphans that became children of this process; `own` children are somebody else's to reap."""
    known = set(own)
    for pid in children(os.getpid()):
        if pid not in known and _is_zombie(pid):
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def end_strangers(own: Iterable[int] = ()) -> list[str]:
    """Kill every descendant that is not `own`; returns their command lines."""
    known = set(own)
    left = [pid for pid in descendants(os.getpid()) if pid not in known and not _is_zombie(pid)]
    names = [command_line(pid) for pid in left]
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return names


def _is_zombie(pid: int) -> bool:
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True
