"""What a log must fit into to be the next one, and how the state is copied. Owns no event."""

from __future__ import annotations

from bfl_events.bitmap import bit
from bfl_events.evolve import evolver
from bfl_events.schema import Address, Phase, Record
from bfl_events.state import Attempt, Member, Position, TaskState

evolve_task = evolver(TaskState)
evolve_member = evolver(Member)
evolve_attempt = evolver(Attempt)


class FoldError(ValueError):
    """A log that cannot follow the ones before it. `record` is the log, `reason` one sentence."""

    def __init__(self, record: Record, reason: str) -> None:
        name = type(record.event).__name__
        super().__init__(f"{name} in block {record.block}, log {record.log_index}: {reason}")
        self.record = record
        self.reason = reason


def position(record: Record) -> Position:
    """Where a log stands."""
    return Position(record.block, record.log_index, record.time)


def with_attempt(state: TaskState, **changes: object) -> tuple[Attempt, ...]:
    """All attempts, the current one changed."""
    return (*state.attempts[:-1], evolve_attempt(state.attempts[-1], **changes))


def with_member(state: TaskState, index: int, **changes: object) -> tuple[Member | None, ...]:
    """All members, one of them changed."""
    members = state.members
    return (*members[:index], evolve_member(state.member(index), **changes), *members[index + 1:])


def seat(state: TaskState, record: Record, account: Address) -> int:
    """The index of an account that must have one."""
    index = state.seats.get(account)
    if index is None:
        raise FoldError(record, f"{account} has no seat")
    return index


def member_at(state: TaskState, record: Record, index: int) -> Member:
    """The member with an index that a bitmap of the log names."""
    member = state.members[index] if index < len(state.members) else None
    if member is None:
        raise FoldError(record, f"there is no worker with index {index}")
    return member


def actor(state: TaskState, record: Record, account: Address) -> int:
    """The index of an account that must be active."""
    index = seat(state, record, account)
    if not state.active & bit(index):
        raise FoldError(record, f"{account} is not active")
    return index


def once(record: Record, index: int, *, allowed: int, done: int) -> None:
    """A worker may open what it committed, or attest, one time."""
    if not allowed >> index & 1:
        raise FoldError(record, f"worker {index} has nothing to open or attest")
    if done >> index & 1:
        raise FoldError(record, f"worker {index} has done this before")


def in_attempt(state: TaskState, record: Record, round_number: int, attempt: int, phase: Phase) -> None:
    """The log must belong to the running attempt, in this phase."""
    if state.phase is not phase or state.round != round_number or state.attempt != attempt:
        raise FoldError(
            record, f"it belongs to round {round_number}, attempt {attempt}, phase {phase.name}; the task is in round "
                    f"{state.round}, attempt {state.attempt}, phase {state.phase.name}")


def in_settlement(state: TaskState, record: Record, round_number: int, step: int) -> None:
    """The log must belong to the running settlement, at this step."""
    in_phase(state, record, Phase.SETTLE)
    equal(record, "round", round_number, state.round)
    if state.step != step:
        raise FoldError(record, f"the settlement is at step {state.step}, not at {step}")


def in_phase(state: TaskState, record: Record, phase: Phase) -> None:
    """The task must be in this phase."""
    if state.phase is not phase:
        raise FoldError(record, f"the task is in phase {state.phase.name}, not {phase.name}")


def ended(state: TaskState, record: Record) -> None:
    """The task must be over."""
    if not state.phase.ended:
        raise FoldError(record, f"the task is in phase {state.phase.name} and has not ended")


def equal(record: Record, field: str, have: object, want: object) -> None:
    """A field must say what the logs before imply."""
    if have != want:
        raise FoldError(record, f"{field} is {have}, but {want} follows from the logs before")
