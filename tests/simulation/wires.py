"""One agent's wires to the outside: latency, being cut off, and the places where it may be killed.

Owns what happens between an agent and whatever it asks. Every crossing is counted, so that a kill can be aimed at one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Any, NoReturn

from bfl_events.rpc import RpcRefused, Unavailable
from tests.simulation.endpoint import Endpoint, Silence
from tests.simulation.ledger import Block

ATTEMPT_S = 2.0
LATENCY_S = 0.05
SHARE_OF_SLOW = 0.25
"""The others are answered at once, without a turn of the loop: a hundred thousand of them make a minute."""


class Wires:
    """`cut`: nothing gets through. `at_crossing(n)` is called at each crossing, before and after it."""

    def __init__(self, dice: Random, at_crossing: Callable[[], bool]) -> None:
        self.cut = False
        self._dice, self._at_crossing = dice, at_crossing

    def passes(self) -> bool:
        """Whether a request gets out at once, as most do. If not, it takes the way by `out`."""
        return not self.cut and self._dice.random() >= SHARE_OF_SLOW and not self._at_crossing()

    async def out(self, extra_s: float = 0.0) -> bool:
        """A request leaves slowly; whether it gets anywhere. One that does not takes a while to show it."""
        if self._at_crossing():
            await self.end()
        await asyncio.sleep(extra_s + self._dice.uniform(0, LATENCY_S))
        if self.cut:
            await asyncio.sleep(self._dice.choice((0.01, 0.5, ATTEMPT_S)))
        return not self.cut

    async def back(self) -> None:
        """The answer arrives, and with it the last moment to die before knowing it."""
        if self._at_crossing():
            await self.end()

    @staticmethod
    async def end() -> None:
        """The process ends here."""
        await asyncio.get_running_loop().create_future()


class WiredRpc:
    """What the outbox, the contracts and the event source ask: `RpcCaller` and `Reads` over the endpoints."""

    def __init__(self, endpoints: Sequence[Endpoint], wires: Wires, first: int) -> None:
        self._endpoints, self._wires, self.current = endpoints, wires, first

    def name(self, endpoint: int) -> str:
        return f"node {endpoint}"

    def others(self, endpoint: int) -> Sequence[int]:
        return [index for index in range(len(self._endpoints)) if index != endpoint]

    def blame(self, endpoint: int, why: str) -> None:
        if endpoint == self.current and (others := self.others(endpoint)):
            self.current = others[0]

    async def call(self, method: str, *params: Any) -> Any:
        first = self.current
        try:
            return await self.call_on(first, method, *params)
        except Unavailable as error:
            self.blame(first, str(error))
        for endpoint in self.others(first):
            try:
                return await self.call_on(endpoint, method, *params)
            except Unavailable as error:
                self.blame(endpoint, str(error))
        raise Unavailable(f"nobody answered {method}")

    async def call_on(self, endpoint: int, method: str, *params: Any) -> Any:
        if not self._wires.passes() and not await self._wires.out():
            raise Unavailable("no way out")
        try:
            answer = self._endpoints[endpoint].ask(method, params)
        except Silence as silence:
            await self._silent(endpoint, silence)
        await self._wires.back()
        return answer

    def tell_others(self, method: str, *params: Any) -> None:
        for endpoint in self.others(self.current):
            asyncio.create_task(self._tell(endpoint, method, *params))

    async def _tell(self, endpoint: int, method: str, *params: Any) -> None:
        with suppress(Unavailable, RpcRefused):
            await self.call_on(endpoint, method, *params)

    async def chain(self) -> list[Block]:
        """The current endpoint's blocks. Raises Unavailable, after which another endpoint is current."""
        endpoint = self.current
        if not self._wires.passes() and not await self._wires.out():
            raise Unavailable("no way out")
        try:
            return self._endpoints[endpoint].blocks()
        except Silence as silence:
            self.blame(endpoint, str(silence))
            await self._silent(endpoint, silence)

    def clock(self) -> int:
        """The current endpoint's."""
        return self._endpoints[self.current].clock()

    async def _silent(self, endpoint: int, silence: Silence) -> NoReturn:
        if not silence.at_once:
            await asyncio.sleep(ATTEMPT_S)
        raise Unavailable(f"{self.name(endpoint)}: {silence}") from None
