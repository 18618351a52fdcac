"""A WebSocket subscription to new heads, used only to wake somebody who then looks for himself.

Owns the reconnecting. What the messages say is ignored: they are missing after a revert and lost in every gap.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

FIRST_BACKOFF_S: Final = 0.1
LAST_BACKOFF_S: Final = 30.0
_SUBSCRIBE: Final = '{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}'


async def listen(url: str, ring: Callable[[], None]) -> None:
    """Call `ring` for every message from `url`, and after each (re)connection, until cancelled. Never raises for a
    connection that fails: a frozen one is noticed within 10 s, and retries come at growing distances."""
    backoff = FIRST_BACKOFF_S
    while True:
        try:
            async with connect(
                url, open_timeout=3, ping_interval=5, ping_timeout=5, close_timeout=1, max_size=1 << 20, proxy=None
            ) as socket:
                await socket.send(_SUBSCRIBE)
                ring()
                async for _ in socket:
                    backoff = FIRST_BACKOFF_S
                    ring()
        except (OSError, WebSocketException, TimeoutError):
            pass
        await asyncio.sleep(backoff)
        backoff = min(backoff * 2, LAST_BACKOFF_S)
