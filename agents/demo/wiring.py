"""Every participant's ways to the chain and to the store, each through a relay of its own that can be troubled."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Final

from agents.demo.relay import Relay, Trouble

ENDPOINTS: Final = 2        # each agent's RPC endpoints; they fail apart


@dataclass(frozen=True, slots=True)
class Ways:
    """One participant's. All of `chain` lead to the same node."""

    chain: tuple[Relay, ...]
    store: Relay

    @property
    def rpc(self) -> tuple[str, ...]:
        return tuple(f"http://127.0.0.1:{relay.port}" for relay in self.chain)

    @property
    def store_address(self) -> str:
        return f"http://127.0.0.1:{self.store.port}"


class Wiring:
    """By name. Trouble is laid on a way and taken off again; of two at once the later one shows, until it ends."""

    def __init__(self, ways: Mapping[str, Ways]) -> None:
        self.ways = ways
        self._laid: dict[Relay, dict[int, Trouble]] = {}
        self._numbers = count()

    def lay(self, relays: Iterable[Relay], trouble: Trouble) -> int:
        """Returns what `lift` wants."""
        number = next(self._numbers)
        for relay in relays:
            self._laid.setdefault(relay, {})[number] = trouble
            self._show(relay)
        return number

    def lift(self, number: int) -> None:
        for relay, troubles in self._laid.items():
            if troubles.pop(number, None) is not None:
                self._show(relay)

    def heal(self) -> None:
        """No way has any trouble."""
        for relay, troubles in self._laid.items():
            troubles.clear()
            self._show(relay)

    def _show(self, relay: Relay) -> None:
        latest = self._laid[relay]
        wanted = latest[max(latest)] if latest else Trouble.NONE
        if relay.trouble is not wanted:
            relay.trouble = wanted


@asynccontextmanager
async def open_wiring(names: Iterable[str], chain_port: int, store_port: int) -> AsyncIterator[Wiring]:
    """Relays for all, closed with the context."""
    async with AsyncExitStack() as stack:
        ways = {}
        for name in names:
            chain = [await stack.enter_async_context(Relay(chain_port)) for _ in range(ENDPOINTS)]
            ways[name] = Ways(tuple(chain), await stack.enter_async_context(Relay(store_port)))
        yield Wiring(ways)
