"""The contract's hashes: commitments, the audit seed, a task's address (PROTOCOL 7.1, 7.2).

Owns their byte layouts, on the standard library alone, so that `verify` needs no chain library. Holds no keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from bfl_events.keccak import keccak256
from bfl_events.schema import Address, Params


@dataclass(frozen=True, slots=True)
class Place:
    """What a commitment is bound to, so that it opens nowhere else."""

    chain_id: int
    task: Address
    round: int
    attempt: int


def address_bytes(address: Address) -> bytes:
    """The 20 bytes of an address in hexadecimal. Raises ValueError for anything else."""
    raw = bytes.fromhex(address[2:]) if address[:2] in ("0x", "0X") else b""
    if len(raw) != 20:
        raise ValueError(f"{address!r} is not an address: 0x and 40 hexadecimal digits are needed")
    return raw


def checksum_address(raw: bytes) -> Address:
    """The EIP-55 spelling of 20 bytes. Raises ValueError for another length."""
    if len(raw) != 20:
        raise ValueError(f"an address has 20 bytes, not {len(raw)}")
    digits = raw.hex()
    nibbles = keccak256(digits.encode()).hex()
    return "0x" + "".join(d.upper() if n > "7" else d for d, n in zip(digits, nibbles, strict=False))


def _uint(value: int) -> bytes:
    return value.to_bytes(32, "big")


def _address(address: Address) -> bytes:
    return bytes(12) + address_bytes(address)


def _short_text(text: bytes) -> bytes:
    return _uint(len(text)) + text.ljust(32, b"\0")


def model_commitment(place: Place, sender: Address, model_hash: bytes, salt: bytes) -> bytes:
    """keccak256(abi.encode("FLModel", chainid, task, round, attempt, sender, modelHash, salt))."""
    head = (_uint(8 * 32) + _uint(place.chain_id) + _address(place.task) + _uint(place.round) + _uint(place.attempt)
            + _address(sender) + model_hash + salt)
    return keccak256(head + _short_text(b"FLModel"))


def score_commitment(place: Place, sender: Address, row: Sequence[int], salt: bytes) -> bytes:
    """keccak256(abi.encode("FLScore", chainid, task, round, attempt, sender, row, salt)); row in words."""
    head = (_uint(8 * 32) + _uint(place.chain_id) + _address(place.task) + _uint(place.round) + _uint(place.attempt)
            + _address(sender) + _uint(10 * 32) + salt)
    return keccak256(head + _short_text(b"FLScore") + _uint(len(row)) + b"".join(map(_uint, row)))


def audit_seed(prevrandao: int, place: Place) -> bytes:
    """keccak256(abi.encode(prevrandao, chainid, task, round, attempt)), emitted when Score begins (PROTOCOL 3.1)."""
    return keccak256(_uint(prevrandao) + _uint(place.chain_id) + _address(place.task) + _uint(place.round)
                     + _uint(place.attempt))


@dataclass(frozen=True, slots=True)
class Creation:
    """Everything a task's address follows from: the arguments of `createTask`, its sender and its value."""

    requester: Address
    nonce: bytes
    params: Params
    spec_cid: bytes
    model_cid: bytes
    requester_key: bytes
    reward: int


def task_address(factory: Address, implementation: Address, creation: Creation) -> Address:
    """Where the factory puts the task with these terms: CREATE2 of a minimal proxy, salted with all of them."""
    code = (bytes.fromhex("3d602d80600a3d3981f3363d3d373d3d3d363d73") + address_bytes(implementation)
            + bytes.fromhex("5af43d82803e903d91602b57fd5bf3"))
    salt = keccak256(_address(creation.requester) + creation.nonce + keccak256(_encode_terms(creation)))
    return checksum_address(keccak256(b"\xff" + address_bytes(factory) + salt + keccak256(code))[12:])


def _encode_terms(creation: Creation) -> bytes:
    """abi.encode(params, specCid, modelCid, requesterKey, reward)."""
    values = (getattr(creation.params, field.name) for field in fields(Params))
    head = b"".join(value if isinstance(value, bytes) else _uint(value) for value in values)
    tails = [_uint(len(raw)) + raw + bytes(-len(raw) % 32)
             for raw in (creation.spec_cid, creation.model_cid, creation.requester_key)]
    offset, offsets = len(head) + 4 * 32, b""
    for tail in tails:
        offsets += _uint(offset)
        offset += len(tail)
    return head + offsets + _uint(creation.reward) + b"".join(tails)
