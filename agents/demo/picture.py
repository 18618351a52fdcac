"""What is known of a running demo, and its parts in words. Owns no file, no process and no terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from agents.cli.earnings import FAULTS
from agents.demo.homes import Participant
from agents.demo.proof import settled
from bfl_events.bitmap import members_of
from bfl_events.rules import Fault, majority_base
from bfl_events.schema import Phase
from bfl_events.state import Attempt, TaskState

PHASES: Final[Mapping[Phase, str]] = {
    Phase.NONE: "being created", Phase.JOINING: "workers join", Phase.TRAIN: "train", Phase.OPEN: "exchange models",
    Phase.SCORE: "score each other", Phase.REVEAL: "reveal the scores", Phase.SETTLE: "settle",
    Phase.ATTEST: "attest the final model", Phase.COMPLETED: "completed", Phase.CANCELLED: "cancelled",
    Phase.EXPIRED: "expired",
}


@dataclass(frozen=True, slots=True)
class Quality:
    """Of one global model, on data that no worker trained on: shares of 1, macro over classes."""

    accuracy: float
    precision: float
    recall: float


@dataclass(slots=True)
class Picture:
    """The demo as of now. `quality`: by the model's SHA-256. `doing`, `restarts`: by the participant's name. `gas`: so
    far, None where blocks may be taken back, so that it is counted in the end."""

    participants: tuple[Participant, ...]
    task: TaskState | None = None
    quality: dict[bytes, Quality] = field(default_factory=dict)
    doing: dict[str, str] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)
    gas: int | None = None

    @property
    def spent(self) -> str:
        return "" if self.gas is None else f"gas {self.gas:,}"

    @property
    def phase(self) -> str:
        """For example `round 2/5: score each other`."""
        if self.task is None:
            return "setting up"
        words = PHASES[self.task.phase]
        return f"round {self.task.round}/{self.task.params.rounds}: {words}" if self.task.phase.in_round else words

    def qualities(self) -> dict[int, Quality]:
        """By round: that of the global model which the round ended with, as far as it is known."""
        hashes = {} if self.task is None else global_models(self.task)
        return {number: self.quality[digest] for number, digest in hashes.items() if digest in self.quality}


def global_models(task: TaskState) -> dict[int, bytes]:
    """By round: SHA-256 of the global model that it ended with, as most members said. Round 0: the initial one."""
    found = {0: task.params.model_hash}
    for attempt in task.attempts:
        if (base := majority_base(attempt)) is not None:
            found[attempt.round - 1] = base
    if any(task.final_hash):
        found[task.params.rounds] = task.final_hash
    return found


@dataclass(frozen=True, slots=True)
class RoundRow:
    """One settled round: seconds by the chain's clock; indices of workers."""

    number: int
    attempts: int
    seconds: int
    accepted: tuple[int, ...]
    top: tuple[int, ...]


def round_rows(task: TaskState) -> list[RoundRow]:
    """The settled rounds, in order."""
    done = settled(task)
    begins = [next(one.began.time for one in task.attempts if one.round == attempt.round) for attempt in done]
    ends = [*begins[1:], (task.attest_since or task.at).time]
    return [_row(task, attempt, end - begin) for attempt, begin, end in zip(done, begins, ends, strict=False)]


def fault_words(reason: int) -> str:
    """Why a worker lost collateral."""
    return FAULTS[Fault(reason)]


def _row(task: TaskState, attempt: Attempt, seconds: int) -> RoundRow:
    assert attempt.scored is not None
    attempts = sum(1 for one in task.attempts if one.round == attempt.round)
    top = attempt.paid.top_k if attempt.paid is not None else attempt.scored.top_k
    accepted = tuple(members_of(attempt.scored.accepted))
    return RoundRow(attempt.round, attempts, seconds, accepted, tuple(members_of(top)))
