"""A Kubo node as a BlobStore, through aioipfs. Owns the calls and the marks; kubo_errors.py reads the failures.

aioipfs answers None when the daemon is down, takes a 503's body for content and cannot stream: control calls go
through it and every answer's shape is checked, content is streamed on its session and hashed here.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import aiohttp
import aioipfs  # type: ignore[import-untyped]
from yarl import URL

from agents.storage.cid import LEAF_BYTES, UnixFsHasher, to_text
from agents.storage.download import Download
from agents.storage.kubo_errors import check, translated
from agents.storage.store import (
    PROBE_BYTES,
    BlobCorrupt,
    BlobMissing,
    StorageError,
    StoreUnavailable,
    check_owner,
    probe_content,
)
from bfl_events.boundaries import Boundary, passing

_UPLOAD_BYTES: Final = 1 << 20
_CONNECT_SECONDS: Final = 5.0
_MARKS: Final = "/bfl-agent"
_ADD: Final = {
    "cid-version": "1",
    "raw-leaves": "true",
    "hash": "sha2-256",
    "chunker": "size-262144",
    "max-file-links": "174",
    "trickle": "false",
    "inline": "false",
    "wrap-with-directory": "false",
    "progress": "false",
    "pin": "false",
}


class KuboStore:
    """A BlobStore on a Kubo node's RPC port; `origin` is scheme, host and port, `deadline` in seconds for each call,
    `login` the value of the Authorization header, if the node wants one.

    Several agents may share a node: each marks what it pins by a link `/bfl-agent/<owner>/<cid>` in the node's MFS
    (which alone keeps the garbage collector away), and the node's pin goes with the last mark. A CID that nobody
    provides is BlobMissing after the deadline, and so is every CID while the node is frozen.
    """

    def __init__(self, origin: URL, *, owner: str, deadline: float, login: str | None = None) -> None:
        self._origin = origin
        self._owner = check_owner(owner)
        self._deadline = deadline
        self._login = login
        self._client: aioipfs.AsyncIPFS | None = None

    async def put(self, path: Path) -> bytes:
        """The blob, my mark, then the node's pin: what a crash leaves without a mark, the garbage collector takes."""
        doing = f"adding {path}"
        with path.open("rb") as file:
            async with self._asking(doing, StoreUnavailable) as client:
                hasher = UnixFsHasher()
                form = aiohttp.MultipartWriter("form-data")
                part = form.append(_read(file, hasher), {"Content-Type": "application/octet-stream"})
                part.set_content_disposition("form-data", name="file", filename="blob")
                with passing(Boundary.KUBO_ADD):
                    async with self._post(client, "add", _ADD.items(), doing, form) as reply:
                        stored = _field(json.loads(await reply.text()), "Hash", doing)
                cid = hasher.cid()
                if stored != to_text(cid):
                    raise BlobCorrupt(f"{doing}: Kubo stored {stored}, the content is {to_text(cid)}")
                await self._set_mark(client, to_text(cid))
                await self._add_pin(client, to_text(cid))
        return cid

    async def get(self, cid: bytes, out: Path, *, max_bytes: int) -> int:
        name = to_text(cid)
        doing = f"fetching {name}"
        async with self._asking(doing, BlobMissing) as client:
            # one byte more than allowed, so that a blob above the cap is noticed, and no more than that is sent
            wanted = [("arg", name), ("length", str(max_bytes + 1))]
            async with self._post(client, "cat", wanted, doing) as reply:
                download = Download(cid, out, max_bytes)
                try:
                    return await _receive(reply, download, doing)
                finally:
                    download.discard()

    async def pin(self, cid: bytes) -> None:
        name = to_text(cid)
        async with self._asking(f"pinning {name}", BlobMissing) as client:
            await self._add_pin(client, name)
            await self._set_mark(client, name)

    async def unpin(self, cid: bytes) -> None:
        """The node's pin first and my mark last, so that what a crash cuts short is completed by the next attempt."""
        name = to_text(cid)
        doing = f"unpinning {name}"
        async with self._asking(doing, StoreUnavailable) as client:
            marks = await self._marks(client, name, doing)
            if self._owner not in marks:
                return
            if marks == {self._owner}:
                await self._remove_pin(client, name, doing)
            # not client.files.rm: its None is both success and a dead daemon
            mark = [("arg", self._mark(name)), ("force", "true")]
            with passing(Boundary.KUBO_UNMARK):
                async with self._post(client, "files/rm", mark, doing) as reply:
                    if complaint := await reply.text():
                        raise StoreUnavailable(f"{doing}: {complaint[:200]}")

    async def has(self, cid: bytes) -> bool:
        name = to_text(cid)
        doing = f"looking for {name}"
        async with self._asking(doing, StoreUnavailable) as client:
            return bool(await self._marks(client, name, doing))

    async def provide(self, cid: bytes) -> None:
        name = to_text(cid)
        doing = f"providing {name}"
        async with (
            self._asking(doing, StoreUnavailable) as client,
            self._post(client, "routing/provide", [("arg", name)], doing) as reply,
        ):
            await reply.read()

    async def probe(self) -> str:
        with tempfile.TemporaryDirectory() as scratch:
            source, back = Path(scratch, "source"), Path(scratch, "back")
            source.write_bytes(probe_content(self._owner))
            cid = await self.put(source)
            try:
                await self.get(cid, back, max_bytes=PROBE_BYTES)
            finally:
                await self.unpin(cid)
        async with self._asking("probing", StoreUnavailable) as client:
            await client.block.rm(to_text(cid), force=True)
            version = _field(await client.id(), "AgentVersion", "probing")
        return f"{version} at {self._origin}"

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    @asynccontextmanager
    async def _asking(self, doing: str, late: type[StorageError]) -> AsyncIterator[aioipfs.AsyncIPFS]:
        """The client for one call; `late` is what the deadline means for it."""
        try:
            async with asyncio.timeout(self._deadline), translated(f"{doing} at {self._origin}"):
                yield self._connected()
        except TimeoutError as error:
            raise late(f"{doing}: nothing from Kubo at {self._origin} within {self._deadline:g} s") from error

    def _connected(self) -> aioipfs.AsyncIPFS:
        """aioipfs takes the running loop when it is built, so this waits for the first call."""
        if self._client is None:
            host, port = self._origin.host, self._origin.port
            self._client = aioipfs.AsyncIPFS(host=host, port=port, scheme=self._origin.scheme)
            if self._login is not None:
                self._client.session.headers["Authorization"] = self._login
        return self._client

    @asynccontextmanager
    async def _post(
        self,
        client: aioipfs.AsyncIPFS,
        endpoint: str,
        params: Iterable[tuple[str, str]],
        doing: str,
        body: aiohttp.MultipartWriter | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        patience = aiohttp.ClientTimeout(total=None, sock_connect=min(_CONNECT_SECONDS, self._deadline))
        async with client.session.post(
            client.api_endpoint(endpoint), params=list(params), data=body, timeout=patience
        ) as reply:
            await check(reply, f"{doing} at {self._origin}")
            yield reply

    def _mark(self, name: str) -> str:
        return f"{_MARKS}/{self._owner}/{name}"

    async def _add_pin(self, client: aioipfs.AsyncIPFS, name: str) -> None:
        # not client.pin.add: it takes a proxy's empty 502 for a pin that Kubo gave up
        with passing(Boundary.KUBO_PIN):
            async with self._post(client, "pin/add", [("arg", name)], f"pinning {name}") as reply:
                if not await reply.read():
                    raise BlobMissing(f"pinning {name}: Kubo gave up on it")

    async def _set_mark(self, client: aioipfs.AsyncIPFS, name: str) -> None:
        # not client.files.cp: it takes a proxy's empty 502 for success
        link = [("arg", f"/ipfs/{name}"), ("arg", self._mark(name)), ("parents", "true")]
        try:
            with passing(Boundary.KUBO_MARK):
                async with self._post(client, "files/cp", link, f"marking {name}"):
                    return
        except StorageError as error:
            if "already has entry" not in str(error):
                raise

    async def _marks(self, client: aioipfs.AsyncIPFS, name: str, doing: str) -> set[str]:
        """The owners that mark the blob on this node."""
        owners = await self._listed(client, _MARKS, doing)
        return {owner for owner in owners if name in await self._listed(client, f"{_MARKS}/{owner}", doing)}

    async def _listed(self, client: aioipfs.AsyncIPFS, directory: str, doing: str) -> set[str]:
        try:
            entries = _field(await client.files.ls(directory), "Entries", doing)
        except aioipfs.APIError as error:
            if "does not exist" not in str(error.message):
                raise
            return set()
        return {entry["Name"] for entry in entries or ()}

    async def _remove_pin(self, client: aioipfs.AsyncIPFS, name: str, doing: str) -> None:
        try:
            with passing(Boundary.KUBO_UNPIN):
                _field(await client.pin.rm(name), "Pins", doing)
        except aioipfs.APIError as error:
            if "not pinned" not in str(error.message):
                raise


async def _read(file: BinaryIO, hasher: UnixFsHasher) -> AsyncIterator[bytes]:
    """The file's bytes, read and hashed off the event loop on their way out."""

    def step() -> bytes:
        chunk = file.read(_UPLOAD_BYTES)
        hasher.update(chunk)
        return chunk

    while chunk := await asyncio.to_thread(step):
        yield chunk


async def _receive(reply: aiohttp.ClientResponse, download: Download, doing: str) -> int:
    """Kubo ends a stream that it cannot complete like a whole one; only the announced length tells them apart."""
    length = reply.headers.get("X-Content-Length", "")
    announced = int(length) if length.isascii() and length.isdigit() else 0
    download.expect(announced)
    async for chunk in reply.content.iter_chunked(LEAF_BYTES):
        await asyncio.to_thread(download.write, chunk)
    if download.received < announced:
        raise BlobMissing(f"{doing}: the stream ended after {download.received} of {announced} bytes")
    return await asyncio.to_thread(download.finish)


def _field(answer: Any, key: str, doing: str) -> Any:
    """aioipfs gives None for a dead daemon and whatever JSON a proxy's error page holds."""
    if not isinstance(answer, dict) or key not in answer:
        raise StoreUnavailable(f"{doing}: no answer that is Kubo's; is the daemon running?")
    return answer[key]
