"""This account's salts and commitments, derived so that a lost journal loses no secret (PROTOCOL 8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agents.crypto.commitment import SaltKey, model_commitment, score_commitment
from bfl_events.schema import Address, Word

MODEL, SCORES = 0, 1


def raw_address(address: Address) -> bytes:
    """The 20 bytes of a 0x address."""
    return bytes.fromhex(address[2:])


@dataclass(frozen=True, slots=True)
class AccountSeals:
    """Commitments of one account on one chain."""

    key: SaltKey
    chain_id: int
    account: Address

    def salt(self, kind: int, task: Address, round: int, attempt: int) -> bytes:
        """32 bytes; `kind` 0 for models, 1 for scores."""
        return self.key.salt(kind, self.chain_id, raw_address(task), round, attempt)

    def model(self, task: Address, round: int, attempt: int, model_hash: bytes) -> bytes:
        salt = self.salt(MODEL, task, round, attempt)
        return model_commitment(
            self.chain_id, raw_address(task), round, attempt, raw_address(self.account), model_hash, salt
        )

    def scores(self, task: Address, round: int, attempt: int, row: Sequence[Word]) -> bytes:
        salt = self.salt(SCORES, task, round, attempt)
        return score_commitment(self.chain_id, raw_address(task), round, attempt, raw_address(self.account), row, salt)
