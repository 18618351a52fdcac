"""A blob store in memory that everybody shares, with loss, corruption, delay and outages on demand.

Owns bytes by CID. A client is one agent's way to it, and passes every call through that agent's wires.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from agents.storage.store import BlobCorrupt, BlobMissing, BlobTooLarge, StoreUnavailable
from bfl_events.schema import Address
from tests.simulation.wires import Wires

HEAD = b"\x01\x55\x12\x20"


@dataclass(slots=True)
class Store:
    """`down`: nobody gets an answer. `corrupting`: what is read does not hash to its CID. `hidden`: blobs that nobody
    can find for now. `slow_s`: how much longer a call takes."""

    blobs: dict[bytes, bytes] = field(default_factory=dict)
    pins: dict[bytes, set[Address]] = field(default_factory=dict)
    hidden: set[bytes] = field(default_factory=set)
    down: bool = False
    corrupting: bool = False
    slow_s: float = 0.0

    def add(self, owner: Address, content: bytes) -> bytes:
        cid = HEAD + sha256(content).digest()
        self.blobs[cid] = content
        self.pins.setdefault(cid, set()).add(owner)
        return cid


class StoreClient:
    """`agents.effects.ports.Blobs` for one agent."""

    def __init__(self, store: Store, wires: Wires, owner: Address) -> None:
        self._store, self._wires, self._owner = store, wires, owner

    async def put(self, path: Path) -> bytes:
        content = path.read_bytes()
        await self._reach()
        cid = self._store.add(self._owner, content)
        await self._wires.back()
        return cid

    async def get(self, cid: bytes, out: Path, *, max_bytes: int) -> int:
        await self._reach()
        content = self._store.blobs.get(cid)
        if content is None or cid in self._store.hidden:
            raise BlobMissing(f"nobody has {cid.hex()[:16]}")
        if len(content) > max_bytes:
            raise BlobTooLarge(f"{len(content)} bytes, at most {max_bytes} are wanted")
        if self._store.corrupting:
            raise BlobCorrupt(f"{cid.hex()[:16]} came with other bytes")
        out.write_bytes(content)
        await self._wires.back()
        return len(content)

    async def pin(self, cid: bytes) -> None:
        await self._reach()
        if cid not in self._store.blobs or cid in self._store.hidden:
            raise BlobMissing(f"nobody has {cid.hex()[:16]}")
        self._store.pins[cid].add(self._owner)

    async def unpin(self, cid: bytes) -> None:
        await self._reach()
        owners = self._store.pins.get(cid, set())
        owners.discard(self._owner)
        if not owners:
            self._store.blobs.pop(cid, None)

    async def has(self, cid: bytes) -> bool:
        await self._reach()
        return cid in self._store.blobs and cid not in self._store.hidden

    async def _reach(self) -> None:
        quick = not self._store.slow_s and self._wires.passes()
        if not (quick or await self._wires.out(self._store.slow_s)) or self._store.down:
            raise StoreUnavailable("the store does not answer")
