"""The network of nodes: one canonical chain, one pool, a miner with moods, and reorgs.

Owns which transactions get into which block and when. What single endpoints make of it is `endpoint`'s business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

from bfl_events.rpc import RpcRefused
from bfl_events.schema import Address
from tests.simulation.ledger import GWEI, Block, Execution
from tests.simulation.transactions import Tx

UNTOUCHABLE = 1
"""The height of the newest block that no reorg replaces: there the task was made."""


@dataclass(frozen=True, slots=True)
class Mood:
    """How blocks are made. `block_s` 0: only on demand, shortly after a transaction came in. Chances from 0 to 1."""

    block_s: float = 0.0
    slow: float = 0.05
    longest_delay_s: float = 2.5


@dataclass(slots=True)
class Pooled:
    tx: Tx
    visible_at: float


@dataclass(slots=True)
class Listeners:
    """Who hears: `block` of each new canonical block, `reorg` of what was replaced, `tx` of what is new in the pool."""

    block: list[Callable[[Block], None]] = field(default_factory=list)
    reorg: list[Callable[[list[Block], list[Block]], None]] = field(default_factory=list)
    tx: list[Callable[[Tx], None]] = field(default_factory=list)


class Network:
    """`epoch`: wall clock at virtual second 0. `censored(tx)`: the miner leaves it out as long as this holds."""

    def __init__(self, start: list[Block], execution: Execution, mood: Mood, dice: Random, epoch: float) -> None:
        self.chain, self.execution = start, execution
        self.pool: dict[tuple[Address, int], Pooled] = {}
        self.places: dict[bytes, list[Block]] = {}
        self.listeners = Listeners()
        self.base_fee = GWEI
        self.censored: Callable[[Tx], bool] = lambda _: False
        self.reorgs = 0
        self._mood, self._dice, self.epoch = mood, dice, epoch
        self._wanted = asyncio.Event()

    @property
    def head(self) -> Block:
        return self.chain[-1]

    def now(self) -> int:
        return int(self.epoch + asyncio.get_running_loop().time())

    # ---- the pool

    def submit(self, tx: Tx) -> None:
        """Take a transaction into the pool, or refuse it as nodes do."""
        state = self.head.state
        if tx.nonce < state.nonces.get(tx.sender, 0):
            raise RpcRefused(-32003, "nonce too low")
        known = self.pool.get((tx.sender, tx.nonce))
        if known is not None and known.tx.hash == tx.hash:
            raise RpcRefused(-32003, "transaction already imported")
        if known is not None and tx.max_fee * 10 < known.tx.max_fee * 11:
            raise RpcRefused(-32003, "replacement transaction underpriced")
        if state.balances[tx.sender] < tx.value + tx.gas * tx.max_fee:
            raise RpcRefused(-32003, "Insufficient funds for gas * price + value")
        delay = self._dice.uniform(1, self._mood.longest_delay_s) if self._dice.random() < self._mood.slow else 0.0
        self._pool(tx, delay)
        for hear in self.listeners.tx:
            hear(tx)

    def drop_pool(self) -> None:
        """Every node forgets what is not mined."""
        self.pool.clear()

    def _pool(self, tx: Tx, delay: float) -> None:
        self.pool[tx.sender, tx.nonce] = Pooled(tx, asyncio.get_running_loop().time() + delay)
        self._wanted.set()

    # ---- the miner

    async def run(self) -> None:
        """Make blocks for ever."""
        while True:
            if self._mood.block_s:
                await asyncio.sleep(self._mood.block_s * self._dice.uniform(0.7, 1.3))
                self.mine()
                continue
            await self._wanted.wait()
            self._wanted.clear()
            await asyncio.sleep(self._dice.uniform(0.2, 1.0))
            if self._ready():
                self.mine()
            if self.pool:
                asyncio.get_running_loop().call_later(1.0, self._wanted.set)

    def mine(self) -> None:
        """One block with whatever is ready."""
        self._append(self._shuffled(self._ready()))
        nonces = self.head.state.nonces
        for key in [key for key in self.pool if key[1] < nonces.get(key[0], 0)]:
            del self.pool[key]

    def _ready(self) -> list[Tx]:
        now = asyncio.get_running_loop().time()
        return [one.tx for one in self.pool.values() if one.visible_at <= now and not self.censored(one.tx)]

    def _append(self, txs: list[Tx], time: int = 0) -> Block:
        parent = self.head
        time = max(time or self.now(), parent.time + 1)
        salt = self.reorgs.to_bytes(4, "big")
        block = self.execution.mine(parent, time, self.base_fee, txs, salt)
        self.chain.append(block)
        for one in block.mined:
            self.places.setdefault(one.tx.hash, []).append(block)
        for hear in self.listeners.block:
            hear(block)
        return block

    def _shuffled(self, txs: Iterable[Tx]) -> list[Tx]:
        """Any order in which each sender's nonces ascend."""
        txs = list(txs)
        queues: dict[Address, list[Tx]] = {}
        for tx in sorted(txs, key=lambda tx: -tx.nonce):
            queues.setdefault(tx.sender, []).append(tx)
        self._dice.shuffle(txs)
        return [queues[tx.sender].pop() for tx in txs]

    # ---- reorgs

    def reorg(self, depth: int, longer: int, kept: float) -> None:
        """Replace the last `depth` blocks by `depth + longer` others. A share `kept` of the orphaned transactions is in
        the new ones, in another order; the others are back in the pool for later, or lost."""
        depth = min(depth, len(self.chain) - 1 - UNTOUCHABLE)
        if depth < 1:
            return
        self.reorgs += 1
        gone, self.chain = self.chain[-depth:], self.chain[:-depth]
        again, dice = list[Tx](), self._dice
        for tx in (one.tx for block in gone for one in block.mined):
            fate = dice.random()
            if self.censored(tx):
                self._pool(tx, 0.0)
            elif fate < kept:
                again.append(tx)
            elif fate < kept + (1 - kept) / 2:
                self._pool(tx, dice.uniform(0, 8))
        blocks = depth + longer
        for place in range(blocks):
            now = [tx for tx in again if place == blocks - 1 or dice.random() < 1 / (blocks - place)]
            again = [tx for tx in again if tx not in now]
            self._append(self._shuffled(now), gone[place].time if place < depth else 0)
        for hear in self.listeners.reorg:
            hear(gone, self.chain[-blocks:])
