"""Raw logs (JSON of `eth_getLogs`) to typed records, after the contract's ABI.

Owns the table from topic to event and its strictness: what is unknown, malformed or not exactly what the contract
would have encoded is a `DecodeError`. Reads `bfl_events/abi/*.json`, never a chain.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import IntEnum
from functools import cache
from importlib import resources
from typing import Any, Final, get_origin, get_type_hints

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError, EncodingError

from bfl_events.codec import EVENTS, checksummed
from bfl_events.keccak import keccak256
from bfl_events.schema import Event, Record

RawLog = Mapping[str, Any]
Convert = Callable[[Any], Any]

RENAMED: Final[Mapping[tuple[str, str], str]] = {("Notice", "from"): "sender"}
"""ABI parameters whose snake_case name is not the field's: `from` is a keyword."""


class DecodeError(ValueError):
    """A log that this version of the contract cannot have written."""

    def __init__(self, why: str, block: object = "?", log_index: object = "?") -> None:
        super().__init__(f"log {log_index} of block {block}: {why}")
        self.why = why


class AbiMismatch(Exception):
    """The installed ABI files and `schema.py` do not describe the same events."""


@dataclass(frozen=True, slots=True)
class EventType:
    """How one event is laid out: its class, and for each group of parameters the ABI types and field positions."""

    cls: type[Any]
    topic: bytes
    topic_types: tuple[str, ...]
    topic_fields: tuple[int, ...]
    data_types: tuple[str, ...]
    data_fields: tuple[int, ...]
    converts: tuple[Convert, ...]


EventTable = Mapping[bytes, EventType]


@cache
def table() -> EventTable:
    """The events of the installed ABI, by topic. Raises AbiMismatch if one of `schema`'s events is not among them."""
    entries: list[Mapping[str, Any]] = []
    for item in sorted(resources.files("bfl_events.abi").iterdir(), key=lambda item: item.name):
        if item.name.endswith(".json"):
            content = json.loads(item.read_text())
            entries += content["abi"] if isinstance(content, dict) and "abi" in content else []
    return build_table(entries)


def build_table(entries: Iterable[Mapping[str, Any]]) -> EventTable:
    """The table for a list of ABI entries; entries that are not `schema`'s events are left out."""
    built = {}
    for entry in entries:
        if entry.get("type") == "event" and entry.get("name") in EVENTS:
            event_type = _event_type(EVENTS[entry["name"]], entry["inputs"])
            built[event_type.topic] = event_type
    if missing := EVENTS.keys() - {known.cls.__name__ for known in built.values()}:
        raise AbiMismatch(f"the ABI does not contain the events {', '.join(sorted(missing))}")
    return built


def snake_case(event: str, parameter: str) -> str:
    """The field that holds an ABI parameter: `perTop` is `per_top`."""
    return RENAMED.get((event, parameter)) or re.sub(r"(?<!^)([A-Z])", r"_\1", parameter).lower()


def decode_log(raw: RawLog, time: int | None = None, events: EventTable | None = None) -> Record:
    """The record of one raw log. `time` is the block's timestamp in seconds, else the log's own `blockTimestamp`.

    Raises DecodeError for an unknown topic, malformed or non-canonical data (dirty padding, trailing bytes), a wrong
    number of topics, and fields of the log itself that are missing or out of form.
    """
    block, index = raw.get("blockNumber"), raw.get("logIndex")
    try:
        block, index = quantity(block), quantity(index)
        topics = [fixed_bytes(topic, 32) for topic in raw["topics"]]
        if raw.get("removed"):
            raise ValueError("it was removed by a reorg")
        event_type = (table() if events is None else events).get(topics[0]) if topics else None
        if event_type is None:
            raise ValueError(f"unknown event with topic {'0x' + topics[0].hex() if topics else 'none'}")
        event = _event(event_type, topics[1:], any_bytes(raw["data"]))
        return Record(
            block=block,
            block_hash=fixed_bytes(raw["blockHash"], 32),
            time=quantity(raw["blockTimestamp"]) if time is None else time,
            log_index=index,
            tx=fixed_bytes(raw["transactionHash"], 32),
            emitter=checksummed(fixed_bytes(raw["address"], 20)),
            event=event,
        )
    except KeyError as error:
        raise DecodeError(f"it has no field {error}", block, index) from None
    except (ValueError, TypeError, DecodingError, EncodingError, OverflowError) as error:
        raise DecodeError(str(error) or type(error).__name__, block, index) from None


def quantity(value: object) -> int:
    """A JSON-RPC quantity: 0x and hex digits, at most 64 bits here. Raises ValueError."""
    if not isinstance(value, str) or not re.fullmatch(r"0x[0-9a-fA-F]{1,16}", value):
        raise ValueError(f"{str(value)[:80]!r} is no quantity")
    return int(value, 16)


def any_bytes(value: object) -> bytes:
    """JSON-RPC data: 0x and pairs of hex digits. Raises ValueError."""
    if not isinstance(value, str) or value[:2] != "0x":
        raise ValueError(f"{str(value)[:80]!r} is no data")
    raw = bytes.fromhex(value[2:])
    if 2 * len(raw) != len(value) - 2:
        raise ValueError(f"{value[:80]!r} is no data")
    return raw


def fixed_bytes(value: object, length: int) -> bytes:
    """JSON-RPC data of exactly `length` bytes. Raises ValueError."""
    raw = any_bytes(value)
    if len(raw) != length:
        raise ValueError(f"{str(value)[:80]!r} has {len(raw)} bytes, not {length}")
    return raw


def _event(event_type: EventType, topics: Sequence[bytes], data: bytes) -> Event:
    name = event_type.cls.__name__
    if len(topics) != len(event_type.topic_types):
        raise ValueError(f"{name} with {len(topics)} indexed parameters, not {len(event_type.topic_types)}")
    values: list[Any] = [None] * len(event_type.converts)
    for types, positions, words in (
        (event_type.topic_types, event_type.topic_fields, b"".join(topics)),
        (event_type.data_types, event_type.data_fields, data),
    ):
        decoded = decode(types, words) if types else ()
        # Encoding again is the whole test for trailing bytes, dirty padding and odd offsets.
        if encode(types, decoded) != words:
            raise ValueError(f"{name} whose parameters are not encoded as the contract does")
        for position, value in zip(positions, decoded, strict=True):
            values[position] = event_type.converts[position](value)
    event: Event = event_type.cls(*values)
    return event


def _event_type(cls: type[Any], inputs: Sequence[Mapping[str, Any]]) -> EventType:
    name = cls.__name__
    given = [snake_case(name, parameter["name"]) for parameter in inputs]
    wanted = [field.name for field in fields(cls)]
    if given != wanted:
        raise AbiMismatch(f"{name} has the parameters {given} in the ABI and the fields {wanted} in schema.py")
    types = [_abi_type(parameter) for parameter in inputs]
    indexed = [bool(parameter.get("indexed")) for parameter in inputs]
    topic_fields = tuple(i for i, is_topic in enumerate(indexed) if is_topic)
    data_fields = tuple(i for i, is_topic in enumerate(indexed) if not is_topic)
    hints = get_type_hints(cls)
    return EventType(
        cls=cls,
        topic=keccak256(f"{name}({','.join(types)})".encode()),
        topic_types=tuple(types[i] for i in topic_fields),
        topic_fields=topic_fields,
        data_types=tuple(types[i] for i in data_fields),
        data_fields=data_fields,
        converts=tuple(_convert(hints[field], parameter) for field, parameter in zip(wanted, inputs, strict=True)),
    )


def _abi_type(parameter: Mapping[str, Any]) -> str:
    kind: str = parameter["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(map(_abi_type, parameter['components']))}){kind[len('tuple'):]}"


def _convert(hint: Any, parameter: Mapping[str, Any]) -> Convert:
    if get_origin(hint) is tuple:
        return tuple
    if is_dataclass(hint):
        given = [snake_case("", component["name"]) for component in parameter["components"]]
        if given != [field.name for field in fields(hint)]:
            raise AbiMismatch(f"the components of {parameter['name']} in the ABI are {given}")
        return lambda values: hint(*values)  # type: ignore[operator]
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return hint
    if parameter["type"] == "address":
        return lambda text: checksummed(bytes.fromhex(text[2:]))
    return _same


def _same(value: Any) -> Any:
    return value
