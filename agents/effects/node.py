"""What a node says about one account, as typed values.

Owns the JSON-RPC names and the reading of answers; a malformed answer is `Transient`. Keeps nothing but the last tip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from agents.effects.fees import GWEI
from agents.effects.ports import Fatal, Receipt, Transient
from agents.effects.refusals import Refusal, meaning
from agents.effects.slots import Attempt, Ending, Landing
from bfl_events.boundaries import Boundary, passing
from bfl_events.commitment import checksum_address
from bfl_events.rpc import RpcRefused, Unavailable, WrongChain, WrongContract
from bfl_events.schema import Address

_TIP_BLOCKS = 10      # a suggested tip is asked for again after this many blocks


class RpcCaller(Protocol):
    """`bfl_events.rpc.Rpc`, or an in-memory chain. Raises `Unavailable` or `RpcRefused` of that module."""

    async def call(self, method: str, *params: Any) -> Any: ...
    def tell_others(self, method: str, *params: Any) -> None: ...


async def ask(rpc: RpcCaller, method: str, *params: Any) -> Any:
    """The node's answer. Raises Transient if nobody answers, Fatal for another chain, RpcRefused for an error."""
    try:
        return await rpc.call(method, *params)
    except Unavailable as error:
        raise Transient(str(error)) from error
    except (WrongChain, WrongContract) as error:
        raise Fatal(f"{error}. Check the endpoints and the contract's address in the configuration",
                    exit_code=14) from error


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block. `base_fee` in wei per gas."""

    number: int
    hash: bytes
    time: int
    base_fee: int


@dataclass(frozen=True, slots=True)
class Usage:
    """The mined transaction that used a nonce."""

    tx: bytes
    block: int
    to: str | None
    data: bytes
    value: int


class Node:
    """Reads and sends for `account`. Every method may raise Transient, Fatal or RpcRefused."""

    def __init__(self, rpc: RpcCaller, account: Address) -> None:
        self._rpc = rpc
        self._account = account
        self._tip: tuple[int, int] | None = None

    async def head(self) -> Head:
        block = await ask(self._rpc, "eth_getBlockByNumber", "latest", False)
        with _Reading("eth_getBlockByNumber"):
            return Head(_number(block["number"]), _bytes(block["hash"]), _number(block["timestamp"]),
                        _number(block.get("baseFeePerGas", "0x0")))

    async def genesis(self) -> bytes | None:
        """Hash of block 0, as block 1 names it: anvil, started from a state on disk, may serve a block 0 of its own.
        None where the node has neither."""
        first = await ask(self._rpc, "eth_getBlockByNumber", "0x1", False)
        with _Reading("eth_getBlockByNumber"):
            if first is not None and "parentHash" in first:
                return _bytes(first["parentHash"])
        block = await ask(self._rpc, "eth_getBlockByNumber", "0x0", False)
        with _Reading("eth_getBlockByNumber"):
            return None if block is None else _bytes(block["hash"])

    async def nonce(self, block: int | None = None) -> int:
        """How many transactions of the account are mined, at the latest or at an older block."""
        which = "latest" if block is None else hex(block)
        count = await ask(self._rpc, "eth_getTransactionCount", self._account, which)
        with _Reading("eth_getTransactionCount"):
            return _number(count)

    async def balance(self, account: Address | None = None) -> int:
        """Wei at the latest block."""
        wei = await ask(self._rpc, "eth_getBalance", account or self._account, "latest")
        with _Reading("eth_getBalance"):
            return _number(wei)

    async def code(self, address: Address) -> bytes:
        """The code at an address, at the latest block; empty where there is no contract."""
        code = await ask(self._rpc, "eth_getCode", address, "latest")
        with _Reading("eth_getCode"):
            return _bytes(code)

    async def created(self, tx: bytes) -> Address:
        """Where a mined creation put its contract."""
        receipt = await ask(self._rpc, "eth_getTransactionReceipt", "0x" + tx.hex())
        with _Reading("eth_getTransactionReceipt"):
            return checksum_address(_bytes(receipt["contractAddress"]))

    async def estimate(self, fields: Mapping[str, str]) -> int:
        """Gas of a call at the latest state. RpcRefused carries the revert."""
        gas = await ask(self._rpc, "eth_estimateGas", fields)
        with _Reading("eth_estimateGas"):
            return _number(gas)

    async def view(self, fields: Mapping[str, str], block: int | None = None) -> bytes:
        """What a call would return. RpcRefused carries the revert."""
        answer = await ask(self._rpc, "eth_call", fields, "latest" if block is None else hex(block))
        with _Reading("eth_call"):
            return _bytes(answer)

    async def tip(self, head: int) -> int:
        """Wei per gas that the node suggests, 1 gwei where it has no opinion."""
        if self._tip is None or not self._tip[0] <= head < self._tip[0] + _TIP_BLOCKS:
            try:
                answer = await ask(self._rpc, "eth_maxPriorityFeePerGas")
            except RpcRefused:
                answer = hex(GWEI)
            with _Reading("eth_maxPriorityFeePerGas"):
                self._tip = (head, _number(answer))
        return self._tip[1]

    async def push(self, raw: bytes, *, widely: bool) -> tuple[Refusal | None, str]:
        """Send signed bytes, `widely` to the other endpoints too; what the node had against them, and its words."""
        text = "0x" + raw.hex()
        try:
            with passing(Boundary.TX_SEND):
                if widely:
                    self._rpc.tell_others("eth_sendRawTransaction", text)
                await ask(self._rpc, "eth_sendRawTransaction", text)
        except RpcRefused as refused:
            return meaning(refused.message), refused.message
        return None, ""

    async def knows(self, tx: bytes) -> bool:
        """Whether it has this transaction, mined or waiting."""
        return await ask(self._rpc, "eth_getTransactionByHash", "0x" + tx.hex()) is not None

    async def landing(self, attempts: Sequence[Attempt]) -> Landing | None:
        """The receipt of whichever version was mined, newest version first."""
        for attempt in reversed(attempts):
            answer = await ask(self._rpc, "eth_getTransactionReceipt", "0x" + attempt.hash.hex())
            if answer is None or answer.get("blockNumber") is None:      # some have receipts for the pending block
                continue
            with _Reading("eth_getTransactionReceipt"):
                receipt = Receipt(attempt.hash, _number(answer["blockNumber"]), _number(answer["gasUsed"]),
                                  _number(answer.get("effectiveGasPrice", "0x0")))
                passed = _number(answer["status"]) == 1
                ending = Ending.VOID if attempt.void else Ending.MINED if passed else Ending.REVERTED
                return Landing(ending, receipt, _bytes(answer["blockHash"]))
        return None

    async def who_used(self, nonce: int, since: int, head: int) -> Usage | None:
        """The account's mined transaction with this nonce, by bisection between two blocks; None if not to be found."""
        try:
            low = since if await self.nonce(since) <= nonce else 0
            high = head
            while low < high:
                middle = (low + high) // 2
                if await self.nonce(middle) > nonce:
                    high = middle
                else:
                    low = middle + 1
            block = await ask(self._rpc, "eth_getBlockByNumber", hex(high), True)
        except RpcRefused:                            # the node keeps no state that old
            return None
        with _Reading("eth_getBlockByNumber"):
            for tx in block["transactions"] if block else ():
                if tx["from"].lower() == self._account.lower() and _number(tx["nonce"]) == nonce:
                    data = _bytes(tx.get("input", "0x"))
                    return Usage(_bytes(tx["hash"]), high, tx.get("to"), data, _number(tx["value"]))
        return None


def _number(text: str) -> int:
    return int(text, 16)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


class _Reading:
    """The block inside reads an answer to `method`; if it cannot, Transient is raised."""

    __slots__ = ("_method",)

    def __init__(self, method: str) -> None:
        self._method = method

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
                 ) -> None:
        if isinstance(error, KeyError | TypeError | ValueError | AttributeError):
            raise Transient(
                f"the node gave a malformed answer to {self._method} ({error!r}); asking again") from error
