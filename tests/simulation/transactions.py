"""Signed transactions and calldata of the in-memory chain: what stands on the wire, and which call it means.

Owns the stub signature (the raw bytes are the fields), the way from calldata by the ABI to the contract's model, and
from its typed errors back to revert data. Executes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from typing import Any

from eth_abi.abi import decode, encode

from agents.effects.calldata import _functions, artefact
from agents.effects.signer import Signed
from bfl_events.commitment import checksum_address
from bfl_events.schema import Address
from tests.simulation.chain import ContractError


@dataclass(frozen=True, slots=True)
class Tx:
    """One signed transaction. `max_fee` and `tip` in wei per gas."""

    hash: bytes
    sender: Address
    nonce: int
    to: Address
    data: bytes
    value: int
    gas: int
    max_fee: int
    tip: int


@dataclass(frozen=True, slots=True)
class StubSigner:
    """Signs for an account with its name."""

    address: Address

    def sign(self, transaction: Mapping[str, Any]) -> Signed:
        fields = {name: value.hex() if isinstance(value, bytes) else value for name, value in transaction.items()}
        raw = json.dumps({**fields, "from": self.address}).encode()
        return Signed(sha256(raw).digest(), raw)


def read_signed(raw: bytes) -> Tx:
    """The transaction in raw bytes."""
    fields = json.loads(raw)
    return Tx(sha256(raw).digest(), fields["from"], fields["nonce"], fields["to"], bytes.fromhex(fields["data"]),
              fields["value"], fields["gas"], fields["maxFeePerGas"], fields["maxPriorityFeePerGas"])


@lru_cache(maxsize=4096)
def model_call(data: bytes) -> tuple[str, tuple[Any, ...]]:
    """The method of `TaskModel` that calldata names, and its arguments. Raises KeyError for an unknown selector."""
    name, inputs = _by_selector()[data[:4]]
    values = decode(inputs, data[4:])
    arguments = (checksum_address(bytes.fromhex(value[2:])) if kind == "address" else value
                 for kind, value in zip(inputs, values, strict=True))
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower(), tuple(arguments)


def revert_data(error: ContractError) -> bytes:
    """What the contract would return for this error: selector and values, zeros where the model names none."""
    selector, kinds = _errors()[type(error).__name__]
    values = [*error.args, *[bytes(32) if kind == "bytes32" else 0 for kind in kinds[len(error.args):]]]
    return selector + encode(kinds, values)


@cache
def _by_selector() -> dict[bytes, tuple[str, tuple[str, ...]]]:
    return {function.selector: (function.name, function.inputs) for function in _functions().values()}


@cache
def _errors() -> dict[str, tuple[bytes, list[str]]]:
    table: Mapping[str, Any] = artefact("errors")
    return {entry["name"]: (bytes.fromhex(selector[2:]), [item["type"] for item in entry["inputs"]])
            for selector, entry in table.items()}
