"""The real `agents.effects.ports.Clock`; a simulation passes a virtual one."""

from __future__ import annotations

import asyncio
import time


class WallClock:
    """Seconds since the epoch, and real sleeping."""

    def time(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
