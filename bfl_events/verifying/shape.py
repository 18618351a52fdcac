"""Whether a record's values could stand in a log at all: sizes of numbers, hashes and addresses. Knows no rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from bfl_events.commitment import address_bytes
from bfl_events.schema import Params, Phase, Record

BYTES_OF_ANY_LENGTH = frozenset({"spec_cid", "model_cid", "requester_key", "enc_key", "cid"})
ADDRESSES = frozenset({"task", "requester", "worker", "payout", "who", "sender", "to"})
BITS = {
    "round": 32, "rounds": 32, "attempt": 32, "active_from": 32, "effective_round": 32, "index": 8, "voids": 8,
    "reason": 8, "strikes": 8, "kind": 8, "theta": 16, "deadline": 40, "size": 64,
}


def misshapen(record: Record) -> list[str]:
    """What no contract can have logged; empty if everything has a possible size."""
    return [*_problems(record.event), *_address("emitter", record.emitter)]


def _problems(event: Any) -> Iterator[str]:
    for field in fields(event):
        value = getattr(event, field.name)
        match value:
            case bool() | Phase():
                pass
            case int():
                bits = BITS.get(field.name, 256)
                if not 0 <= value < 1 << bits:
                    yield f"{field.name} is {value}, outside {bits} bits"
            case tuple():
                if any(not 0 <= word < 1 << 256 for word in value):
                    yield f"{field.name} holds a word outside 256 bits"
            case bytes():
                if field.name not in BYTES_OF_ANY_LENGTH and len(value) != 32:
                    yield f"{field.name} has {len(value)} bytes, not 32"
            case Params():
                yield from _problems(value)
            case str() if field.name in ADDRESSES:
                yield from _address(field.name, value)


def _address(name: str, value: str) -> Iterator[str]:
    try:
        address_bytes(value)
    except ValueError as error:
        yield f"{name}: {error}"
