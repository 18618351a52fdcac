"""One child process that speaks JSON lines: started, written to, read from, ended.

Owns the process, its pipes and their limits: nothing it writes can exhaust this process or its disk. Must not know what
the messages mean.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

MAX_LINE_BYTES = 4 << 20
MAX_WAITING_LINES = 10_000
MAX_LOG_BYTES = 4 << 20
_TAIL_BYTES = 2_000
_LAST_WORDS_S = 0.5      # after the exit: for what is still in the pipes, which a grandchild may hold open


class ChildEnded(Exception):
    """It is gone, or it wrote what is no message and was killed for it. The text says which, and its last words."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start it. `nice`: added to this process's own; `log`: gets its stderr, at most twice MAX_LOG_BYTES."""

    argv: Sequence[str]
    cwd: Path
    environment: Mapping[str, str]
    log: Path
    nice: int = 0


class ChildProcess:
    """In a session of its own, so that Ctrl-C in the terminal leaves its end to the caller."""

    def __init__(self, transport: asyncio.SubprocessTransport, pipes: _Pipes) -> None:
        self._transport, self._pipes, self._killed = transport, pipes, False
        self.pid = transport.get_pid()

    @classmethod
    async def start(cls, launch: Launch) -> Self:
        """Raises OSError."""
        launch.cwd.mkdir(parents=True, exist_ok=True)
        loop = asyncio.get_running_loop()
        transport, pipes = await loop.subprocess_exec(
            lambda: _Pipes(BoundedLog(launch.log)), *launch.argv, cwd=str(launch.cwd), env=dict(launch.environment),
            start_new_session=True)
        if launch.nice:
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, transport.get_pid(), os.getpriority(os.PRIO_PROCESS, 0) + launch.nice)
        return cls(transport, pipes)

    @property
    def alive(self) -> bool:
        return not self._killed and self._transport.get_returncode() is None and not self._pipes.broken

    def write(self, message: Mapping[str, Any]) -> None:
        """Raises ChildEnded."""
        stdin = cast("asyncio.WriteTransport | None", self._transport.get_pipe_transport(0))   # uvloop's is no subclass
        if not self.alive or stdin is None or stdin.is_closing():
            raise ChildEnded(self._obituary())
        stdin.write(json.dumps(message, separators=(",", ":"), allow_nan=False).encode() + b"\n")

    async def read(self) -> dict[str, Any]:
        """Its next message. Raises ChildEnded: at its end, and for anything that is no JSON object on a line."""
        line = await self._pipes.next_line()
        if line is None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._pipes.exited.wait(), _LAST_WORDS_S)
            raise ChildEnded(self._obituary())
        try:
            message = json.loads(line)
            if not isinstance(message, dict):
                raise TypeError
        except (ValueError, TypeError, RecursionError):
            self.kill()
            raise ChildEnded(f"it wrote {line[:80]!r} where an answer belongs, and was killed") from None
        return message

    def interrupt(self) -> None:
        """SIGTERM to it alone: it ends what it does where that is cheap."""
        if self.alive:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """It and whatever it started, at once."""
        self._killed = True
        if self._transport.get_returncode() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    async def end(self, grace_s: float) -> None:
        """End of file on its stdin; killed if it is still there after the grace. Returns when it is gone."""
        stdin = self._transport.get_pipe_transport(0)
        if stdin is not None:
            stdin.close()
        try:
            await asyncio.wait_for(self._pipes.exited.wait(), grace_s)
        except TimeoutError:
            self.kill()
            await self._pipes.exited.wait()
        finally:
            self._transport.close()

    def _obituary(self) -> str:
        code = self._transport.get_returncode()
        if self._pipes.complaint:
            how = self._pipes.complaint
        elif code is None:
            how = "it closed its answers"
        elif code < 0:
            how = f"it was killed by signal {-code}" + (" (out of memory?)" if code == -signal.SIGKILL else "")
        else:
            how = f"it ended with status {code}"
        words = self._pipes.log.tail.decode(errors="replace").strip().splitlines()
        return f"{how}; its last words: {words[-1][:300]}" if words else how


class BoundedLog:
    """A file that keeps the last one to two MAX_LOG_BYTES. Losing it is no failure."""

    def __init__(self, path: Path) -> None:
        self._path, self.tail = path, b""

    def write(self, data: bytes) -> None:
        self.tail = (self.tail + data)[-_TAIL_BYTES:]
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists() and self._path.stat().st_size + len(data) > MAX_LOG_BYTES:
                self._path.replace(self._path.with_name(self._path.name + ".1"))
            with self._path.open("ab") as file:
                file.write(data[-MAX_LOG_BYTES:])


class _Pipes(asyncio.SubprocessProtocol):
    """Cuts stdout into lines. `broken`: it wrote too much, too long; `complaint` says so."""

    def __init__(self, log: BoundedLog) -> None:
        self.log = log
        self.exited = asyncio.Event()
        self.broken, self.complaint = False, ""
        self._lines: deque[bytes | None] = deque()
        self._arrived = asyncio.Event()
        self._partial = bytearray()
        self._transport: asyncio.SubprocessTransport | None = None

    async def next_line(self) -> bytes | None:
        """None at the end, for ever."""
        while not self._lines:
            self._arrived.clear()
            await self._arrived.wait()
        return self._lines.popleft() if self._lines[0] is not None else None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.SubprocessTransport):
            self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 2:
            self.log.write(data)
        elif not self.broken:
            *lines, rest = (bytes(self._partial) + data).split(b"\n")
            self._partial = bytearray(rest)
            self._lines.extend(lines)
            self._arrived.set()
            if len(rest) > MAX_LINE_BYTES or any(len(line) > MAX_LINE_BYTES for line in lines):
                self._break(f"it wrote a line of more than {MAX_LINE_BYTES >> 20} MiB and was killed")
            elif len(self._lines) > MAX_WAITING_LINES:
                self._break("it wrote answers that nobody had asked for and was killed")

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1:
            self._end()

    def process_exited(self) -> None:
        self._kill_group()                      # what it started ends with it; only now is its id certainly not reused
        self.exited.set()
        asyncio.get_running_loop().call_later(_LAST_WORDS_S, self._end)

    def _end(self) -> None:
        if not self._lines or self._lines[-1] is not None:
            self._lines.append(None)
        self._arrived.set()

    def _break(self, complaint: str) -> None:
        self.broken, self.complaint = True, complaint
        self._partial.clear()
        self._lines.clear()
        self._end()
        self._kill_group()

    def _kill_group(self) -> None:
        if self._transport is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._transport.get_pid(), signal.SIGKILL)
