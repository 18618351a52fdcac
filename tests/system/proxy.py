"""A real node behind endpoints that misbehave as told, and a gate that stops all traffic while a test moves the chain.

Owns the way of a request from an agent to anvil. Remembers every transaction that was ever sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Self

import aiohttp
from aiohttp import web

from tests.anvil import Anvil
from tests.events.rpc_double import Behaviour, Garbage, Refusal, Result, RpcDouble, Status

Sent = Callable[[bytes], Awaitable[None]]
Lie = Callable[[str, list[Any], Any], Any]


class Gate:
    """The only way to one node. `after(raw)` runs once a transaction was passed on, before its sender hears of it."""

    def __init__(self, anvil: Anvil) -> None:
        self.anvil = anvil
        self.sent: list[bytes] = []
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.before: Sent = _nothing
        self.after: Sent = _nothing
        self._open = asyncio.Event()
        self._open.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._under_way = 0
        self._turn = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def pass_on(self, call: dict[str, Any]) -> dict[str, Any]:
        """The node's answer. Raises HTTPBadGateway while there is no node."""
        if call["method"] != "eth_sendRawTransaction":
            return await self._ask(call)
        raw = bytes.fromhex(call["params"][0][2:])
        await self._hook(self.before, raw)
        answer = await self._ask(call)
        self.sent.append(raw)
        await self._hook(self.after, raw)
        return answer

    async def _hook(self, hook: Sent, raw: bytes) -> None:
        """A test's own mistake must not pass for a node's."""
        try:
            await hook(raw)
        except Exception as error:
            if not self.broken.done():
                self.broken.set_exception(error)
            raise

    async def closed(self, act: Callable[[], None]) -> None:
        """Do something to the chain while nothing is on its way to it."""
        async with self._turn:      # acts keep their order
            self._open.clear()
            try:
                await self._idle.wait()
                act()
            finally:
                self._open.set()

    async def _ask(self, call: dict[str, Any]) -> dict[str, Any]:
        assert self._session is not None
        await self._open.wait()
        self._under_way += 1
        self._idle.clear()
        try:
            async with self._session.post(self.anvil.url, json=call) as response:
                answer: dict[str, Any] = await response.json()
        except (aiohttp.ClientError, OSError):
            raise web.HTTPBadGateway from None
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()
        return answer


async def _nothing(_: bytes) -> None:
    pass


class Proxy(RpcDouble):
    """An endpoint of the node behind a gate. `lie(method, params, result)` changes what it answers."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate
        self.lie: Lie = lambda _method, _params, result: result
        self.mute = False

    async def _document(self, call: dict[str, Any], behaviour: Behaviour | None) -> dict[str, Any]:
        if isinstance(behaviour, Status | Garbage | Refusal | Result):
            return await super()._document(call, behaviour)
        answer = await self.gate.pass_on(call)
        if "result" in answer:
            answer["result"] = self.lie(call["method"], call["params"], answer["result"])
        return answer

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        """Both ways, until one side hangs up."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.add(socket)
        try:
            with suppress(aiohttp.ClientError, OSError):
                async with aiohttp.ClientSession() as session, session.ws_connect(self.gate.anvil.url) as node:
                    down = asyncio.create_task(self._relay(node, socket))
                    async for message in socket:
                        await node.send_str(message.data)
                    down.cancel()
        finally:
            self.sockets.discard(socket)
        return socket

    async def _relay(self, node: aiohttp.ClientWebSocketResponse, socket: web.WebSocketResponse) -> None:
        with suppress(ConnectionError):
            async for message in node:
                if not self.mute and message.type is aiohttp.WSMsgType.TEXT:
                    await socket.send_str(message.data)
            await socket.close()
