"""How a command reaches the chain, the store and the keys when no agent does it for it.

Owns opening and closing them from the settings. Writing takes the agent's lock: one account, one writer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from agents.crypto.keys import load_encryption_keys
from agents.identity import password
from agents.settings import Settings
from agents.storage import BlobStore, open_store
from bfl_events.rpc import Rpc
from bfl_events.schema import Address


@asynccontextmanager
async def open_rpc(settings: Settings) -> AsyncIterator[Rpc]:
    """All configured endpoints; checked for the chain id where one is configured."""
    async with Rpc(settings.chain.rpc, chain_id=settings.chain.chain_id, deadline_s=settings.chain.deadline_s) as rpc:
        yield rpc


@asynccontextmanager
async def open_blobs(settings: Settings, owner: Address) -> AsyncIterator[BlobStore]:
    """The store, with this account's pins."""
    store = open_store(settings.store_address, owner=owner.lower(), deadline=settings.store.deadline_s)
    try:
        yield store
    finally:
        await store.close()


def encryption_keys(settings: Settings) -> Mapping[bytes, RSAPrivateKey]:
    """This home's private encryption keys by key id. Blocks for tenths of a second a key; raises KeystoreError."""
    return load_encryption_keys(settings.home.encryption_keys, password(settings.home, settings.account))


@dataclass(frozen=True, slots=True)
class CodeReader:
    """Reads code without an account, for `check_factory`."""

    rpc: Rpc

    async def code(self, address: Address) -> bytes:
        return bytes.fromhex(str(await self.rpc.call("eth_getCode", address, "latest"))[2:])
