"""The contract's events as frozen dataclasses, in the order of the ABI's parameters.

Owns names and types only. Addresses are EIP-55 checksummed strings, hashes and other bytes are `bytes`,
amounts are wei. Must not import anything outside the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NewType

Address = str
Wei = NewType("Wei", int)          # uint128 / uint256 amounts; decimal strings in JSON
Bitmap = NewType("Bitmap", int)    # bit i = worker with index i; hex strings in JSON
Word = NewType("Word", int)        # 16 lanes of 16 bits; hex strings in JSON


class Phase(IntEnum):
    """The contract's `Phase`, PROTOCOL 2. `NONE` is a task that was never initialised."""

    NONE = 0
    JOINING = 1
    TRAIN = 2
    OPEN = 3
    SCORE = 4
    REVEAL = 5
    SETTLE = 6
    ATTEST = 7
    COMPLETED = 8
    CANCELLED = 9
    EXPIRED = 10

    @property
    def ended(self) -> bool:
        return self >= Phase.COMPLETED

    @property
    def in_round(self) -> bool:
        """One of the four phases that have a deadline and members' duties, or the settlement after them."""
        return Phase.TRAIN <= self <= Phase.SETTLE


@dataclass(frozen=True, slots=True)
class Params:
    """The terms of a task, fixed at creation (PROTOCOL 7.2). Windows and times in seconds, shares in basis points."""

    rounds: int
    min_workers: int
    min_active: int
    max_workers: int
    top_k: int
    late_join: bool
    audit_lane: bool
    top_share_bps: int
    tie_band: int
    accept_bps: int
    dev_tol: int
    slash_bps: int
    fee_bps: int
    miss_bps: int
    burn_bps: int
    max_miss: int
    max_low: int
    max_void: int
    join_window: int
    train_window: int
    open_window: int
    score_window: int
    reveal_window: int
    attest_window: int
    hard_stop: int
    collateral: Wei
    allow_root: bytes
    model_hash: bytes
    spec_hash: bytes


@dataclass(frozen=True, slots=True)
class TaskCreated:
    """Emitted by the factory; every other event is emitted by the task's own clone."""

    task: Address
    requester: Address
    nonce: bytes


@dataclass(frozen=True, slots=True)
class TaskInitialized:
    requester: Address
    reward: Wei
    params: Params
    spec_cid: bytes
    model_cid: bytes
    requester_key: bytes
    deadline: int


@dataclass(frozen=True, slots=True)
class WorkerJoined:
    worker: Address
    index: int
    payout: Address
    collateral: Wei
    active_from: int
    enc_key: bytes


@dataclass(frozen=True, slots=True)
class TaskStarted:
    rounds: int
    roster: Bitmap


@dataclass(frozen=True, slots=True)
class RoundAdvanced:
    """A round, or a new attempt at the same round, begins in phase Train."""

    round: int
    attempt: int
    roster: Bitmap
    deadline: int


@dataclass(frozen=True, slots=True)
class PhaseChanged:
    round: int
    attempt: int
    phase: Phase
    deadline: int
    seed: bytes
    active: Bitmap


@dataclass(frozen=True, slots=True)
class DeadlineMissed:
    round: int
    attempt: int
    phase: Phase
    absent: Bitmap
    dropped: Bitmap
    active: Bitmap
    voids: int


@dataclass(frozen=True, slots=True)
class PhaseExtended:
    round: int
    attempt: int
    phase: Phase
    deadline: int


@dataclass(frozen=True, slots=True)
class ModelCommitted:
    round: int
    worker: Address
    attempt: int
    commitment: bytes
    base_hash: bytes


@dataclass(frozen=True, slots=True)
class ModelSubmitted:
    round: int
    worker: Address
    attempt: int
    model_hash: bytes
    salt: bytes
    size: int
    cid: bytes


@dataclass(frozen=True, slots=True)
class ScoresCommitted:
    round: int
    worker: Address
    attempt: int
    commitment: bytes


@dataclass(frozen=True, slots=True)
class ScoresSubmitted:
    round: int
    worker: Address
    attempt: int
    row: tuple[Word, ...]
    salt: bytes


@dataclass(frozen=True, slots=True)
class RoundScored:
    round: int
    medians: tuple[Word, ...]
    lows: tuple[Word, ...]
    theta: int
    accepted: Bitmap
    top_k: Bitmap
    deviant: Bitmap
    invalid: Bitmap


@dataclass(frozen=True, slots=True)
class RewardsDistributed:
    round: int
    eligible: Bitmap
    top_k: Bitmap
    per_top: Wei
    per_rest: Wei
    per_forfeit: Wei
    reward_left: Wei
    forfeit_pool: Wei


@dataclass(frozen=True, slots=True)
class WorkerPenalized:
    round: int
    worker: Address
    reason: int
    amount: Wei
    bond_left: Wei
    strikes: int


@dataclass(frozen=True, slots=True)
class WorkerLeaving:
    round: int
    worker: Address


@dataclass(frozen=True, slots=True)
class WorkerRemoved:
    round: int
    worker: Address
    reason: int
    bond_released: Wei


@dataclass(frozen=True, slots=True)
class KeyRotated:
    who: Address
    effective_round: int
    enc_key: bytes


@dataclass(frozen=True, slots=True)
class Notice:
    """Kinds: 1 NeedModel, 2 HereModel, 3 Checkpoint (PROTOCOL 2.4)."""

    kind: int
    round: int
    sender: Address
    to: Address
    ref: bytes
    cid: bytes


@dataclass(frozen=True, slots=True)
class FinalAttested:
    worker: Address
    final_hash: bytes
    cid: bytes


@dataclass(frozen=True, slots=True)
class FinalModelAccepted:
    final_hash: bytes
    votes: int


@dataclass(frozen=True, slots=True)
class FinalForfeits:
    attesters: Bitmap
    per_attester: Wei
    forfeit_pool: Wei


@dataclass(frozen=True, slots=True)
class TaskEnded:
    phase: Phase
    refundable: Wei
    burn_pool: Wei


@dataclass(frozen=True, slots=True)
class Withdrawn:
    worker: Address
    to: Address
    amount: Wei


@dataclass(frozen=True, slots=True)
class Refunded:
    requester: Address
    amount: Wei


@dataclass(frozen=True, slots=True)
class Burned:
    amount: Wei


Event = (
    TaskCreated | TaskInitialized | WorkerJoined | TaskStarted | RoundAdvanced | PhaseChanged | DeadlineMissed
    | PhaseExtended | ModelCommitted | ModelSubmitted | ScoresCommitted | ScoresSubmitted | RoundScored
    | RewardsDistributed | WorkerPenalized | WorkerLeaving | WorkerRemoved | KeyRotated | Notice | FinalAttested
    | FinalModelAccepted | FinalForfeits | TaskEnded | Withdrawn | Refunded | Burned
)


@dataclass(frozen=True, slots=True)
class Record:
    """One event and where the chain holds it. `emitter` is the contract that logged it; `time` is the block's."""

    block: int
    block_hash: bytes
    time: int
    log_index: int
    tx: bytes
    emitter: Address
    event: Event
