"""From a task's logs to its state: `apply` reproduces every view of the contract, log by log (PROTOCOL 7.3).

It takes the logs' word for medians and amounts and refuses only what cannot follow from what came before; whether
the numbers are right is `verify`'s question. What each event means stands in `folding`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from bfl_events import schema as ev
from bfl_events.folding import membership, rounds, settlement
from bfl_events.folding.checks import FoldError, equal, evolve_task, in_phase, position
from bfl_events.schema import Address, Phase, Record
from bfl_events.state import EncryptionKey, LoggedNotice, Position, TaskState

__all__ = ["Created", "FoldError", "apply", "begin", "fold"]


@dataclass(frozen=True, slots=True)
class Created:
    """A task that the factory has announced and that is not initialised yet."""

    address: Address
    requester: Address
    nonce: bytes
    factory: Address
    at: Position


def begin(record: Record) -> Created:
    """The start of a fold: the `TaskCreated` that the factory logged. Raises FoldError for another event."""
    match record.event:
        case ev.TaskCreated(task, requester, nonce):
            return Created(task, requester, nonce, record.emitter, position(record))
        case _:
            raise FoldError(record, "a task begins with TaskCreated")


def apply(state: Created | TaskState, record: Record) -> TaskState:
    """The state after one more log. Raises FoldError if the log cannot be the next one."""
    at, last = position(record), state.at
    if record.emitter != state.address:
        raise FoldError(record, f"emitted by {record.emitter}, not by the task {state.address}")
    if at.block < last.block or (at.block == last.block and at.log_index <= last.log_index):
        raise FoldError(record, f"it does not come after block {last.block}, log {last.log_index}")
    if at.time < last.time:
        raise FoldError(record, f"time runs back from {last.time} to {at.time}")
    if isinstance(state, Created):
        return _initialised(state, record, at)
    return _next(state, record, at)


def fold(records: Iterable[Record]) -> TaskState:
    """The state after all logs of one task, `TaskCreated` first.

    Raises FoldError, and ValueError if the logs end before there is a state.
    """
    state: Created | TaskState | None = None
    for record in records:
        state = begin(record) if state is None else apply(state, record)
    match state:
        case TaskState():
            return state
        case _:
            raise ValueError("no task: the logs end before TaskInitialized")


def _initialised(created: Created, record: Record, at: Position) -> TaskState:
    event = record.event
    if not isinstance(event, ev.TaskInitialized):
        raise FoldError(record, "TaskInitialized must come before everything else of a task")
    equal(record, "requester", event.requester, created.requester)
    return TaskState(
        address=created.address, requester=event.requester, params=event.params, reward=event.reward,
        spec_cid=event.spec_cid, model_cid=event.model_cid,
        requester_keys=(EncryptionKey(0, event.requester_key, at),), created=created.at, nonce=created.nonce,
        phase=Phase.JOINING, deadline=event.deadline, since=at, reward_left=event.reward, at=at,
    )


def _next(state: TaskState, record: Record, at: Position) -> TaskState:
    event = record.event
    match event:
        case ev.ModelCommitted():
            return rounds.model_committed(state, record, event, at)
        case ev.ModelSubmitted():
            return rounds.model_opened(state, record, event, at)
        case ev.ScoresCommitted():
            return rounds.scores_committed(state, record, event, at)
        case ev.ScoresSubmitted():
            return rounds.scores_revealed(state, record, event, at)
        case ev.RoundAdvanced():
            return rounds.round_advanced(state, record, event, at)
        case ev.PhaseChanged():
            return rounds.phase_changed(state, record, event, at)
        case ev.DeadlineMissed():
            return rounds.deadline_missed(state, record, event, at)
        case ev.PhaseExtended():
            return rounds.phase_extended(state, record, event, at)
        case ev.RoundScored():
            return settlement.round_scored(state, record, event, at)
        case ev.WorkerPenalized():
            return settlement.penalized(state, record, event, at)
        case ev.RewardsDistributed():
            return settlement.rewards_distributed(state, record, event, at)
        case ev.WorkerJoined():
            return membership.joined(state, record, event, at)
        case ev.WorkerLeaving():
            return membership.leaving(state, record, event, at)
        case ev.WorkerRemoved():
            return membership.removed(state, record, event, at)
        case ev.KeyRotated():
            return membership.key_rotated(state, record, event, at)
        case ev.Withdrawn():
            return membership.withdrawn(state, record, event, at)
        case ev.Notice():
            said = LoggedNotice(event.kind, event.round, event.sender, event.to, event.ref, event.cid, at)
            return evolve_task(state, notices=(*state.notices, said), at=at)
        case ev.TaskStarted():
            in_phase(state, record, Phase.JOINING)
            equal(record, "roster", event.roster, state.active)
            return evolve_task(state, at=at)
        case ev.FinalAttested():
            return settlement.attested(state, record, event, at)
        case ev.FinalModelAccepted():
            in_phase(state, record, Phase.ATTEST)
            return evolve_task(state, final_hash=event.final_hash, at=at)
        case ev.FinalForfeits():
            return settlement.final_forfeits(state, record, event, at)
        case ev.TaskEnded():
            return settlement.task_ended(state, record, event, at)
        case ev.Refunded():
            return settlement.refunded(state, record, event, at)
        case ev.Burned():
            return settlement.burned(state, record, event, at)
        case ev.TaskCreated() | ev.TaskInitialized():
            raise FoldError(record, "the task exists already")
        case _:
            assert_never(event)
