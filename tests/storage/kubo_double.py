"""A Kubo RPC double: answers as Kubo 0.44 was seen to, and can be told to fail. Owns no rule of the adapter's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import Final

from aiohttp import web
from aiohttp.test_utils import TestServer

from agents.storage.cid import cid_of_bytes, to_text

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_DEFAULTS_OF_CIDV1: Final = {
    "cid-version": "1",
    "raw-leaves": "true",
    "chunker": "size-262144",
    "max-file-links": "174",
    "pin": "false",
}
_NOT_PINNED: Final = "not pinned or pinned indirectly"


class Fault(Enum):
    NONE = auto()
    UNAVAILABLE = auto()  # 503 with a text body, as a proxy gives it
    UNAVAILABLE_EMPTY = auto()
    UNAVAILABLE_JSON = auto()
    FROZEN = auto()  # accepts, never answers
    CUT = auto()  # the connection breaks in the middle of a blob
    SHORT = auto()  # a blob's stream ends early, but properly, as Kubo does
    CORRUPT = auto()
    ENDLESS = auto()
    LYING_LENGTH = auto()
    FULL = auto()
    DENIED = auto()
    OTHER_CID = auto()  # a node whose import settings cannot be overridden


class KuboDouble:
    """One node: blobs and directories by CID text, its pins and its MFS entries."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.directories: set[str] = set()
        self.pins: set[str] = set()
        self.mfs: set[str] = set()
        self.neighbours: list[KuboDouble] = []  # who sees what this node provides
        self.fault = Fault.NONE
        self.requests: list[tuple[str, str | None]] = []
        self._server: TestServer | None = None
        self._port: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        app = web.Application(middlewares=[self._faulty], client_max_size=1 << 30)
        for name, handler in self._endpoints().items():
            app.router.add_post(f"/api/v0/{name}", handler)
        self._server = TestServer(app, host="127.0.0.1", port=self._port)
        await self._server.start_server(shutdown_timeout=0.01)
        self._port = self._server.port

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.close()
            self._server = None

    def collect_garbage(self) -> None:
        kept = self.pins | {path.rpartition("/")[2] for path in self.mfs}
        self.blobs = {name: blob for name, blob in self.blobs.items() if name in kept}

    def _endpoints(self) -> dict[str, Handler]:
        return {
            "add": self._add,
            "cat": self._cat,
            "id": self._id,
            "pin/add": self._pin_add,
            "pin/rm": self._pin_rm,
            "pin/ls": self._pin_ls,
            "files/cp": self._files_cp,
            "files/rm": self._files_rm,
            "files/ls": self._files_ls,
            "routing/provide": self._provide,
            "block/rm": self._block_rm,
            "block/stat": self._block_stat,
            "repo/stat": self._repo_stat,
        }

    @web.middleware
    async def _faulty(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requests.append((request.path.removeprefix("/api/v0/"), request.headers.get("Authorization")))
        match self.fault:
            case Fault.UNAVAILABLE:
                return web.Response(status=503, text="upstream is resting\n" * 20)
            case Fault.UNAVAILABLE_EMPTY:
                return web.Response(status=502)
            case Fault.UNAVAILABLE_JSON:
                return web.json_response({"error": "busy"}, status=503)
            case Fault.DENIED:
                return web.Response(status=403, text="403 - Forbidden")
            case Fault.FULL:
                return _error("write /data/blocks: no space left on device")
            case Fault.FROZEN:
                await asyncio.Event().wait()
        return await handler(request)

    async def _add(self, request: web.Request) -> web.StreamResponse:
        for key, value in _DEFAULTS_OF_CIDV1.items():
            assert request.query[key] == value, f"Kubo would build another tree: {key}={request.query.get(key)}"
        part = await (await request.multipart()).next()
        blob = bytes(await part.read())  # type: ignore[union-attr]
        if self.fault is Fault.OTHER_CID:
            blob += b"?"
        name = to_text(cid_of_bytes(blob))
        self.blobs[name] = blob
        return web.json_response({"Name": name, "Hash": name, "Size": str(len(blob))})

    async def _cat(self, request: web.Request) -> web.StreamResponse:
        name = request.query["arg"]
        if name in self.directories:
            return _error("this dag node is a directory")
        if name not in self.blobs:
            await asyncio.Event().wait()
        whole = self.blobs[name]
        wanted = whole[: int(request.query.get("length", len(whole)))]
        announced = "many" if self.fault is Fault.LYING_LENGTH else str(len(wanted))
        reply = web.StreamResponse(headers={"X-Content-Length": announced, "Content-Type": "text/plain"})
        await reply.prepare(request)
        await self._stream(request, reply, wanted)
        return reply

    async def _stream(self, request: web.Request, reply: web.StreamResponse, blob: bytes) -> None:
        match self.fault:
            case Fault.CUT:
                await reply.write(blob[: len(blob) // 2])
                assert request.transport is not None
                request.transport.abort()
            case Fault.SHORT:
                await reply.write(blob[: len(blob) // 2])
            case Fault.CORRUPT:
                await reply.write(blob[:-1] + bytes([blob[-1] ^ 1]))
            case Fault.ENDLESS:
                while True:
                    await reply.write(bytes(1 << 16))
            case _:
                await reply.write(blob)

    async def _id(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"ID": "12D3KooWdouble", "AgentVersion": "kubo/0.44.0-double"})

    async def _provide(self, request: web.Request) -> web.StreamResponse:
        name = request.query["arg"]
        if not self.neighbours:
            return _error("cannot provide, no connected peers")
        if name not in self.blobs:
            return _error(f"block {name} not found locally, cannot provide")
        for node in self.neighbours:
            node.blobs[name] = self.blobs[name]
        return web.json_response({"ID": "", "Type": 4, "Responses": None, "Extra": ""})

    async def _pin_add(self, request: web.Request) -> web.StreamResponse:
        name = request.query["arg"]
        if name not in self.blobs:
            await asyncio.Event().wait()
        self.pins.add(name)
        return web.json_response({"Pins": [name]})

    async def _pin_rm(self, request: web.Request) -> web.StreamResponse:
        name = request.query["arg"]
        if name not in self.pins:
            return _error(_NOT_PINNED)
        self.pins.remove(name)
        return web.json_response({"Pins": [name]})

    async def _pin_ls(self, request: web.Request) -> web.StreamResponse:
        name = request.query["arg"]
        if name not in self.pins:
            return _error(f"path '{name}' is not pinned")
        return web.json_response({"Keys": {name: {"Type": "recursive", "Name": ""}}})

    async def _files_cp(self, request: web.Request) -> web.StreamResponse:
        source, target = request.query.getall("arg")
        assert source.removeprefix("/ipfs/") in self.blobs
        if target in self.mfs:
            return _error(f"cp: cannot put node in path {target}: directory already has entry by that name")
        self.mfs.add(target)
        return web.Response()

    async def _files_rm(self, request: web.Request) -> web.StreamResponse:
        self.mfs.discard(request.query["arg"])
        return web.Response()

    async def _files_ls(self, request: web.Request) -> web.StreamResponse:
        directory = request.query["arg"].rstrip("/") + "/"
        below = {path.removeprefix(directory).split("/")[0] for path in self.mfs if path.startswith(directory)}
        if not below:
            return _error("file does not exist")
        return web.json_response({"Entries": [{"Name": name, "Type": 0, "Size": 0, "Hash": ""} for name in below]})

    async def _block_rm(self, request: web.Request) -> web.StreamResponse:
        name = request.query["arg"]
        if name in self.pins:
            return web.json_response({"Hash": name, "Error": "pinned: recursive"})
        self.blobs.pop(name, None)
        return web.json_response({"Hash": name})

    async def _block_stat(self, request: web.Request) -> web.StreamResponse:
        name = request.query["arg"]
        if name not in self.blobs:
            return _error(f"block was not found locally (offline): ipld: could not find {name}")
        return web.json_response({"Key": name, "Size": len(self.blobs[name])})

    async def _repo_stat(self, request: web.Request) -> web.StreamResponse:
        size = sum(map(len, self.blobs.values()))
        return web.json_response({"RepoSize": size, "StorageMax": 10**10, "NumObjects": len(self.blobs)})


def _error(message: str) -> web.Response:
    return web.json_response({"Message": message, "Code": 0, "Type": "error"}, status=500)
