"""Blocks that can be forked: each holds the whole state after it, so that a reorg is a matter of pointing elsewhere.

Owns the execution of transactions on the contract's Python model, receipts, logs and balances. Decides no order and
serves no RPC.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from bfl_events.schema import Address, Event, Record
from bfl_events.state import TaskState
from tests.simulation.chain import ChainModel, ContractError
from tests.simulation.contract import FactoryModel, TaskModel
from tests.simulation.transactions import Tx, model_call

MINER: Final = "0x" + "99" * 20
GAS_USED: Final = 100_000
GWEI: Final = 10**9


class Fork(ChainModel):
    """The surroundings of one block under construction: its hash is known before its content is executed."""

    block_hash: bytes = b""
    tx_hash: bytes = b""

    def stamp(self, emitter: Address, event: Event) -> Record:
        record = Record(self.number, self.block_hash, self.time, self.logs_in_block, self.tx_hash, emitter, event)
        self.logs_in_block += 1
        return record


@dataclass(frozen=True, slots=True)
class State:
    """Everything the chain holds after a block. The mappings are never changed once they are in here."""

    tasks: dict[Address, TaskState]
    balances: Counter[Address]
    nonces: dict[Address, int]

    @property
    def wei(self) -> int:
        return sum(self.balances.values())


@dataclass(frozen=True, slots=True)
class Mined:
    """A transaction in a block. `error` is why it reverted."""

    tx: Tx
    error: ContractError | None
    price: int


@dataclass(slots=True, eq=False)
class Block:
    number: int
    hash: bytes
    parent: Block | None
    time: int
    base_fee: int
    mined: tuple[Mined, ...]
    records: tuple[Record, ...]
    state: State
    header: dict[str, Any] = field(init=False)
    receipts: dict[bytes, dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        parent = self.parent.hash if self.parent is not None else bytes(32)
        self.header = {
            "number": hex(self.number), "hash": hexed(self.hash), "parentHash": hexed(parent),
            "timestamp": hex(self.time), "baseFeePerGas": hex(self.base_fee),
            "logsBloom": "0x" + ("ff" if self.records else "00") * 256,
        }
        self.receipts = {
            one.tx.hash: {
                "blockNumber": hex(self.number), "blockHash": hexed(self.hash), "gasUsed": hex(GAS_USED),
                "effectiveGasPrice": hex(one.price), "status": "0x0" if one.error else "0x1",
            } for one in self.mined
        }


def genesis(time: int, chain_id: int, balances: dict[Address, int]) -> Block:
    """Block 0, with ether and nothing else."""
    state = State({}, Counter(balances), {})
    return Block(0, sha256(b"genesis %d %d" % (chain_id, time)).digest(), None, time, GWEI, (), (), state)


def block_hash(parent: Block, time: int, txs: Iterable[Tx], salt: bytes) -> bytes:
    names = b"".join(tx.hash for tx in txs)
    return sha256(parent.hash + time.to_bytes(8, "big") + salt + names).digest()


def found_task(parent: Block, time: int, factory: FactoryModel, *arguments: Any, value: int) -> Block:
    """The block in which the factory made the task; no agent does that."""
    chain = factory.chain
    assert isinstance(chain, Fork)
    _begin(chain, parent, time, block_hash(parent, time, (), b"task"))
    chain.tx_hash = sha256(b"creation").digest()
    task = factory.create_task(*arguments, value=value)
    state = State({task.address: task.state}, chain.balances, parent.state.nonces)
    return Block(chain.number, chain.block_hash, parent, time, GWEI, (), tuple(chain.records), state)


class Execution:
    """Runs calls on the state of a block: to build the next one, or to answer what a call would do."""

    def __init__(self, chain_id: int) -> None:
        self._chain = Fork(chain_id=chain_id, block_open=True)

    def mine(self, parent: Block, time: int, base_fee: int, txs: Sequence[Tx], salt: bytes) -> Block:
        """The next block with those of the transactions that are valid in this order."""
        chain = self._chain
        _begin(chain, parent, time, block_hash(parent, time, txs, salt))
        tasks, nonces = dict(parent.state.tasks), dict(parent.state.nonces)
        mined = []
        for tx in txs:
            if tx.nonce != nonces.get(tx.sender, 0) or tx.max_fee < base_fee or tx.tip < 0:
                continue
            if chain.balances[tx.sender] < tx.value + tx.gas * tx.max_fee:
                continue
            nonces[tx.sender] = tx.nonce + 1
            price = min(tx.max_fee, base_fee + tx.tip)
            chain.balances[tx.sender] -= GAS_USED * price
            chain.balances[MINER] += GAS_USED * price
            chain.tx_hash = tx.hash
            mined.append(Mined(tx, self._run(tx, tasks), price))
        state = State(tasks, chain.balances, nonces)
        return Block(chain.number, chain.block_hash, parent, time, base_fee, tuple(mined), tuple(chain.records), state)

    def probe(self, block: Block, sender: Address, to: Address, data: bytes, value: int) -> ContractError | None:
        """Why a call on the state of a block would revert, seen at that block's time; None if it would not."""
        chain = self._chain
        chain.records, chain.balances, chain.logs_in_block = [], Counter(block.state.balances), 0
        chain.number, chain.time, chain.block_hash, chain.tx_hash = block.number + 1, block.time, block.hash, b""
        tx = Tx(b"", sender, 0, to, data, value, 0, 0, 0)
        return self._run(tx, dict(block.state.tasks))

    def _run(self, tx: Tx, tasks: dict[Address, TaskState]) -> ContractError | None:
        chain = self._chain
        state = tasks.get(tx.to)
        if state is None:
            chain.balances[tx.sender] -= tx.value
            chain.balances[tx.to] += tx.value
            return None
        model = TaskModel.__new__(TaskModel)
        model.chain, model.address, model.state = chain, tx.to, state
        balances, logs, logged = Counter(chain.balances), chain.logs_in_block, len(chain.records)
        name, arguments = model_call(tx.data)
        extra = {"value": tx.value} if name == "join_task" else {}
        try:
            getattr(model, name)(tx.sender, *arguments, **extra)
        except ContractError as error:
            chain.balances, chain.logs_in_block = balances, logs
            del chain.records[logged:]
            return error
        tasks[tx.to] = model.state
        return None


def _begin(chain: Fork, parent: Block, time: int, name: bytes) -> None:
    chain.number, chain.time, chain.block_hash = parent.number + 1, time, name
    chain.balances, chain.records, chain.logs_in_block = Counter(parent.state.balances), [], 0
    chain.dice = int.from_bytes(name, "big")
    chain.block_open = True


def hexed(data: bytes) -> str:
    return "0x" + data.hex()
