"""Drives the learning child: one request at a time, set up again after every start, killed when it is not wanted.

Owns the child's life. Must not import `agents.learning`: torch lives on the other side of the pipe.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from agents.effects.child_process import ChildEnded, ChildProcess, Launch
from agents.effects.ports import LearnerFailed, Progress, Transient
from bfl_events.boundaries import childs_environment

_SETUP_S = 300.0        # a first start reads torch from a cold disk
_ROOT = Path(__file__).resolve().parents[2]


def learning_command(python: str = sys.executable) -> tuple[str, ...]:
    """The child of `agents.learning`. -P: nothing in its working directory is ever imported."""
    return (python, "-P", "-m", "agents.learning.child")


class ChildLearner:
    """`agents.effects.ports.Learner`. `setup`: the fields of the child's setup request; `workdir`: its directory and,
    by default, the place of its log. The process starts with the first request, and again when it is gone."""

    def __init__(self, setup: Mapping[str, Any], workdir: Path, *, command: Sequence[str] | None = None,
                 log: Path | None = None, nice: int = 0, grace_s: float = 2.0) -> None:
        self._setup, self._grace_s = dict(setup), grace_s
        self._launch = Launch(tuple(command or learning_command()), workdir, _environment(),
                              log or workdir / "learner.log", nice)
        self._child: ChildProcess | None = None
        self._turn = asyncio.Lock()
        self._ids = count(1)
        self._winding: asyncio.Task[None] | None = None
        self._closed = False
        self.warnings: tuple[str, ...] = ()

    @property
    def pid(self) -> int | None:
        """The running child's."""
        return self._child.pid if self._child is not None and self._child.alive else None

    async def request(self, operation: str, fields: Mapping[str, Any], progress: Progress | None = None
                      ) -> Mapping[str, Any]:
        """The child's answer. Raises LearnerFailed for an error it reports, Transient if it died or wrote nonsense.

        Cancelled, the request has `grace_s` to end by itself, so that a nearly finished child is kept; then it is
        killed.
        """
        async with self._turn:
            child = await self._ready()
            return await self._converse(child, operation, fields, progress)

    async def restart(self) -> None:
        """Kill the child: its running request is no longer wanted (it raises Transient). The next starts it again."""
        if self._child is not None:
            self._child.kill()

    def wind_up(self) -> None:
        """Training, if it runs, ends at its next checkpoint; everything else ends as it would."""
        if self._child is not None:
            self._child.interrupt()

    async def aclose(self) -> None:
        """End of file, then SIGKILL after the grace. No child is left."""
        self._closed = True
        await self._wound_down()
        if self._child is not None:
            child, self._child = self._child, None
            await child.end(self._grace_s)

    # ---- one conversation

    async def _ready(self) -> ChildProcess:
        await self._wound_down()
        if self._closed:
            raise Transient("the learner was closed")
        if self._child is not None and self._child.alive:
            return self._child
        await self._discard()
        try:
            environment = {**self._launch.environment, **childs_environment()}
            child = self._child = await ChildProcess.start(replace(self._launch, environment=environment))
        except OSError as error:
            raise Transient(f"the learning process cannot be started: {error}") from error
        try:
            async with asyncio.timeout(_SETUP_S):
                answer = await self._converse(child, "setup", self._setup, None)
        except LearnerFailed:
            await self._discard()
            raise
        except TimeoutError:
            await self._discard()
            raise Transient(f"the learning process was not ready after {_SETUP_S:.0f} s") from None
        self.warnings = tuple(map(str, answer.get("warnings", ())))
        return child

    async def _converse(self, child: ChildProcess, operation: str, fields: Mapping[str, Any], progress: Progress | None
                        ) -> Mapping[str, Any]:
        number = next(self._ids)
        try:
            child.write({**fields, "id": number, "op": operation})
            return await _final(child, number, progress)
        except ChildEnded as error:
            await self._discard()
            raise Transient(f"the learning process died in {operation}: {error}; it starts again") from error
        except LearnerFailed:
            raise
        except BaseException:                       # cancelled, or the caller's own progress function failed
            self._winding = asyncio.create_task(self._wind_down(child, number, keep_failed=operation != "setup"))
            raise

    async def _wind_down(self, child: ChildProcess, number: int, *, keep_failed: bool) -> None:
        """Nobody waits for the answer any more; who asks next waits for this."""
        try:
            async with asyncio.timeout(self._grace_s):
                await _final(child, number, None)
        except LearnerFailed:
            if not keep_failed:
                await self._discard()
        except (TimeoutError, ChildEnded):
            await self._discard()

    async def _wound_down(self) -> None:
        if self._winding is not None:
            await asyncio.shield(self._winding)
            self._winding = None

    async def _discard(self) -> None:
        if self._child is not None:
            child, self._child = self._child, None
            child.kill()
            await child.end(self._grace_s)


async def _final(child: ChildProcess, number: int, progress: Progress | None) -> Mapping[str, Any]:
    while True:
        match await child.read():
            case {"id": int(other)} if other < number:
                continue                            # the answer to a request that was given up
            case {"id": int(own), "progress": dict(values)} if own == number:
                if progress is not None:
                    progress(values)
            case {"id": int(own), "ok": dict(answer)} if own == number:
                return answer
            case {"id": int(own), "error": dict(error)} if own == number:
                raise LearnerFailed(str(error.get("kind", "internal")), str(error.get("message", "no reason given")),
                                    str(error.get("do", "")))
            case other:
                child.kill()
                raise ChildEnded(f"it answered {str(other)[:120]} to request {number}, and was killed")


def _environment() -> dict[str, str]:
    """This process's, without its secrets; the child finds this package wherever it was started from."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BFL_")}
    path = kept.get("PYTHONPATH")
    return kept | {"PYTHONPATH": f"{_ROOT}{os.pathsep}{path}" if path else str(_ROOT), "PYTHONUNBUFFERED": "1"}
