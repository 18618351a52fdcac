"""The real `agents.effects.ports.Clock`; a simulation passes a virtual one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class WallClock:
    """Seconds since the epoch, and the running loop's timers."""

    def time(self) -> float:
        return time.time()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, callback)
