"""How an agent ends when it is told to: the first word drains it, the second ends the process at once.

Owns the signals and what `status` and /readyz say meanwhile. What is finished first is the loop's business.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from agents.health import Health
from agents.telemetry import Log, Marker

SECOND_SIGNAL_EXIT = 130
PART = "agent"      # what health calls the trouble of being told to end


class Shutdown:
    """`asked` once somebody wants the end. `limit_s`: seconds for what the agent is doing."""

    def __init__(self, limit_s: float, health: Health, log: Log) -> None:
        self._limit_s, self._health, self._log = limit_s, health, log
        self._drain: Callable[[float], None] | None = None
        self._start: asyncio.Task[object] | None = None
        self._broken_off = False
        self.asked = False

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Inside, being asked breaks off: what starts has nothing to finish. Swallows the cancellation it causes."""
        self._start = start = asyncio.current_task()
        assert start is not None
        try:
            yield
        except asyncio.CancelledError:
            if not self._broken_off:
                raise
            start.uncancel()
        finally:
            self._start = None

    def started(self, drain: Callable[[float], None]) -> None:
        """From now on being asked means `drain(limit_s)`."""
        self._drain, self._start = drain, None

    def ask(self) -> None:
        """Somebody wants the end, by a signal or through the control socket. Once is enough."""
        if self.asked:
            return
        self.asked = True
        sentence = f"draining: it finishes or journals what it is doing, within {self._limit_s:g} s, and starts nothing"
        self._health.trouble(PART, sentence)
        self._log.info(Marker.AGENT_DRAINING, limit_s=self._limit_s)
        if self._drain is not None:
            self._drain(self._limit_s)
        elif self._start is not None:
            self._broken_off = True
            self._start.cancel()

    @contextmanager
    def signals(self) -> Iterator[None]:
        """The first SIGTERM or SIGINT asks, the second ends the process at once: all that matters is on disk."""
        loop = asyncio.get_running_loop()

        def told() -> None:
            if self.asked:
                os._exit(SECOND_SIGNAL_EXIT)
            self.ask()

        handled = (signal.SIGTERM, signal.SIGINT)
        for number in handled:
            loop.add_signal_handler(number, told)
        try:
            yield
        finally:
            for number in handled:
                loop.remove_signal_handler(number)
