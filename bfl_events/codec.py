"""Events and states as JSON values, and events back again, strictly.

Owns the spelling: wei as decimal strings, bitmaps and words as hex strings, bytes as 0x hex, other integers as
numbers, enum members by name. Follows the type hints of `schema` and `state`; knows no file, chain or role.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import IntEnum
from functools import cache, lru_cache
from operator import call, itemgetter
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from bfl_events.commitment import checksum_address
from bfl_events.schema import Bitmap, Event, Phase, Wei, Word

Encode = Callable[[Any], Any]
Decode = Callable[[Any], Any]

EVENTS: Final[Mapping[str, type[Any]]] = {cls.__name__: cls for cls in get_args(Event)}
DYNAMIC_BYTES: Final = frozenset({"spec_cid", "model_cid", "requester_key", "enc_key", "cid"})
"""Fields of the events that are `bytes` in the contract; every other bytes field is a bytes32."""


class CodecError(ValueError):
    """A JSON value that is no event: what is wrong with it, and where."""


checksummed = lru_cache(maxsize=8192)(checksum_address)


def to_json(value: Any) -> Any:
    """The JSON form of an event, a record's event fields, a task's state or any dataclass made of the same types."""
    hint: Any = type(value)
    return _encoder(hint)(value)


def event_from_json(name: str, body: object) -> Event:
    """The event of that name from its JSON fields. Raises CodecError, also for fields missing or unknown."""
    cls: Any = EVENTS.get(name)
    if cls is None:
        raise CodecError(f"there is no event {name!r}")
    event: Event = _object_decoder(cls)(body)
    return event


def hash_from_json(value: object) -> bytes:
    """A 32-byte hash. Raises CodecError."""
    return _bytes32(value)


def count_from_json(value: object) -> int:
    """A number from 0 to 2^64 - 1: heights, times, positions. Raises CodecError."""
    return _small(value)


def address_from_json(value: object) -> str:
    """A checksummed address. Raises CodecError, also for a wrong checksum."""
    return _address(value)


@cache
def _encoder(hint: Any) -> Encode:
    if hint is Wei:
        return str
    if hint in (Bitmap, Word):
        return hex
    if hint in (int, bool, str):
        return _same
    if hint is bytes:
        return lambda raw: "0x" + raw.hex()
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return lambda member: member.name.capitalize()
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        parts = tuple((field.name, _encoder(hints[field.name])) for field in fields(hint))
        return lambda item: {name: encode(getattr(item, name)) for name, encode in parts}
    return _container_encoder(hint)


def _container_encoder(hint: Any) -> Encode:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is tuple and len(inner) == 2 and inner[1] is ...:
        encode = _encoder(inner[0])
        return lambda items: [encode(item) for item in items]
    if origin is not None and issubclass(origin, Mapping):
        encode = _encoder(inner[1])
        return lambda items: {str(key): encode(item) for key, item in items.items()}
    if origin in (Union, types.UnionType) and len(inner) == 2 and inner[1] is type(None):
        encode = _encoder(inner[0])
        return lambda item: None if item is None else encode(item)
    raise TypeError(f"no JSON form is agreed for {hint}")


def _same(value: Any) -> Any:
    return value


@cache
def _object_decoder(cls: type[Any]) -> Decode:
    hints = get_type_hints(cls)
    parts = tuple((field.name, _decoder(field.name, hints[field.name])) for field in fields(cls))
    names, readers = tuple(name for name, _ in parts), tuple(read for _, read in parts)
    pick = itemgetter(*names) if len(names) > 1 else lambda body: (body[names[0]],)

    def decode(body: object) -> Any:
        if type(body) is dict and len(body) == len(names):
            try:
                return cls(*map(call, readers, pick(body)))      # a loop in C: a start reads a hundred thousand events
            except (KeyError, CodecError):
                pass
        raise CodecError(_refusal(cls.__name__, parts, body))

    return decode


def _refusal(name: str, parts: Sequence[tuple[str, Decode]], body: object) -> str:
    """What is wrong with the fields of an event that cannot be read, field by field."""
    if not isinstance(body, dict):
        return f"the fields of {name} are not an object"
    if len(body) != len(parts):
        return f"{name} has the fields {', '.join(field for field, _ in parts)}, not {', '.join(map(str, body))}"
    for field, read in parts:
        if field not in body:
            return f"{name} lacks the field {field}"
        try:
            read(body[field])
        except CodecError as error:
            return f"{name}.{field}: {error}"
    raise AssertionError(f"{name} can be read")


def _decoder(name: str, hint: Any) -> Decode:
    if hint is bytes:
        return _bytes if name in DYNAMIC_BYTES else _bytes32
    if get_origin(hint) is tuple:
        return _words
    if is_dataclass(hint):
        return _object_decoder(hint)  # type: ignore[arg-type]
    return {Wei: _wei, Bitmap: _word, int: _small, bool: _bool, str: _address, Phase: _phase}[hint]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _small(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**64:
        raise CodecError(f"{_shown(value)} is no number from 0 to 2^64 - 1")
    return value


def _bool(value: object) -> bool:
    if type(value) is not bool:
        raise CodecError(f"{_shown(value)} is neither true nor false")
    return value


def _wei(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 78:
        amount = int(value)
        if amount < 2**256 and (value[0] != "0" or value == "0"):
            return amount
    raise CodecError(f"{_shown(value)} is no decimal amount of wei")


def _word(value: object) -> int:
    try:
        word = int(value, 16) if isinstance(value, str) and len(value) <= 66 else -1
    except ValueError:
        word = -1
    if not 0 <= word < 2**256 or hex(word) != value:
        raise CodecError(f"{_shown(value)} is no 256-bit word in hex")
    return word


def _words(value: object) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise CodecError(f"{_shown(value)} is no list of words")
    return tuple([_word(item) for item in value])


def _bytes(value: object) -> bytes:
    raw = _hex(value)
    if raw is None:
        raise CodecError(f"{_shown(value)} are no bytes in hex")
    return raw


def _bytes32(value: object) -> bytes:
    raw = _hex(value)
    if raw is None:
        raise CodecError(f"{_shown(value)} are no bytes in hex")
    if len(raw) != 32:
        raise CodecError(f"{_shown(value)} has {len(raw)} bytes, not 32")
    return raw


def _hex(value: object) -> bytes | None:
    """The bytes, if it is exactly how they are written here: `fromhex` also takes spaces and capitals."""
    if not isinstance(value, str) or value[:2] != "0x" or not value.islower():
        return None
    try:
        raw = bytes.fromhex(value[2:])
    except ValueError:
        return None
    return raw if 2 * len(raw) + 2 == len(value) else None


def _address(value: object) -> str:
    if not isinstance(value, str) or len(value) != 42 or not _is_checksummed(value):
        raise CodecError(f"{_shown(value)} is no checksummed address")
    return value


@lru_cache(maxsize=8192)
def _is_checksummed(text: str) -> bool:
    try:
        return text[:2] == "0x" and checksummed(bytes.fromhex(text[2:])) == text
    except ValueError:
        return False


def _phase(value: object) -> Phase:
    phase = _PHASES.get(value) if isinstance(value, str) else None
    if phase is None:
        raise CodecError(f"{_shown(value)} is no phase")
    return phase


_PHASES: Final = {phase.name.capitalize(): phase for phase in Phase}
