"""What one endpoint says about blocks and logs, checked for form and against itself.

Owns the reading of headers and logs from a single endpoint, so that one pass never mixes two chains. Does not judge
whether the endpoint is on our chain (`lineage`), nor keep anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from bfl_events import bloom
from bfl_events.decode import DecodeError, EventTable, RawLog, any_bytes, decode_log, fixed_bytes, quantity, table
from bfl_events.schema import Address, Record
from bfl_events.transport import RpcError, RpcRefused

ADDRESSES_A_CALL: Final = 200
_DECODED_AT_ONCE: Final = 200


class Contradiction(Exception):
    """The endpoint contradicts itself or the form of its answers: it must not be believed."""


class Torn(Exception):
    """The chain moved while it was read: take the pass again."""


class Reads(Protocol):
    """What the source needs of `rpc.Rpc`; endpoints are places in its list. A simulation passes its own."""

    @property
    def current(self) -> int: ...
    def name(self, endpoint: int) -> str: ...
    def others(self, endpoint: int) -> Sequence[int]: ...
    def blame(self, endpoint: int, why: str) -> None: ...
    async def call_on(self, endpoint: int, method: str, *params: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Header:
    """A block's header; `time` in seconds, `bloom` the 256 bytes that say which addresses may have logged, `base_fee`
    in wei per gas, 0 where the chain has none."""

    number: int
    hash: bytes
    parent: bytes
    time: int
    bloom: bytes
    base_fee: int = 0

    def may_hold_logs_of(self, addresses: Sequence[Address]) -> bool:
        """False only if none of the addresses logged anything in this block (yellow paper, 4.3.1)."""
        return any(bloom.may_hold(self.bloom, _raw(address)) for address in addresses)

    def hides(self, raws: Iterable[RawLog], addresses: Sequence[Address], topics: Iterable[bytes]) -> bool:
        """Whether its bloom speaks of logs of these contracts that are not among `raws`; it may err."""
        shown = [(_raw(raw["address"]), _raw(raw["topics"][0])) for raw in raws]
        return bloom.hides(self.bloom, shown, map(_raw, addresses), topics)

    def allows(self, record: Record, events: EventTable) -> bool:
        """False only if no log of this contract with this event's topic is in the block."""
        topics = [topic for topic, known in events.items() if known.cls is type(record.event)]
        return bloom.may_hold(self.bloom, _raw(record.emitter), *topics)


@dataclass(frozen=True, slots=True)
class Span:
    """Blocks `first` to `end`, both included. `inner`: the headers between, where they are known; each is then the
    parent of the next. `doubted`: something was missing when they were read before."""

    first: int
    end: Header
    inner: tuple[Header, ...] = ()
    doubted: bool = False

    @property
    def headers(self) -> tuple[Header, ...]:
        """All that are known."""
        return (*self.inner, self.end)


class View:
    """One endpoint's answers. Methods raise what `Reads.call_on` raises, and Contradiction."""

    def __init__(self, rpc: Reads, endpoint: int, events: EventTable | None = None) -> None:
        self._rpc, self.endpoint, self._events = rpc, endpoint, events

    @property
    def events(self) -> EventTable:
        """The events that the contracts log, by topic."""
        return table() if self._events is None else self._events

    def through(self, endpoint: int) -> View:
        """The same questions to another endpoint."""
        return View(self._rpc, endpoint, self._events)

    async def chain_id(self) -> int:
        """The chain it serves."""
        try:
            return quantity(await self._ask("eth_chainId"))
        except ValueError as error:
            raise Contradiction(f"its chain id is none: {error}") from None

    async def latest(self) -> Header:
        """The newest block."""
        header = _header(await self._ask("eth_getBlockByNumber", "latest", False))
        if header is None:
            raise Contradiction("it has no latest block")
        return header

    async def header(self, number: int) -> Header | None:
        """The block at a height, None if there is none."""
        header = _header(await self._ask("eth_getBlockByNumber", hex(number), False))
        if header is not None and header.number != number:
            raise Contradiction(f"asked for block {number} it sent block {header.number}")
        return header

    async def hash(self, number: int) -> bytes | None:
        """The hash of the block at a height, None if there is none."""
        header = await self.header(number)
        return None if header is None else header.hash

    async def next_time(self, number: int, hash: bytes) -> int | None:
        """The time in seconds that a block on top of this one would have now, by the node's own clock; None where the
        node has no such block to show."""
        try:
            raw = await self._ask("eth_getBlockByNumber", "pending", False)
            on_top = (quantity(raw["number"]) - 1, fixed_bytes(raw["parentHash"], 32)) == (number, hash)
            return quantity(raw["timestamp"]) if on_top else None
        except (RpcError, TypeError, KeyError, ValueError):
            return None

    async def logs(self, where: Span | Header, addresses: Sequence[Address]) -> list[RawLog]:
        """The raw logs of these contracts in a span, or in exactly one block, as the endpoint sends them."""
        if isinstance(where, Header):
            place = {"blockHash": "0x" + where.hash.hex()}
        else:
            place = {"fromBlock": hex(where.first), "toBlock": hex(where.end.number)}
        found: list[RawLog] = []
        for start in range(0, len(addresses), ADDRESSES_A_CALL):
            answer = await self._ask("eth_getLogs", {**place, "address": addresses[start:start + ADDRESSES_A_CALL]})
            if not isinstance(answer, list) or not all(isinstance(log, dict) for log in answer):
                raise Contradiction("its logs are not a list of logs")
            found += answer
        return found

    async def receipt_logs(self, header: Header, addresses: Sequence[Address]) -> list[RawLog] | None:
        """The same logs of a block by another way: out of its receipts; None where it has none. Raises Torn if they
        are those of another block."""
        try:
            receipts = await self._ask("eth_getBlockReceipts", hex(header.number))
        except RpcRefused:
            return None
        if receipts is None:
            return None
        if not isinstance(receipts, list) or not all(isinstance(one, dict) for one in receipts):
            raise Contradiction("its receipts are not a list of receipts")
        wanted = {address.lower() for address in addresses}
        if any(one.get("blockHash") != "0x" + header.hash.hex() for one in receipts):
            raise Torn(f"block {header.number} was replaced")
        held = [one.get("logs") or [] for one in receipts]
        if not all(isinstance(logs, list) and all(isinstance(log, dict) for log in logs) for logs in held):
            raise Contradiction("the logs of its receipts are not lists of logs")
        return [log for logs in held for log in logs if log.get("address") in wanted]

    async def decoded(
        self, raws: Sequence[RawLog], where: Span | Header, addresses: Sequence[Address]
    ) -> list[Record]:
        """The records of raw logs, in order, each with its block's time. Raises DecodeError, Torn, Contradiction."""
        times = {} if isinstance(where, Header) else await self._missing_times(raws)
        records = []
        for n, raw in enumerate(raws):
            if n % _DECODED_AT_ONCE == _DECODED_AT_ONCE - 1:
                await asyncio.sleep(0)   # 70 us a log: let others run
            time = where.time if isinstance(where, Header) else times.get(raw.get("blockNumber"))
            records.append(decode_log(raw, time, self._events))
        records.sort(key=lambda record: (record.block, record.log_index))
        _check(records, where, frozenset(addresses))
        _check_bloom(raws, where if isinstance(where, Header) else where.end)
        return records

    async def _missing_times(self, raws: Sequence[RawLog]) -> dict[Any, int]:
        """Times of the blocks whose logs come without, as older nodes send them."""
        lacking = {raw.get("blockNumber"): raw for raw in raws if raw.get("blockTimestamp") is None}
        times = {}
        for text, raw in lacking.items():
            try:
                header, claimed = await self.header(quantity(text)), fixed_bytes(raw.get("blockHash"), 32)
            except ValueError as error:
                raise DecodeError(str(error), text, raw.get("logIndex")) from None
            if header is None or header.hash != claimed:
                raise Torn(f"block {text} was replaced")
            times[text] = header.time
        return times

    async def _ask(self, method: str, *params: Any) -> Any:
        return await self._rpc.call_on(self.endpoint, method, *params)


def _header(raw: object) -> Header | None:
    if raw is None:
        return None
    if not isinstance(raw, Mapping):
        raise Contradiction("its block is not a block")
    try:
        return Header(
            number=quantity(raw["number"]),
            hash=fixed_bytes(raw["hash"], 32),
            parent=fixed_bytes(raw["parentHash"], 32),
            time=quantity(raw["timestamp"]),
            bloom=any_bytes(raw.get("logsBloom") or "0x" + "ff" * 256),
            base_fee=quantity(raw.get("baseFeePerGas") or "0x0"),
        )
    except (KeyError, ValueError) as error:
        raise Contradiction(f"its block has no usable {error}") from None


def _check(records: Sequence[Record], where: Span | Header, addresses: frozenset[Address]) -> None:
    """Only what was asked for, each place once, one hash per height; Torn if the end is not the one we know."""
    end = where if isinstance(where, Header) else where.end
    first = end.number if isinstance(where, Header) else where.first
    known = (where,) if isinstance(where, Header) else where.headers
    place, hashes = (-1, -1), {header.number: header.hash for header in known}
    for record in records:
        if not first <= record.block <= end.number or record.emitter not in addresses:
            raise Contradiction(f"it sent a log of {record.emitter} in block {record.block}, which nobody asked for")
        if (record.block, record.log_index) == place:
            raise Contradiction(f"it sent log {record.log_index} of block {record.block} twice")
        if hashes.setdefault(record.block, record.block_hash) != record.block_hash:
            raise Torn(f"block {record.block} was replaced")
        place = (record.block, record.log_index)


def _check_bloom(raws: Sequence[RawLog], header: Header) -> None:
    """A log whose block's bloom denies it was invented, unless the chain has no blooms and sends zeros."""
    for raw in raws if any(header.bloom) else ():
        if quantity(raw["blockNumber"]) == header.number and not bloom.may_hold(
                header.bloom, _raw(raw["address"]), *map(_raw, raw["topics"])):
            raise Contradiction(f"it sent a log in block {header.number} which that block's bloom denies")


def _raw(text: str) -> bytes:
    return bytes.fromhex(text[2:])
