"""A small Kubo: the calls of its RPC API that the agents' adapter makes, over blobs in memory, for chaos in a demo.

Owns blobs, pins and the marks that agents set in its file system. Its faults are a relay's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Self

from aiohttp import BodyPartReader, web

from agents.storage.cid import cid_of_bytes, to_text

_API: Final = "/api/v0/"
_MOST_BYTES: Final = 1 << 30
_LINE_BYTES: Final = 1 << 18
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BlobNode:
    """`async with BlobNode() as node:` serves on `node.port` of loopback. A blob lives as long as a pin or a mark."""

    def __init__(self) -> None:
        self.port = 0
        self.blobs: dict[str, bytes] = {}
        self._pins: set[str] = set()
        self._marks: set[str] = set()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=_MOST_BYTES)
        for name, handler in self._calls().items():
            app.router.add_post(_API + name, handler)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = int(self._runner.addresses[0][1])
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def _calls(self) -> dict[str, _Handler]:
        return {
            "add": self._add, "cat": self._cat, "id": self._id, "block/rm": self._remove_block,
            "pin/add": self._pin, "pin/rm": self._unpin,
            "files/cp": self._mark, "files/rm": self._unmark, "files/ls": self._list,
        }

    async def _add(self, request: web.Request) -> web.StreamResponse:
        part = await (await request.multipart()).next()
        if not isinstance(part, BodyPartReader):
            return _refusal("file argument 'path' is required")
        blob = bytes(await part.read())
        name = to_text(await asyncio.to_thread(cid_of_bytes, blob))
        self.blobs[name] = blob
        self._pins.add(name)
        return web.json_response({"Name": name, "Hash": name, "Size": str(len(blob))})

    async def _cat(self, request: web.Request) -> web.StreamResponse:
        blob = await self._waited_for(request.query["arg"])
        wanted = blob[: int(request.query.get("length", len(blob)))]
        reply = web.StreamResponse(headers={"X-Content-Length": str(len(wanted)), "Content-Type": "text/plain"})
        await reply.prepare(request)
        for start in range(0, len(wanted), _LINE_BYTES):
            await reply.write(wanted[start:start + _LINE_BYTES])
        await reply.write_eof()
        return reply

    async def _waited_for(self, name: str) -> bytes:
        """Like Kubo, look for an absent blob until the caller gives up; somebody may add it."""
        while name not in self.blobs:
            await asyncio.sleep(0.1)
        return self.blobs[name]

    async def _id(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({"ID": "demo", "AgentVersion": "kubo/0-demo"})

    async def _remove_block(self, request: web.Request) -> web.StreamResponse:
        name = request.query["arg"]
        self._drop_if_unwanted(name)
        return web.json_response({"Hash": name})

    async def _pin(self, request: web.Request) -> web.StreamResponse:
        name = request.query["arg"]
        await self._waited_for(name)
        self._pins.add(name)
        return web.json_response({"Pins": [name]})

    async def _unpin(self, request: web.Request) -> web.StreamResponse:
        name = request.query["arg"]
        if name not in self._pins:
            return _refusal("not pinned or pinned indirectly")
        self._pins.remove(name)
        self._drop_if_unwanted(name)
        return web.json_response({"Pins": [name]})

    async def _mark(self, request: web.Request) -> web.StreamResponse:
        source, target = request.query.getall("arg")
        if target in self._marks:
            return _refusal(f"cp: cannot put node in path {target}: directory already has entry by that name")
        await self._waited_for(source.removeprefix("/ipfs/"))
        self._marks.add(target)
        return web.Response()

    async def _unmark(self, request: web.Request) -> web.StreamResponse:
        path = request.query["arg"]
        self._marks.discard(path)
        self._drop_if_unwanted(path.rpartition("/")[2])
        return web.Response()

    async def _list(self, request: web.Request) -> web.StreamResponse:
        directory = request.query["arg"].rstrip("/") + "/"
        below = {path.removeprefix(directory).split("/")[0] for path in self._marks if path.startswith(directory)}
        if not below:
            return _refusal("file does not exist")
        entries = [{"Name": name, "Type": 0, "Size": 0, "Hash": ""} for name in sorted(below)]
        return web.json_response({"Entries": entries})

    def _drop_if_unwanted(self, name: str) -> None:
        marked = any(path.endswith(f"/{name}") for path in self._marks)
        if name not in self._pins and not marked:
            self.blobs.pop(name, None)


def _refusal(message: str) -> web.Response:
    """As Kubo refuses everything: status 500, one code."""
    return web.json_response({"Message": message, "Code": 0, "Type": "error"}, status=500)
