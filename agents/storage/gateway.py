"""An IPFS gateway as a place to read blobs from: plain HTTP GET, believed only after hashing. Writes nothing."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import aiohttp
from yarl import URL

from agents.storage.cid import LEAF_BYTES, to_text
from agents.storage.download import Download
from agents.storage.store import BlobMissing, StoreUnavailable

_CONNECT_SECONDS: Final = 5.0
_NOT_THERE: Final = (404, 410, 504)      # 504: the gateway looked for it and nobody had it in time


class Gateway:
    """A BlobSource at `origin` (scheme, host, port, a path prefix if it has one); `deadline` in seconds per call."""

    def __init__(self, origin: URL, *, deadline: float) -> None:
        self._origin, self._deadline = origin, deadline
        self._session: aiohttp.ClientSession | None = None

    async def get(self, cid: bytes, out: Path, *, max_bytes: int) -> int:
        name = to_text(cid)
        doing = f"fetching {name} through the gateway {self._origin.origin()}"      # the rest may be an access key
        try:
            async with asyncio.timeout(self._deadline):
                return await self._get(name, lambda: Download(cid, out, max_bytes), doing)
        except TimeoutError as error:
            raise BlobMissing(f"{doing}: nothing within {self._deadline:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise StoreUnavailable(f"{doing}: {error or type(error).__name__}") from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _get(self, name: str, begin: Callable[[], Download], doing: str) -> int:
        if self._session is None:
            patience = aiohttp.ClientTimeout(total=None, sock_connect=min(_CONNECT_SECONDS, self._deadline))
            self._session = aiohttp.ClientSession(timeout=patience)
        async with self._session.get(self._origin / "ipfs" / name) as reply:
            if reply.status in _NOT_THERE:
                raise BlobMissing(f"{doing}: HTTP {reply.status} {reply.reason}")
            if reply.status != 200:
                raise StoreUnavailable(f"{doing}: HTTP {reply.status} {reply.reason}; is it an IPFS gateway?")
            download = begin()
            try:
                async for chunk in reply.content.iter_chunked(LEAF_BYTES):
                    await asyncio.to_thread(download.write, chunk)
                return await asyncio.to_thread(download.finish)
            finally:
                download.discard()
