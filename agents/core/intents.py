"""What an agent may want done, and what is remembered of it once done.

Owns the unions `Intent` and `Outcome`. An intent's `key` is stable: it names everything its result depends on, so that
a journalled outcome is true on every fork. Must not import anything but the standard library and `bfl_events.schema`.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from bfl_events.schema import Address, Phase, Word


def _key(kind: str, task: Address, *parts: object) -> str:
    shown = (part.hex() if isinstance(part, bytes) else str(part) for part in parts)
    return ":".join((kind, task, *shown))


def _readers(recipients: tuple[tuple[Address, bytes], ...]) -> str:
    """Who can open an envelope: a reorg may give the same attempt another roster, or a member another key."""
    return sha256(repr(recipients).encode()).hexdigest()[:16]


# ---- work: results are journalled ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LoadTerms:
    """Fetch the specification and the initial model, check both against the chain's hashes.

    `allow_root`: the Merkle root on chain that the specification's allow-list must have; zero for an open task.
    `keep`: pin both, as members do for each other (PROTOCOL 8).
    """

    task: Address
    spec_cid: bytes
    spec_hash: bytes
    model_cid: bytes
    model_hash: bytes
    allow_root: bytes = bytes(32)
    keep: bool = False

    @property
    def key(self) -> str:
        return _key("terms", self.task, self.spec_hash, self.model_hash)


@dataclass(frozen=True, slots=True)
class DryRun:
    """Train one step on the operator's data and judge the result, before any wei is bonded (PROTOCOL 7.7).

    `keep`: CIDs of the terms, pinned if all is well: what is declined is not hoarded.
    """

    task: Address
    model_hash: bytes
    keep: tuple[bytes, ...] = ()

    @property
    def key(self) -> str:
        return _key("dry-run", self.task, self.model_hash)


@dataclass(frozen=True, slots=True)
class TrainModel:
    """Train on the agent's own data, from the global model `base_hash`."""

    task: Address
    round: int
    base_hash: bytes

    @property
    def key(self) -> str:
        return _key("train", self.task, self.round, self.base_hash)


@dataclass(frozen=True, slots=True)
class AggregateModels:
    """Fold the accepted models of a settled round, in ascending index, into the next global model."""

    task: Address
    round: int
    base_hash: bytes
    models: tuple[tuple[int, bytes], ...]

    @property
    def key(self) -> str:
        parts = [f"{index}-{digest.hex()}" for index, digest in self.models]
        return _key("aggregate", self.task, self.round, self.base_hash, *parts)


@dataclass(frozen=True, slots=True)
class PublishModel:
    """Seal my model for the roster of this attempt, publish it, read it back."""

    task: Address
    round: int
    attempt: int
    model_hash: bytes
    recipients: tuple[tuple[Address, bytes], ...]

    @property
    def key(self) -> str:
        return _key("publish", self.task, self.round, self.attempt, self.model_hash, _readers(self.recipients))


@dataclass(frozen=True, slots=True)
class FetchModel:
    """Bring a model: fetch, open, compare with the hash on chain (V1 to V3).

    `kind` is the envelope's (PROTOCOL 6). `size` is the envelope's length in bytes as logged; 0 where the log has none.
    """

    task: Address
    round: int
    attempt: int
    sender: Address
    model_hash: bytes
    cid: bytes
    size: int
    kind: int = 0

    @property
    def key(self) -> str:
        return _key("fetch", self.task, self.kind, self.round, self.attempt, self.sender, self.model_hash, self.cid)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An opened model. `model_hash` is None where it could not be had (score 0); `compare`: V6's set.

    The scorer's own model is among them: its norm counts for V5, it gets no score.
    """

    index: int
    sender: Address
    model_hash: bytes | None
    compare: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class ScoreModels:
    """Judge every opened model against the base; `lanes` is the length of the row in 16-bit lanes.

    `audit_beta`: thousandths of the audit model's step; None in round 1 and where the audit is off.
    """

    task: Address
    round: int
    attempt: int
    seed: bytes
    base_hash: bytes
    own_index: int
    lanes: int
    audited: bool
    audit_beta: int | None
    candidates: tuple[Candidate, ...]

    @property
    def key(self) -> str:
        parts = [f"{c.index}-{c.model_hash.hex() if c.model_hash else 'none'}" for c in self.candidates]
        return _key("score", self.task, self.attempt, self.seed, self.base_hash, *parts)


@dataclass(frozen=True, slots=True)
class PublishCopy:
    """Seal a global or a peer's model for others: kind 1 checkpoint, 2 final, 3 repair (PROTOCOL 6)."""

    task: Address
    round: int
    kind: int
    model_hash: bytes
    recipients: tuple[tuple[Address, bytes], ...]

    @property
    def key(self) -> str:
        names = [address for address, _ in self.recipients]
        ids = [key[-16:] for _, key in self.recipients]
        return _key("copy", self.task, self.kind, self.round, self.model_hash, *names, *ids)


@dataclass(frozen=True, slots=True)
class DeliverFinal:
    """The requester keeps the attested model as its result file."""

    task: Address
    model_hash: bytes

    @property
    def key(self) -> str:
        return _key("deliver", self.task, self.model_hash)


@dataclass(frozen=True, slots=True)
class ClearRound:
    """Unpin and delete what only an old round needed (the paper's "clear the list of pushed hashes"). Round 0 is the
    initial model of a task that this account does not join."""

    task: Address
    round: int
    models: tuple[bytes, ...]
    cids: tuple[bytes, ...]

    @property
    def key(self) -> str:
        return _key("clear", self.task, self.round)


# ---- transactions: done when the chain shows their effect ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JoinTask:
    task: Address
    collateral: int

    @property
    def key(self) -> str:
        return _key("join", self.task)


@dataclass(frozen=True, slots=True)
class StartTask:
    task: Address
    deadline: int

    @property
    def key(self) -> str:
        return _key("start", self.task, self.deadline)


@dataclass(frozen=True, slots=True)
class CommitModel:
    task: Address
    round: int
    attempt: int
    model_hash: bytes
    base_hash: bytes

    @property
    def key(self) -> str:
        return _key("commit-model", self.task, self.round, self.attempt, self.model_hash, self.base_hash)


@dataclass(frozen=True, slots=True)
class OpenModel:
    task: Address
    round: int
    attempt: int
    model_hash: bytes
    size: int
    cid: bytes

    @property
    def key(self) -> str:
        return _key("open-model", self.task, self.round, self.attempt)


@dataclass(frozen=True, slots=True)
class CommitScores:
    task: Address
    round: int
    attempt: int
    row: tuple[Word, ...]

    @property
    def key(self) -> str:
        return _key("commit-scores", self.task, self.round, self.attempt, *self.row)


@dataclass(frozen=True, slots=True)
class SubmitScore:
    task: Address
    round: int
    attempt: int
    row: tuple[Word, ...]

    @property
    def key(self) -> str:
        return _key("submit-score", self.task, self.round, self.attempt)


@dataclass(frozen=True, slots=True)
class AdvanceRound:
    """`nextRound()`: permissionless, so it names the phase and the deadline that make it due."""

    task: Address
    round: int
    attempt: int
    phase: Phase
    deadline: int

    @property
    def key(self) -> str:
        return _key("next-round", self.task, self.round, self.attempt, self.phase.name, self.deadline)


@dataclass(frozen=True, slots=True)
class AttestFinal:
    task: Address
    final_hash: bytes
    cid: bytes

    @property
    def key(self) -> str:
        return _key("attest", self.task, self.final_hash)


@dataclass(frozen=True, slots=True)
class SendNotice:
    """Notice kinds: 1 NeedModel, 2 HereModel, 3 Checkpoint. `to` is the zero address for everybody. `times`: how often
    the same was asked before."""

    task: Address
    kind: int
    round: int
    to: Address
    ref: bytes
    cid: bytes = b""
    times: int = 0

    @property
    def key(self) -> str:
        again = (self.times,) if self.times else ()
        return _key("notice", self.task, self.kind, self.round, self.to, self.ref, *again)


@dataclass(frozen=True, slots=True)
class LeaveTask:
    """`removeWorker()`: the operator asked to leave."""

    task: Address
    round: int

    @property
    def key(self) -> str:
        return _key("leave", self.task, self.round)


@dataclass(frozen=True, slots=True)
class Withdraw:
    task: Address
    worker: Address
    amount: int

    @property
    def key(self) -> str:
        return _key("withdraw", self.task, self.worker, self.amount)


@dataclass(frozen=True, slots=True)
class Refund:
    task: Address
    amount: int

    @property
    def key(self) -> str:
        return _key("refund", self.task, self.amount)


@dataclass(frozen=True, slots=True)
class Burn:
    task: Address
    amount: int

    @property
    def key(self) -> str:
        return _key("burn", self.task, self.amount)


@dataclass(frozen=True, slots=True)
class Halt:
    """Only a person can go on from here; the process ends with this sentence."""

    task: Address
    reason: str

    @property
    def key(self) -> str:
        return _key("halt", self.task)


Work = (
    LoadTerms | DryRun | TrainModel | AggregateModels | PublishModel | FetchModel | ScoreModels | PublishCopy
    | DeliverFinal | ClearRound
)
Transaction = (
    JoinTask | StartTask | CommitModel | OpenModel | CommitScores | SubmitScore | AdvanceRound | AttestFinal
    | SendNotice | LeaveTask | Withdraw | Refund | Burn
)
Intent = Work | Transaction | Halt


# ---- outcomes of work ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Done:
    """It happened, and nothing more is to be known of it."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A lasting no: terms that break a limit, a dry run that failed, bytes that are not what the chain says."""

    reason: str


@dataclass(frozen=True, slots=True)
class TermsReady:
    """The specification's canonical text; the initial model lies in the agent's model folder."""

    document: str


@dataclass(frozen=True, slots=True)
class ModelReady:
    """A model file with this hash lies in the agent's model folder. `seconds`: how long making it took. Of a training:
    Unix times when its first optimiser step began and its last one ended, 0 where none was made or it is not known."""

    model_hash: bytes
    seconds: float = 0.0
    first_step_at: float = 0.0
    last_step_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Published:
    """An envelope is pinned and was read back. `size` in bytes."""

    cid: bytes
    size: int


@dataclass(frozen=True, slots=True)
class RowReady:
    """The packed score row, and per index why a model scored 0."""

    row: tuple[Word, ...]
    reasons: tuple[tuple[int, str], ...] = ()
    seconds: float = 0.0


SEALED = "sealed:"      # before a publishing intent's key: the envelope that is about to be put into the store


Outcome = Done | Refused | TermsReady | ModelReady | Published | RowReady
