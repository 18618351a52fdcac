"""What one task's contract holds, as folded from its logs by `bfl_events.fold`.

Owns the shape of the state. Sets of workers are bitmaps by index, without the contract's sentinel bit.
Must not import anything outside the standard library and `bfl_events.schema`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from bfl_events.schema import Address, Bitmap, Params, Phase, RewardsDistributed, RoundScored, Wei, Word


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A log's place in the chain. `time` is the block's timestamp in seconds."""

    block: int
    log_index: int
    time: int


@dataclass(frozen=True, slots=True)
class EncryptionKey:
    """A DER SubjectPublicKeyInfo and the first round whose envelopes use it; `at` orders those of the same round."""

    effective_round: int
    der: bytes
    at: Position


class Standing(IntEnum):
    """The contract's `Worker.status`."""

    NONE = 0
    MEMBER = 1
    LEAVING = 2
    GONE = 3


@dataclass(frozen=True)      # no slots, as below
class Member:
    """The contract's `Worker`, and the keys it announced (oldest first)."""

    account: Address
    index: int
    payout: Address
    join_round: int
    bond: Wei
    credit: Wei
    keys: tuple[EncryptionKey, ...]
    strikes: int = 0
    miss_streak: int = 0
    low_streak: int = 0
    unopened: int = 0
    status: Standing = Standing.MEMBER
    commitment: bytes = bytes(32)


@dataclass(frozen=True, slots=True)
class ModelCommitment:
    """The last one logged in this attempt; `times` counts them, since it may be replaced."""

    digest: bytes
    base_hash: bytes
    at: Position
    times: int = 1


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A model whose commitment was opened; `size` is the envelope's length in bytes."""

    model_hash: bytes
    salt: bytes
    size: int
    cid: bytes
    at: Position


@dataclass(frozen=True, slots=True)
class ScoreCommitment:
    """The last one logged in this attempt; `times` counts them, since it may be replaced."""

    digest: bytes
    at: Position
    times: int = 1


@dataclass(frozen=True, slots=True)
class RevealedRow:
    row: tuple[Word, ...]
    salt: bytes
    at: Position


@dataclass(frozen=True)      # no slots, as below
class Attempt:
    """One attempt at a round: who was expected, what each worker (by index) committed, opened, scored."""

    round: int
    number: int
    roster: Bitmap
    lanes: int
    began: Position
    seed: bytes = bytes(32)
    commits: Mapping[int, ModelCommitment] = field(default_factory=dict)
    opened: Mapping[int, OpenedModel] = field(default_factory=dict)
    score_commits: Mapping[int, ScoreCommitment] = field(default_factory=dict)
    revealed: Mapping[int, RevealedRow] = field(default_factory=dict)
    scored: RoundScored | None = None
    paid: RewardsDistributed | None = None


@dataclass(frozen=True, slots=True)
class LoggedNotice:
    kind: int
    round: int
    sender: Address
    to: Address
    ref: bytes
    cid: bytes
    at: Position


@dataclass(frozen=True, slots=True)
class Attestation:
    final_hash: bytes
    cid: bytes
    at: Position


@dataclass(frozen=True)      # no slots: every log copies it, and a dict is copied several times faster than slots
class TaskState:
    """Everything the contract's views return, and the history that its storage forgets.

    `step` is the settlement's: 0 nothing, 1 scored, 2 paid. `since` is the position of the event that began the
    current phase or its extension, `at` that of the last log folded. `attempts` holds every attempt of every round, the
    current one last. `fined` are the penalties of the settlement under way that are not shared yet.
    """

    address: Address
    requester: Address
    params: Params
    reward: Wei
    spec_cid: bytes
    model_cid: bytes
    requester_keys: tuple[EncryptionKey, ...]
    created: Position
    nonce: bytes
    phase: Phase
    deadline: int
    since: Position
    round: int = 0
    attempt: int = 0
    count: int = 0
    lanes: int = 0
    voids: int = 0
    step: int = 0
    members: tuple[Member | None, ...] = ()
    seats: Mapping[Address, int] = field(default_factory=dict)
    active: Bitmap = Bitmap(0)
    pending: Bitmap = Bitmap(0)
    leaving: Bitmap = Bitmap(0)
    dropped: Bitmap = Bitmap(0)
    excused: Bitmap = Bitmap(0)
    roster: Bitmap = Bitmap(0)
    committed: Bitmap = Bitmap(0)
    opened: Bitmap = Bitmap(0)
    scored: Bitmap = Bitmap(0)
    revealed: Bitmap = Bitmap(0)
    accepted: Bitmap = Bitmap(0)
    top: Bitmap = Bitmap(0)
    deviant: Bitmap = Bitmap(0)
    invalid: Bitmap = Bitmap(0)
    attested: Bitmap = Bitmap(0)
    low: Bitmap = Bitmap(0)
    eligible: Bitmap = Bitmap(0)
    reward_left: Wei = Wei(0)
    forfeit_pool: Wei = Wei(0)
    burn_pool: Wei = Wei(0)
    final_hash: bytes = bytes(32)
    attempts: tuple[Attempt, ...] = ()
    notices: tuple[LoggedNotice, ...] = ()
    attestations: Mapping[int, Attestation] = field(default_factory=dict)
    attest_since: Position | None = None      # envelopes of the final model use the keys logged before it
    withdrawn: Wei = Wei(0)
    refunded: Wei = Wei(0)
    burned: Wei = Wei(0)
    fined: Wei = Wei(0)
    at: Position = Position(0, 0, 0)

    def index_of(self, account: Address) -> int | None:
        """The live index of an account, as `indexPlus1(account) - 1`; None if it holds no seat."""
        return self.seats.get(account)

    def member(self, index: int) -> Member:
        """The member at an index. Raises LookupError for an index that was never assigned or was freed."""
        found = self.members[index] if index < len(self.members) else None
        if found is None:
            raise LookupError(f"task {self.address} has no worker with index {index}")
        return found

    @property
    def current(self) -> Attempt:
        """The attempt under way, or the last one. Raises LookupError before the task has started."""
        if not self.attempts:
            raise LookupError(f"task {self.address} has not started")
        return self.attempts[-1]
