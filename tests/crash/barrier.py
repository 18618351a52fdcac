"""The way of every transaction to the chain, barred where a test wants a phase to last; on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web
from eth_account import Account

from bfl_events.schema import Address
from tests.anvil import Anvil
from tests.system.chronicle import function_of
from tests.system.proxy import Gate, Proxy

ACTS = ("commitModel", "openModel", "commitScores", "submitScore", "attestFinal")
EVERYBODYS = "nextRound"


class Barrier(Gate):
    """The keeper's acts wait here, and everybody's `nextRound`, but for the one function that it `lets` pass.

    `waiting`: (sender, function) of what is held back. `lets` None: all passes.
    """

    def __init__(self, anvil: Anvil, keeper: Address) -> None:
        super().__init__(anvil)
        self.keeper = keeper
        self.lets: str | None = ""
        self.waiting: set[tuple[Address, str]] = set()
        self.url = ""
        self._deaths = Counter[Address]()

    def hang_up(self, sender: Address) -> None:
        """It died: what it sent and has not passed is lost."""
        self._deaths[sender] += 1

    async def pass_on(self, call: dict[str, Any]) -> dict[str, Any]:
        if call["method"] == "eth_sendRawTransaction":
            raw = bytes.fromhex(call["params"][0][2:])
            await self._wait(Account.recover_transaction(raw), function_of(raw))
        return await super().pass_on(call)

    async def _wait(self, sender: Address, function: str) -> None:
        deaths = self._deaths[sender]
        try:
            while self._bars(sender, function):
                self.waiting.add((sender, function))
                await asyncio.sleep(0.01)
                if self._deaths[sender] != deaths:
                    raise web.HTTPBadGateway
        finally:
            self.waiting.discard((sender, function))

    def _bars(self, sender: Address, function: str) -> bool:
        guarded = function == EVERYBODYS or (sender == self.keeper and function in ACTS)
        return self.lets is not None and guarded and function != self.lets


@contextmanager
def barrier(anvil: Anvil, keeper: Address) -> Iterator[Barrier]:
    """Listening at its `url`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    ended = asyncio.Event()

    async def serve(listening: asyncio.Future[Barrier]) -> None:
        async with Barrier(anvil, keeper) as made, Proxy(made) as proxy:
            made.url = proxy.url
            listening.set_result(made)
            await ended.wait()

    async def begin() -> tuple[Barrier, asyncio.Task[None]]:
        listening: asyncio.Future[Barrier] = loop.create_future()
        serving = loop.create_task(serve(listening))
        return await listening, serving

    async def end(serving: asyncio.Task[None]) -> None:
        ended.set()
        await serving

    try:
        made, serving = asyncio.run_coroutine_threadsafe(begin(), loop).result(20)
        try:
            yield made
        finally:
            made.lets = None
            asyncio.run_coroutine_threadsafe(end(serving), loop).result(20)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()
