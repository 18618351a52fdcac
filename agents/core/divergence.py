"""Whether this agent builds on another global model than most do: what the alarm is raised for (PROTOCOL 2.4)."""

from __future__ import annotations

from dataclasses import dataclass

from agents.core.global_model import agreed_start, start_of
from agents.core.state import Me, Memory
from bfl_events.schema import Phase
from bfl_events.state import TaskState


@dataclass(frozen=True, slots=True)
class BaseCheck:
    """My base hash of a round beside H_r, the majority's. `held`: the majority's bytes are here; `next`: what is done.

    The round after the last stands for the final model and its attestations.
    """

    round: int
    mine: bytes
    theirs: bytes
    held: bool
    next: str

    @property
    def differs(self) -> bool:
        return self.mine != self.theirs

    @property
    def mended(self) -> bool:
        """Whatever is done from now on builds on the majority's bytes."""
        return self.held or not self.differs


def check_base(task: TaskState, memory: Memory, me: Me) -> BaseCheck | None:
    """The comparison as it stands; None while there is no majority, or while I have no base to compare."""
    index = task.index_of(me.address)
    counted = task.phase.in_round or task.phase == Phase.ATTEST
    if index is None or not counted or not task.active >> index & 1:
        return None
    round = task.params.rounds + 1 if task.phase == Phase.ATTEST else task.round
    theirs = agreed_start(task, round)
    if theirs is None:
        return None
    logged = _logged(task, index)
    mine = logged or start_of(task, memory, round)
    if mine is None:
        return None
    return BaseCheck(round, mine, theirs, theirs in memory.models, _next(task.phase, committed=logged is not None))


def _logged(task: TaskState, index: int) -> bytes | None:
    """What my last word on chain builds on: the commitment of this attempt, or the attestation."""
    if task.phase == Phase.ATTEST:
        attested = task.attestations.get(index)
        return None if attested is None else attested.final_hash
    commit = task.current.commits.get(index)
    return None if commit is None else commit.base_hash


def _next(phase: Phase, *, committed: bool) -> str:
    match phase, committed:
        case Phase.TRAIN, False:
            return "the majority's bytes are asked for; nothing is trained or committed before they are here"
        case Phase.TRAIN, True:
            return "the majority's bytes are asked for; training begins again from them if they come in this phase"
        case Phase.ATTEST, True:
            return "the attestation does not count; the final model is the majority's"
        case Phase.ATTEST, False:
            return "the majority's bytes are asked for, then attested"
        case _:
            return ("the majority's bytes are asked for; what was committed is opened, scores are measured against the "
                    "majority's base, and the next round starts from it")
