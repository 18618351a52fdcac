"""Commitments and the salts behind them (PROTOCOL 7.2 and 8). Pure; keeps nothing.

Salts are derived, not drawn, so that a reveal survives the loss of everything but the account key.
"""

import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from eth_abi.abi import encode
from eth_utils.crypto import keccak

MODEL: Final = 0
SCORES: Final = 1
_PLACE: Final = ("uint256", "address", "uint32", "uint32", "address")


def model_commitment(
    chain_id: int, contract: bytes, round: int, attempt: int, sender: bytes, model_hash: bytes, salt: bytes
) -> bytes:
    """keccak256(abi.encode("FLModel", chainid, contract, round, attempt, sender, modelHash, salt)), 32 bytes."""
    types = ("string", *_PLACE, "bytes32", "bytes32")
    _check(contract=(contract, 20), sender=(sender, 20), model_hash=(model_hash, 32), salt=(salt, 32))
    return keccak(encode(types, ("FLModel", chain_id, contract, round, attempt, sender, model_hash, salt)))


def score_commitment(
    chain_id: int, contract: bytes, round: int, attempt: int, sender: bytes, row: Sequence[int], salt: bytes
) -> bytes:
    """keccak256(abi.encode("FLScore", chainid, contract, round, attempt, sender, row, salt)), 32 bytes.

    `row` is the packed row, one unsigned integer of 256 bits for each word.
    """
    types = ("string", *_PLACE, "uint256[]", "bytes32")
    _check(contract=(contract, 20), sender=(sender, 20), salt=(salt, 32))
    return keccak(encode(types, ("FLScore", chain_id, contract, round, attempt, sender, list(row), salt)))


@dataclass(frozen=True, slots=True, repr=False)
class SaltKey:
    """The secret behind one account's salts."""

    _secret: bytes

    @classmethod
    def derive(cls, account_private_key: bytes) -> Self:
        """HKDF-SHA256 of the 32-byte account key, no salt, info "bfl-agent salt v1"."""
        _check(account_private_key=(account_private_key, 32))
        return cls(HKDF(SHA256(), 32, None, b"bfl-agent salt v1").derive(account_private_key))

    def salt(self, kind: int, chain_id: int, contract: bytes, round: int, attempt: int) -> bytes:
        """HMAC-SHA256(secret, u8 kind | u256be chainId | contract | u32be round | u32be attempt), 32 bytes.

        `kind` is MODEL or SCORES. Raises ValueError.
        """
        _check(contract=(contract, 20))
        if kind not in (MODEL, SCORES):
            raise ValueError(f"a salt's kind is {MODEL} or {SCORES}, not {kind}")
        message = bytes([kind]) + chain_id.to_bytes(32) + contract + struct.pack(">II", round, attempt)
        return hmac.digest(self._secret, message, "sha256")


def _check(**values: tuple[bytes, int]) -> None:
    for name, (value, size) in values.items():
        if len(value) != size:
            raise ValueError(f"{name} has {size} bytes, not {len(value)}")
