"""One RPC endpoint: JSON-RPC answers from the network's chain, as this node sees it or claims to.

Owns the lag, the lies and the gaps of a single node. Keeps no blocks of its own except while it clings to a dead fork.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from bfl_events.rpc import RpcRefused
from tests.simulation.ledger import GAS_USED, GWEI, Block, hexed
from tests.simulation.network import Network
from tests.simulation.transactions import read_signed, revert_data

TOPIC = hexed(bytes(32))
"""Of every log: blooms are full here, which says nothing, so that nobody compares it."""


class Silence(Exception):
    """The endpoint gives no answer. `at_once`: the connection is refused; else it just never comes."""

    def __init__(self, *, at_once: bool) -> None:
        super().__init__("refused" if at_once else "no answer")
        self.at_once = at_once


class RawLog(dict[str, Any]):
    """A log as `eth_getLogs` has it, and the record it stands for: coding and decoding are tested elsewhere."""

    __slots__ = ("record",)


class Endpoint:
    """`down` and `hung`: no answer. `lag`: so many blocks behind. `forgetful`: null for recent blocks by number.
    `liar`: a head that nobody mined. `swallow`: accepts transactions and drops them. `mute`: takes transactions, the
    answer is lost. `stale`: the chain it clings to."""

    def __init__(self, network: Network, chain_id: int) -> None:
        self._network, self._chain_id = network, chain_id
        self.down = self.hung = self.forgetful = self.liar = self.swallow = self.mute = False
        self.lag = 0
        self.stale: list[Block] | None = None

    def cling(self) -> None:
        """From now on this node knows of no new block."""
        self.stale = list(self._network.chain)

    def ask(self, method: str, params: tuple[Any, ...]) -> Any:
        """The answer. Raises RpcRefused, Silence."""
        if self.down or self.hung:
            raise Silence(at_once=self.down)
        answer = getattr(self, method)(*params)
        if self.mute and method == "eth_sendRawTransaction":
            raise Silence(at_once=False)
        return answer

    def blocks(self) -> list[Block]:
        """All blocks from 1 on, for whoever takes the short cut. Raises Silence."""
        if self.down or self.hung:
            raise Silence(at_once=self.down)
        return self._chain[1:self._top + 1]

    def clock(self) -> int:
        """The time of a block that it would make now."""
        return max(self._network.now(), self._chain[self._top].time + 1)

    # ---- what it sees

    @property
    def _chain(self) -> list[Block]:
        return self._network.chain if self.stale is None else self.stale

    @property
    def _top(self) -> int:
        return max(1, len(self._chain) - 1 - self.lag)

    def _at(self, which: str) -> Block | None:
        if which == "latest":
            return self._chain[self._top]
        number = int(which, 16)
        if number > self._top or (self.forgetful and number > self._top - 3):
            return None
        return self._chain[number]

    @property
    def _next(self) -> dict[str, Any]:
        """The header of a block that nobody has made yet, on top of the newest."""
        newest = self._chain[self._top]
        return {"number": hex(newest.number + 1), "hash": None, "parentHash": hexed(newest.hash),
                "timestamp": hex(self.clock())}

    def _state_at(self, which: str) -> Block:
        block = self._at(which)
        if block is None:
            raise RpcRefused(-32000, "header not found")
        return block

    def _holds(self, block: Block) -> bool:
        return block.number <= self._top and self._chain[block.number] is block

    # ---- blocks and logs

    def eth_chainId(self) -> str:
        return hex(self._chain_id)

    def eth_getBlockByNumber(self, which: str, full: bool) -> dict[str, Any] | None:
        if which == "pending":
            return self._next
        block = self._at(which)
        if block is None:
            return None
        if self.liar and which == "latest":
            invented = sha256(b"invented" + block.hash).digest()
            return {**block.header, "number": hex(block.number + 2), "hash": hexed(invented),
                    "parentHash": hexed(sha256(invented).digest())}
        if not full:
            return block.header
        return {**block.header, "transactions": [
            {"hash": hexed(one.tx.hash), "from": one.tx.sender, "nonce": hex(one.tx.nonce), "to": one.tx.to,
             "input": hexed(one.tx.data), "value": hex(one.tx.value)} for one in block.mined]}

    def eth_getLogs(self, query: dict[str, Any]) -> list[RawLog]:
        if (name := query.get("blockHash")) is not None:
            block = next((b for b in reversed(self._chain[:self._top + 1]) if b.header["hash"] == name), None)
            if block is None:
                raise RpcRefused(-32000, "unknown block")
            blocks = [block]
        else:
            blocks = self._chain[int(query["fromBlock"], 16):min(int(query["toBlock"], 16), self._top) + 1]
        return [_raw(record) for block in blocks for record in block.records if record.emitter in query["address"]]

    def eth_getBlockReceipts(self, which: str) -> list[dict[str, Any]] | None:
        block = self._at(which)
        if block is None:
            return None
        name = hexed(block.hash)
        return [{"blockHash": name, "logs": [_raw(record)]} for record in block.records]

    # ---- accounts and calls

    def eth_getTransactionCount(self, account: str, which: str) -> str:
        return hex(self._state_at(which).state.nonces.get(account, 0))

    def eth_getBalance(self, account: str, which: str) -> str:
        return hex(self._state_at(which).state.balances[account])

    def eth_getCode(self, address: str, which: str) -> str:
        return "0x60" if address in self._state_at(which).state.tasks else "0x"

    def eth_maxPriorityFeePerGas(self) -> str:
        return hex(GWEI)

    def eth_call(self, fields: dict[str, str], which: str = "latest") -> str:
        block = self._state_at(which)
        data, value = bytes.fromhex(fields["data"][2:]), int(fields.get("value", "0x0"), 16)
        error = self._network.execution.probe(block, fields["from"], fields["to"], data, value)
        if error is not None:
            raise RpcRefused(3, "execution reverted", hexed(revert_data(error)))
        return "0x"

    def eth_estimateGas(self, fields: dict[str, str]) -> str:
        self.eth_call(fields)
        return hex(GAS_USED)

    # ---- transactions

    def eth_sendRawTransaction(self, raw: str) -> str:
        tx = read_signed(bytes.fromhex(raw[2:]))
        if not self.swallow:
            self._network.submit(tx)
        return hexed(tx.hash)

    def eth_getTransactionByHash(self, name: str) -> dict[str, Any] | None:
        """It is mined or in the pool."""
        tx_hash = bytes.fromhex(name[2:])
        pooled = any(one.tx.hash == tx_hash for one in self._network.pool.values())
        return {"hash": name} if pooled or self.eth_getTransactionReceipt(name) is not None else None

    def eth_getTransactionReceipt(self, name: str) -> dict[str, Any] | None:
        tx_hash = bytes.fromhex(name[2:])
        block = next((b for b in self._network.places.get(tx_hash, ()) if self._holds(b)), None)
        return None if block is None else block.receipts[tx_hash]


def _raw(record: Any) -> RawLog:
    raw = RawLog(blockNumber=hex(record.block), blockHash=hexed(record.block_hash), logIndex=hex(record.log_index),
                 blockTimestamp=hex(record.time), address=record.emitter, topics=[TOPIC])
    raw.record = record
    return raw
