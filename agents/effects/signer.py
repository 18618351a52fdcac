"""Signing transactions with the account's key.

Owns the one place where the key meets a transaction. Must not know nonces, fees or the network.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from eth_account.signers.local import LocalAccount

from bfl_events.commitment import address_bytes
from bfl_events.schema import Address

# py_ecc, below eth_account, raises this to 100,000: nested JSON from a stranger would then overflow the C stack and
# end the process, where it should be a RecursionError.
sys.setrecursionlimit(min(sys.getrecursionlimit(), 1_000))


@dataclass(frozen=True, slots=True)
class Signed:
    """Raw bytes as they go to the node, and their hash, known before anything is sent."""

    hash: bytes
    raw: bytes


class Signer(Protocol):
    """Whoever can sign for one account; a simulation passes a stub."""

    @property
    def address(self) -> Address: ...

    def sign(self, transaction: Mapping[str, Any]) -> Signed:
        """`transaction`: the fields of an EIP-1559 transaction, named as in JSON-RPC; `to` is absent for a creation."""
        ...


class AccountSigner:
    """Signs with an eth-account key (coincurve below it: 0.4 ms)."""

    def __init__(self, account: LocalAccount) -> None:
        self._account = account

    @property
    def address(self) -> Address:
        return str(self._account.address)

    def sign(self, transaction: Mapping[str, Any]) -> Signed:
        fields = dict(transaction)
        if "to" in fields:
            fields["to"] = address_bytes(fields["to"])      # as text, it would insist on a checksum
        signed = self._account.sign_transaction(fields)
        return Signed(bytes(signed.hash), bytes(signed.raw_transaction))
