"""An in-memory chain behind JSON-RPC, with the misbehaviour of real ones on demand. For tests of the outbox only."""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import json
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from agents.effects.signer import Signed
from bfl_events.rpc import RpcRefused, Unavailable

ACCOUNT = "0x" + "a1" * 20
GWEI = 10**9


class StubSigner:
    """Signs with nothing: the raw bytes are the fields."""

    address = ACCOUNT

    def sign(self, transaction: Mapping[str, Any]) -> Signed:
        fields = {name: value.hex() if isinstance(value, bytes) else value for name, value in transaction.items()}
        raw = json.dumps(fields, sort_keys=True).encode()
        return Signed(hashlib.sha256(raw).digest(), raw)


@dataclass
class Tx:
    hash: bytes
    fields: dict[str, Any]

    @property
    def nonce(self) -> int:
        return int(self.fields["nonce"])

    @property
    def max_fee(self) -> int:
        return int(self.fields["maxFeePerGas"])

    @property
    def reverts(self) -> bool:
        return bytes.fromhex(self.fields["data"]).startswith(b"revert")


@dataclass
class Block:
    number: int
    hash: bytes
    txs: list[Tx] = field(default_factory=list)


class FakeChain:
    """One account's view. `automine`: every accepted transaction makes a block if it can be mined.

    `down`: nothing answers. `lose_replies`: so many coming sends take effect but their answer is lost.
    `second`: there is another endpoint of this chain, which swallows nothing.
    `refuse[method]`: messages of coming refusals. `swallow`: so many coming sends are accepted and silently dropped.
    """

    def __init__(self, *, automine: bool = True, salt: str = "main") -> None:
        self.automine, self._salt, self._fork = automine, salt, 0
        self.base_fee, self.balance = GWEI, 10**24
        self.blocks: list[Block] = []
        self.pool: dict[int, Tx] = {}
        self.down = self.second = False
        self.lose_replies = self.swallow = 0
        self.refuse: dict[str, list[str]] = {}
        self.calls: Counter[str] = Counter()
        self.raws: set[bytes] = set()
        self.pruned_below = 0
        self.codeless: set[str] = set()
        self.hide_receipts = False
        self.gate: asyncio.Event | None = None
        self.parents: dict[int, bytes] = {}      # where a block names another parent than the one that is served
        self._append([])

    # ---- what a test does to it

    def mine(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            self._append(self._mineable())

    def reorg(self, depth: int, *, keep: bool = False) -> None:
        """Replace the last blocks by empty ones. `keep`: their transactions go back to the pool (anvil loses them)."""
        depth = min(depth, len(self.blocks) - 1)
        gone = [tx for block in self.blocks[-depth:] for tx in block.txs] if depth else []
        del self.blocks[len(self.blocks) - depth:]
        self._fork += 1
        for tx in gone if keep else ():
            self.pool.setdefault(tx.nonce, tx)
        for _ in range(depth):
            self._append([])

    def rewind(self, depth: int) -> None:
        """The node was restored from an older state: the head moves backwards, the pool is gone."""
        depth = min(depth, len(self.blocks) - 1)
        del self.blocks[len(self.blocks) - depth:]
        self._fork += 1
        self.pool.clear()

    def drop_pool(self) -> None:
        self.pool.clear()

    def stranger(self, nonce: int, data: bytes, to: str = "0x" + "bb" * 20) -> bytes:
        """Somebody else signs with the same key; mined at once."""
        fields = {"nonce": nonce, "to": to, "data": data.hex(), "value": 0, "maxFeePerGas": 10**12, "gas": 21000}
        tx = Tx(hashlib.sha256(b"stranger" + json.dumps(fields).encode()).digest(), fields)
        self.pool.pop(nonce, None)
        self._append([tx])
        return tx.hash

    # ---- what a test asks it

    @property
    def mined(self) -> list[Tx]:
        return [tx for block in self.blocks for tx in block.txs]

    def effects(self) -> Counter[str]:
        """How often each payload took effect on the canonical chain; self-transfers have none."""
        return Counter(tx.fields["data"] for tx in self.mined if tx.fields["data"] and not tx.reverts)

    # ---- JSON-RPC

    def tell_others(self, method: str, *params: Any) -> None:
        if self.second:
            swallow, self.swallow = self.swallow, 0
            with suppress(Unavailable, RpcRefused):
                getattr(self, method)(*params)
            self.swallow = swallow

    async def call(self, method: str, *params: Any) -> Any:
        await asyncio.sleep(0)
        if self.gate is not None:
            await self.gate.wait()
        self.calls[method] += 1
        if self.down:
            raise Unavailable("no endpoint answered")
        if self.refuse.get(method):
            raise RpcRefused(-32000, self.refuse[method].pop(0), None)
        answer = getattr(self, method)(*params)
        if method == "eth_sendRawTransaction" and self.lose_replies:
            self.lose_replies -= 1
            raise Unavailable("reply lost")
        return answer

    def eth_getBlockByNumber(self, which: str, full: bool) -> dict[str, Any] | None:
        number = len(self.blocks) - 1 if which == "latest" else int(which, 16)
        if number >= len(self.blocks):
            return None
        block = self.blocks[number]
        txs = [{"hash": _hex(tx.hash), "from": ACCOUNT, "nonce": hex(tx.nonce), "to": tx.fields.get("to"),
                "input": "0x" + tx.fields["data"], "value": hex(tx.fields["value"])} for tx in block.txs]
        parent = self.parents.get(number, self.blocks[number - 1].hash if number else bytes(32))
        return {"number": hex(block.number), "hash": _hex(block.hash), "parentHash": _hex(parent),
                "timestamp": hex(1_700_000_000 + number),
                "baseFeePerGas": hex(self.base_fee), "transactions": txs if full else [tx["hash"] for tx in txs]}

    def eth_getTransactionCount(self, account: str, which: str) -> str:
        last = len(self.blocks) - 1 if which == "latest" else int(which, 16)
        if last < self.pruned_below:
            raise RpcRefused(-32000, "missing trie node", None)
        return hex(sum(len(block.txs) for block in self.blocks[:last + 1]))

    def eth_getBalance(self, account: str, which: str) -> str:
        return hex(self.balance)

    def eth_getCode(self, account: str, which: str) -> str:
        return "0x" if account in self.codeless else "0x60"

    def eth_maxPriorityFeePerGas(self) -> str:
        return hex(GWEI)

    def eth_getTransactionByHash(self, tx_hash: str) -> dict[str, Any] | None:
        known = [tx for tx in (*self.mined, *self.pool.values()) if _hex(tx.hash) == tx_hash]
        return {"hash": tx_hash, "nonce": hex(known[0].nonce)} if known else None

    def eth_getTransactionReceipt(self, tx_hash: str) -> dict[str, Any] | None:
        for block in self.blocks if not self.hide_receipts else ():
            for tx in block.txs:
                if _hex(tx.hash) == tx_hash:
                    return {"blockNumber": hex(block.number), "blockHash": _hex(block.hash), "gasUsed": "0x5208",
                            "effectiveGasPrice": hex(GWEI), "status": "0x0" if tx.reverts else "0x1"}
        return None

    def eth_sendRawTransaction(self, raw: str) -> str:
        data = bytes.fromhex(raw[2:])
        tx = Tx(hashlib.sha256(data).digest(), json.loads(data))
        self.raws.add(data)
        if self.swallow:
            self.swallow -= 1
            return _hex(tx.hash)
        self._check(tx)
        self.pool[tx.nonce] = tx
        if self.automine and (ready := self._mineable()):
            self._append(ready)
        return _hex(tx.hash)

    def _check(self, tx: Tx) -> None:
        if tx.nonce < len(self.mined):
            raise RpcRefused(-32003, "nonce too low", None)
        pooled = self.pool.get(tx.nonce)
        if pooled is not None and pooled.hash == tx.hash:
            raise RpcRefused(-32003, "transaction already imported", None)
        if pooled is not None and tx.max_fee * 10 < pooled.max_fee * 11:
            raise RpcRefused(-32003, "replacement transaction underpriced", None)
        if self.automine and tx.max_fee < self.base_fee:
            raise RpcRefused(-32003, "max fee per gas less than block base fee", None)
        if tx.fields["value"] + tx.fields["gas"] * tx.max_fee > self.balance:
            raise RpcRefused(-32003, "Insufficient funds for gas * price + value", None)
        if tx.fields["gas"] > 30_000_000:
            raise RpcRefused(-32003, "intrinsic gas too high -- exceeds block gas limit", None)

    def _mineable(self) -> list[Tx]:
        ready, nonce = [], len(self.mined)
        while nonce in self.pool and self.pool[nonce].max_fee >= self.base_fee:
            ready.append(self.pool.pop(nonce))
            nonce += 1
        return ready

    def _append(self, txs: list[Tx]) -> None:
        number = len(self.blocks)
        parent = self.blocks[-1].hash if self.blocks else b""
        names = b"".join(tx.hash for tx in txs)
        seed = f"{self._salt}:{number}:{self._fork if number else 0}".encode() + parent + names
        self.blocks.append(Block(number, hashlib.sha256(seed).digest(), txs))


@dataclass
class FakeTimer:
    callback: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeClock:
    """Virtual seconds; `advance` calls what is due."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self._timers: list[tuple[float, int, FakeTimer]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(callback)
        heapq.heappush(self._timers, (self.now + seconds, id(timer), timer))
        return timer

    def advance(self, seconds: float) -> None:
        self.now += seconds
        while self._timers and self._timers[0][0] <= self.now:
            timer = heapq.heappop(self._timers)[2]
            if not timer.cancelled:
                timer.callback()


def _hex(data: bytes) -> str:
    return "0x" + data.hex()
