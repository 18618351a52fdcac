"""Whether the agent is alive and ready, and the small HTTP server that says so: /livez, /readyz, /metrics.

Owns the endpoints and what each answers. Read-only; must not tell more than the state of the agent's own parts.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from aiohttp import web
    from prometheus_client import CollectorRegistry

_STALL_S: Final = 60.0
_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Health:
    """Beaten by the loop; parts that do not work are named with a sentence until they do again. `losses`: what this
    process found lost, for as long as it lives; `repaired` are those of them that lack nothing any more.

    `stall_s`: seconds without a beat after which the process counts as hung. `clock`: monotonic seconds.
    """

    stall_s: float = _STALL_S
    clock: Callable[[], float] = time.monotonic
    troubles: dict[str, str] = field(default_factory=dict)
    beaten: float | None = None
    losses: dict[str, str] = field(default_factory=dict)
    repaired: set[str] = field(default_factory=set)

    def beat(self) -> None:
        self.beaten = self.clock()

    def trouble(self, part: str, sentence: str) -> bool:
        """Say that a part does not work. True if that is news."""
        news = part not in self.troubles
        self.troubles[part] = sentence
        return news

    def well(self, part: str) -> bool:
        """Say that a part works. True if it did not before."""
        return self.troubles.pop(part, None) is not None

    def lost(self, what: str, sentence: str) -> None:
        """Say that something of the home is lost; it does not keep the agent from working."""
        self.losses[what] = sentence

    @property
    def alive(self) -> bool:
        return self.beaten is None or self.clock() - self.beaten < self.stall_s

    @property
    def ready(self) -> bool:
        return self.alive and self.beaten is not None and not self.troubles

    def report(self) -> dict[str, Any]:
        since = None if self.beaten is None else round(self.clock() - self.beaten, 3)
        lost = [{"what": what, "sentence": sentence, "repaired": what in self.repaired}
                for what, sentence in self.losses.items()]
        return {"ready": self.ready, "alive": self.alive, "pulse_age_s": since, "troubles": dict(self.troubles),
                "lost": lost}


@asynccontextmanager
async def serve_http(address: str, health: Health, registry: CollectorRegistry) -> AsyncIterator[int]:
    """Serve on "host:port" (port 0: any) until the block ends; yields the port. Raises OSError if it is taken."""
    from aiohttp import web
    from prometheus_client import generate_latest

    async def livez(_: web.Request) -> web.Response:
        return web.json_response({"alive": health.alive}, status=200 if health.alive else 503)

    async def readyz(_: web.Request) -> web.Response:
        return web.json_response(health.report(), status=200 if health.ready else 503)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": _METRICS_TYPE})

    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        host, _, port = address.rpartition(":")
        await web.TCPSite(runner, host.strip("[]"), int(port)).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
