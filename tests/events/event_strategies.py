"""Random events and records for Hypothesis, made from the type hints of `schema` and the bytes lengths of the codec."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, get_origin, get_type_hints

from eth_abi.abi import encode
from hypothesis import strategies as st

from bfl_events.codec import DYNAMIC_BYTES, EVENTS, checksummed
from bfl_events.decode import EventTable
from bfl_events.schema import Bitmap, Event, Phase, Record, Wei, Word

addresses = st.binary(min_size=20, max_size=20).map(checksummed)
words = st.integers(0, 2**256 - 1)
hashes = st.binary(min_size=32, max_size=32)


def _values(name: str, hint: Any) -> st.SearchStrategy[Any]:
    if hint is bytes:
        return st.binary(max_size=70) if name in DYNAMIC_BYTES else hashes
    if get_origin(hint) is tuple:
        return st.lists(words, max_size=9).map(tuple)
    if is_dataclass(hint):
        return objects(hint)
    small = st.integers(0, 255) if name not in {"collateral", "hard_stop"} else st.integers(0, 2**40 - 1)
    return {Wei: small if name == "collateral" else words, Bitmap: words, Word: words, int: small, bool: st.booleans(),
            str: addresses, Phase: st.sampled_from(Phase)}[hint]


def objects(cls: Any) -> st.SearchStrategy[Any]:
    hints = get_type_hints(cls)
    return st.builds(cls, *(_values(field.name, hints[field.name]) for field in fields(cls)))


events: st.SearchStrategy[Any] = st.one_of([objects(cls) for cls in EVENTS.values()])


def records(event: st.SearchStrategy[Any] = events) -> st.SearchStrategy[Record]:
    number = st.integers(0, 2**40)
    return st.builds(Record, number, hashes, number, st.integers(0, 1000), hashes, addresses, event)


def raw_log(record: Record, table: EventTable) -> dict[str, Any]:
    """The log that the contract would have written, as `eth_getLogs` sends it."""
    event: Event = record.event
    layout = next(one for one in table.values() if one.cls is type(event))
    values = [_plain(getattr(event, field.name)) for field in fields(event)]
    topics = encode(layout.topic_types, [values[place] for place in layout.topic_fields])
    data = encode(layout.data_types, [values[place] for place in layout.data_fields])
    return {
        "address": record.emitter.lower(),
        "topics": ["0x" + layout.topic.hex(), *("0x" + topics[i:i + 32].hex() for i in range(0, len(topics), 32))],
        "data": "0x" + data.hex(),
        "blockNumber": hex(record.block),
        "blockHash": "0x" + record.block_hash.hex(),
        "blockTimestamp": hex(record.time),
        "transactionHash": "0x" + record.tx.hex(),
        "transactionIndex": "0x0",
        "logIndex": hex(record.log_index),
        "removed": False,
    }


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return tuple(_plain(getattr(value, field.name)) for field in fields(value))
    return list(value) if isinstance(value, tuple) else value
