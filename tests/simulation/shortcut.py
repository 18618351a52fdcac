"""A short cut for the event path: the endpoint's own blocks as advances, without JSON, headers and a database.

Owns an equivalent of `bfl_events.source` and its log for most seeds, so that there can be many; the others take the
real ones. Keeps their promises: complete up to a block, rewound where blocks were replaced, patient with a lag.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator

from bfl_events.rpc import Unavailable
from bfl_events.schema import Address, Record
from bfl_events.source import Advance, Head
from tests.simulation.ledger import Block
from tests.simulation.wires import WiredRpc

POLL_S = 5.0
PATIENCE_S = 30.0


class Notebook:
    """The blocks that were read, on disk: what the log is to the real source. `copy` and `blocks` are for backups."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []

    def records(self) -> Iterator[Record]:
        for block in self.blocks:
            yield from block.records


class ShortSource:
    """In the place of `EventSource`."""

    def __init__(self, rpc: WiredRpc, notebook: Notebook) -> None:
        self._rpc, self._book = rpc, notebook
        self._bell = asyncio.Event()
        self._announced = self._doubted = False
        self._behind_since: float | None = None

    def ring(self) -> None:
        self._bell.set()

    def distrust(self, task: Address, why: str) -> None:
        """Everything since the task was made is handed out again, as it is read then."""
        del task, why
        self._doubted = True
        self.ring()

    async def advances(self) -> AsyncGenerator[Advance, None]:
        while True:
            self._bell.clear()
            try:
                advance = self._read(await self._rpc.chain())
            except Unavailable:
                await asyncio.sleep(0.5)
                continue
            if advance is not None:
                yield advance
                continue
            loop = asyncio.get_running_loop()
            timer = loop.call_later(POLL_S, self._bell.set)
            await self._bell.wait()
            timer.cancel()

    def _read(self, chain: list[Block]) -> Advance | None:
        """What is new; None if nothing is, or if the endpoint only lags."""
        known, same = self._book.blocks, 0
        for same in range(min(len(known), len(chain)), 0, -1):
            if known[same - 1] is chain[same - 1]:
                break
        else:
            same = 0
        if self._doubted:
            same, self._doubted = 1, False
        lags = same == len(chain) < len(known)
        if lags and self._is_patient():
            return None
        self._behind_since = None
        if same == len(chain) == len(known) and self._announced:
            return None
        rewound_to = chain[same - 1].number if same < len(known) else None
        fresh = chain[same:]
        self._book.blocks = chain[:]
        self._announced = True
        head = chain[-1]
        records = tuple(record for block in fresh for record in block.records)
        return Advance(Head(head.number, head.hash, head.time), records, rewound_to, clock=self._rpc.clock())

    def _is_patient(self) -> bool:
        now = asyncio.get_running_loop().time()
        self._behind_since = self._behind_since or now
        return now - self._behind_since < PATIENCE_S
