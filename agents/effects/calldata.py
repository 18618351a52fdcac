"""Calls and answers of our contracts as bytes: selector and eth_abi, fifty times faster than web3's contract objects.

Owns the tables built from `bfl_events/abi`. Knows no node; never guesses: an unknown error keeps its selector.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.crypto import keccak

from bfl_events.commitment import checksum_address
from bfl_events.schema import Phase

_PANICS = {
    0x01: "assertion failed", 0x11: "arithmetic overflow", 0x12: "division by zero", 0x21: "no such enum member",
    0x22: "broken storage bytes", 0x31: "pop of an empty array", 0x32: "index out of bounds", 0x41: "out of memory",
    0x51: "call of an empty function",
}


@dataclass(frozen=True, slots=True)
class Function:
    """One entry point. `outputs` as in the ABI's JSON."""

    name: str
    selector: bytes
    inputs: tuple[str, ...]
    outputs: tuple[Mapping[str, Any], ...]


@cache
def artefact(name: str) -> Mapping[str, Any]:
    """`bfl_events/abi/<name>.json` as the contract build wrote it."""
    content: Mapping[str, Any] = json.loads((resources.files("bfl_events.abi") / f"{name}.json").read_text())
    return content


def encode_call(function: str, arguments: Sequence[Any]) -> bytes:
    """Selector and arguments. Structs are tuples in the ABI's order. Raises KeyError for an unknown function."""
    entry = _functions()[function]
    return entry.selector + encode(entry.inputs, arguments)


def decode_answer(function: str, data: bytes) -> Any:
    """One output is itself, several are a tuple; structs are dicts by the contract's names, addresses checksummed.

    Raises ValueError for bytes that the function cannot have returned.
    """
    outputs = _functions()[function].outputs
    try:
        values = decode([_type(output) for output in outputs], data)
    except DecodingError as error:
        raise ValueError(f"{function} cannot have answered 0x{data.hex()[:80]}: {error}") from error
    shown = tuple(_readable(output, value) for output, value in zip(outputs, values, strict=True))
    return shown[0] if len(shown) == 1 else shown


def decode_error(data: bytes) -> tuple[str, tuple[Any, ...]]:
    """Name and arguments of a revert. A phase is a `Phase`, a bytes32 name is text, a panic says what it means."""
    entry: Mapping[str, Any] | None = artefact("errors").get("0x" + data[:4].hex())
    if entry is None:
        return "Reverted", ("0x" + data.hex(),) if data else ()
    inputs = entry["inputs"]
    try:
        values = decode([i["type"] for i in inputs], data[4:])
    except DecodingError:
        return "Reverted", ("0x" + data.hex(),)
    match entry["name"], values:
        case "WrongPhase", (int(have),) if have in Phase._value2member_map_:
            return "WrongPhase", (Phase(have),)
        case "BadParams", (bytes(field),):
            return "BadParams", (field.rstrip(b"\0").decode("ascii", "replace"),)
        case "Panic", (int(code),):
            return "Panic", (_PANICS.get(code, hex(code)),)
        case str(name), _:
            return name, tuple(_readable(i, value) for i, value in zip(inputs, values, strict=True))
    raise AssertionError(entry)


def constructor_arguments(name: str, arguments: Sequence[Any]) -> bytes:
    """What follows the creation code of an artefact."""
    found = (item["inputs"] for item in artefact(name)["abi"] if item["type"] == "constructor")
    inputs: Sequence[Mapping[str, Any]] = next(found, ())
    return encode([_type(item) for item in inputs], arguments)


@cache
def _functions() -> Mapping[str, Function]:
    found = {}
    for contract in ("FLTask", "FLTaskFactory"):
        for item in artefact(contract)["abi"]:
            if item["type"] == "function":
                inputs = tuple(_type(parameter) for parameter in item["inputs"])
                selector = keccak(text=f"{item['name']}({','.join(inputs)})")[:4]
                found[item["name"]] = Function(item["name"], selector, inputs, tuple(item["outputs"]))
    return found


def _type(parameter: Mapping[str, Any]) -> str:
    """The canonical type: structs as parenthesised lists."""
    kind: str = parameter["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(map(_type, parameter['components']))}){kind.removeprefix('tuple')}"


def _readable(parameter: Mapping[str, Any], value: Any) -> Any:
    kind: str = parameter["type"]
    if kind.endswith("]"):
        element = {**parameter, "type": kind[: kind.rindex("[")]}
        return [_readable(element, item) for item in value]
    if kind == "tuple":
        return {part["name"]: _readable(part, item)
                for part, item in zip(parameter["components"], value, strict=True)}
    return checksum_address(bytes.fromhex(value[2:])) if kind == "address" else value
