"""Chains and nodes that a test scripts: reorgs, lags, lies, rate limits, garbage, half answers, dropped connections.

`FakeChain` is a chain of blocks with our events in memory. `InProcess` serves several of them to a source without a
socket; `RpcDouble` serves one over HTTP and WebSocket, misbehaving as told.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Self

from aiohttp import WSMsgType, web

from bfl_events.codec import checksummed
from bfl_events.decode import table
from bfl_events.keccak import keccak256
from bfl_events.rpc import RpcRefused, Unavailable
from bfl_events.schema import Address, Event, Record, TaskCreated
from tests.events.event_strategies import raw_log

CHAIN_ID = 31337
FACTORY: Address = checksummed(b"\xfa" * 20)


def task_address(number: int) -> Address:
    return checksummed(b"\x7a" + number.to_bytes(19, "big"))


@dataclass(frozen=True)
class FakeBlock:
    number: int
    hash: bytes
    parent: bytes
    time: int
    records: tuple[Record, ...]
    raws: tuple[dict[str, Any], ...]

    def header(self) -> dict[str, Any]:
        return {"number": hex(self.number), "hash": "0x" + self.hash.hex(), "parentHash": "0x" + self.parent.hex(),
                "timestamp": hex(self.time), "logsBloom": "0x" + _bloom(self.raws).hex()}


class FakeChain:
    """Blocks from genesis on. `salt` makes forks differ where their content does not; `receipts`: it serves them.
    `clock`: the time of the block that would come next, None if it has no such block to show."""

    def __init__(self, length: int = 1) -> None:
        self.blocks: list[FakeBlock] = []
        self.salt, self.receipts = 0, False
        self.clock: int | None = None
        for _ in range(length):
            self.mine()

    @property
    def tip(self) -> FakeBlock:
        return self.blocks[-1]

    def mine(self, *logs: tuple[Address, Event], spacing_s: int = 12) -> FakeBlock:
        number = len(self.blocks)
        parent = self.blocks[-1].hash if self.blocks else bytes(32)
        block_hash = hashlib.sha256(parent + repr((logs, self.salt)).encode()).digest()
        time = (self.blocks[-1].time if self.blocks else 1_700_000_000) + spacing_s
        tx = hashlib.sha256(block_hash).digest()
        records = tuple(Record(number, block_hash, time, index, tx, emitter, event)
                        for index, (emitter, event) in enumerate(logs))
        raws = tuple(raw_log(record, table()) for record in records)
        self.blocks.append(FakeBlock(number, block_hash, parent, time, records, raws))
        return self.blocks[-1]

    def cut(self, depth: int) -> None:
        """Forget the last blocks, as a revert or a restart from older state does. Genesis stays."""
        del self.blocks[max(1, len(self.blocks) - depth):]
        self.salt += 1

    def copy(self) -> FakeChain:
        other = FakeChain(0)
        other.blocks, other.salt = list(self.blocks), self.salt
        return other

    def records(self, tasks: Sequence[Address] | None = None, start: int = 0) -> list[Record]:
        """What a log of the factory and these tasks (None: all) must hold."""
        wanted = None if tasks is None else {FACTORY, *tasks}
        found = [record for block in self.blocks[start:] for record in block.records]
        return [record for record in found if wanted is None or record.emitter in wanted]

    def answer(self, method: str, params: Sequence[Any]) -> Any:
        """The result of a call. Raises RpcRefused."""
        match method, *params:
            case "eth_chainId", :
                return hex(CHAIN_ID)
            case "eth_blockNumber", :
                return hex(self.tip.number)
            case "web3_clientVersion", :
                return "FakeChain/1"
            case "eth_getCode", _, _:
                return "0x60"
            case "eth_getBlockByNumber", "pending", _:
                return self._pending()
            case "eth_getBlockByNumber", at, _:
                number = self.tip.number if at == "latest" else int(at, 16)
                return self.blocks[number].header() if number < len(self.blocks) else None
            case "eth_getLogs", query:
                return self._logs(query)
            case "eth_getBlockReceipts", at if self.receipts:
                block = self.blocks[int(at, 16)]
                return [{"blockHash": "0x" + block.hash.hex(), "logs": list(block.raws)}]
            case _:
                raise RpcRefused(-32601, f"the method {method} does not exist")

    def _pending(self) -> dict[str, Any] | None:
        if self.clock is None:
            return None
        return {"number": hex(self.tip.number + 1), "hash": None, "parentHash": "0x" + self.tip.hash.hex(),
                "timestamp": hex(self.clock), "logsBloom": None}

    def _logs(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        addresses = {address.lower() for address in query["address"]}
        if "blockHash" in query:
            blocks = [block for block in self.blocks if "0x" + block.hash.hex() == query["blockHash"]]
            if not blocks:
                raise RpcRefused(-32000, "unknown block")
        else:
            blocks = self.blocks[int(query["fromBlock"], 16):int(query["toBlock"], 16) + 1]
        return [raw for block in blocks for raw in block.raws if raw["address"] in addresses]


def created(number: int) -> tuple[Address, Event]:
    return FACTORY, TaskCreated(task_address(number), task_address(1000), number.to_bytes(32, "big"))


Meddle = Callable[[int, str, tuple[Any, ...], Any], Any]


@dataclass
class InProcess:
    """`view.Reads` over chains in memory, one per endpoint. `before` runs before each call, with its number, and may
    change the chains; `meddle` changes an answer, or raises. Blamed endpoints are passed over while others are left."""

    chains: list[FakeChain]
    before: Callable[[int], None] = lambda _: None
    meddle: Meddle = lambda _endpoint, _method, _params, answer: answer
    blamed: list[tuple[int, str]] = field(default_factory=list)
    down: set[int] = field(default_factory=set)
    calls: int = 0
    log: list[tuple[int, str]] = field(default_factory=list)

    @property
    def current(self) -> int:
        fit = [index for index in range(len(self.chains)) if index not in self.set_aside]
        return fit[0] if fit else 0

    @property
    def set_aside(self) -> set[int]:
        return {index for index, _ in self.blamed} | self.down

    def name(self, endpoint: int) -> str:
        return f"endpoint {endpoint}"

    def others(self, endpoint: int) -> list[int]:
        return [index for index in range(len(self.chains)) if index != endpoint and index not in self.set_aside]

    def blame(self, endpoint: int, why: str) -> None:
        self.blamed.append((endpoint, why))

    async def call_on(self, endpoint: int, method: str, *params: Any) -> Any:
        self.before(self.calls)
        self.calls += 1
        self.log.append((endpoint, method))
        await asyncio.sleep(0)
        if endpoint in self.down:
            raise Unavailable(f"endpoint {endpoint} is down")
        return self.meddle(endpoint, method, params, self.chains[endpoint].answer(method, params))


@dataclass(frozen=True)
class Status:
    code: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"no"


@dataclass(frozen=True)
class Garbage:
    body: bytes


@dataclass(frozen=True)
class Refusal:
    code: int
    message: str
    data: Any = None


@dataclass(frozen=True)
class Result:
    value: Any


class Half:
    """Announces the whole answer, sends half of it and hangs up."""


class Drop:
    """Hangs up without an answer."""


class Hang:
    """Never answers."""


Behaviour = Status | Garbage | Refusal | Result | Half | Drop | Hang


class RpcDouble:
    """An HTTP and WebSocket endpoint over a chain. `next` misbehaves for the coming calls, `always` until it is None;
    either may be bound to a method."""

    def __init__(self, chain: FakeChain | None = None, chain_id: int = CHAIN_ID) -> None:
        self.chain, self.chain_id = chain or FakeChain(), chain_id
        self.calls: list[str] = []
        self.always: Behaviour | None = None
        self.sockets: set[web.WebSocketResponse] = set()
        self.subscribed = asyncio.Event()
        self._next: list[tuple[str | None, Behaviour]] = []
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self._port}"

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._post)
        app.router.add_get("/{path:.*}", self._socket)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        for socket in list(self.sockets):
            await socket.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def next(self, *behaviours: Behaviour, method: str | None = None) -> None:
        self._next += [(method, behaviour) for behaviour in behaviours]

    async def ring(self) -> None:
        """Announce a new head to all subscribers."""
        for socket in list(self.sockets):
            await socket.send_str('{"jsonrpc":"2.0","method":"eth_subscription","params":{}}')

    async def _post(self, request: web.Request) -> web.StreamResponse:
        call = await request.json()
        self.calls.append(call["method"])
        behaviour = self._behaviour(call["method"])
        body = json.dumps(await self._document(call, behaviour)).encode()
        match behaviour:
            case Status(code, headers, text):
                return web.Response(status=code, headers=headers, body=text)
            case Garbage(garbage):
                return web.Response(body=garbage)
            case Half():
                response = web.StreamResponse(headers={"Content-Length": str(len(body))})
                await response.prepare(request)
                await response.write(body[: len(body) // 2])
                assert request.transport is not None
                request.transport.close()
                return response
            case Drop():
                assert request.transport is not None
                request.transport.close()
                return web.Response()
            case Hang():
                await asyncio.Event().wait()
        return web.Response(body=body)

    def _behaviour(self, method: str) -> Behaviour | None:
        for place, (wanted, behaviour) in enumerate(self._next):
            if wanted in (None, method):
                del self._next[place]
                return behaviour
        return self.always

    async def _document(self, call: dict[str, Any], behaviour: Behaviour | None) -> dict[str, Any]:
        frame = {"jsonrpc": "2.0", "id": call["id"]}
        match behaviour:
            case Refusal(code, message, data):
                return {**frame, "error": {"code": code, "message": message, "data": data}}
            case Result(value):
                return {**frame, "result": value}
        if call["method"] == "eth_chainId":
            return {**frame, "result": hex(self.chain_id)}
        try:
            return {**frame, "result": self.chain.answer(call["method"], call["params"])}
        except RpcRefused as error:
            return {**frame, "error": {"code": error.code, "message": error.message}}

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.add(socket)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await socket.send_str('{"jsonrpc":"2.0","id":1,"result":"0x1"}')
                    self.subscribed.set()
        finally:
            self.sockets.discard(socket)
        return socket


def _bloom(raws: Sequence[dict[str, Any]]) -> bytes:
    bits = 0
    for raw in raws:
        for item in (raw["address"], *raw["topics"]):
            bits |= _bloom_of(item)
    return bits.to_bytes(256, "big")


@cache
def _bloom_of(item: str) -> int:
    digest = keccak256(bytes.fromhex(item[2:]))
    return sum({1 << (int.from_bytes(digest[place:place + 2], "big") & 2047) for place in (0, 2, 4)})
