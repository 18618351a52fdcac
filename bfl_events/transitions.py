"""What the contract logs when the task moves on: each transition as the sequence of its events.

A transition is a generator: it yields the next event and is sent the state after it, so that whoever drives it folds
the events its own way. Owns their order and contents; who may call what, and when, is the caller's question.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import assert_never

from bfl_events import schema as ev
from bfl_events.bitmap import members_of, size
from bfl_events.deadlines import After, Deadline, Removal, deadline_passes, phase_complete, window
from bfl_events.schema import Bitmap, Event, Phase
from bfl_events.scoring import score_round
from bfl_events.settlement import Penalty, attest_result, settle
from bfl_events.state import TaskState

Steps = Generator[Event, TaskState, TaskState]
NO_SEED = bytes(32)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a transition sees of its block: the time, and the audit seed that Score would begin with now."""

    now: int
    seed: bytes


def start(state: TaskState, block: Surroundings) -> Steps:
    """`startTask` with enough workers: the first round."""
    state = yield ev.TaskStarted(state.params.rounds, state.active)
    return (yield from begin_round(state, block, 1, 1))


def begin_round(state: TaskState, block: Surroundings, round_number: int, attempt: int) -> Steps:
    """A round, or a new attempt at one, with the active as its roster."""
    deadline = block.now + state.params.train_window
    return (yield ev.RoundAdvanced(round_number, attempt, state.active, deadline))


def enter(state: TaskState, block: Surroundings, phase: Phase, active: Bitmap | None = None) -> Steps:
    """The next phase, with its window."""
    seconds = window(state.params, phase)
    seeded = phase is Phase.SCORE and state.params.audit_lane
    return (yield ev.PhaseChanged(
        state.round, state.attempt, phase, block.now + seconds if seconds else 0, block.seed if seeded else NO_SEED,
        state.active if active is None else active))


def leave_if_complete(state: TaskState, block: Surroundings) -> Steps:
    """The early exit, in the call of the last one expected; nothing if somebody is still expected."""
    if phase_complete(state):
        state = yield from enter(state, block, Phase(state.phase + 1))
    return state


def advance(state: TaskState, block: Surroundings) -> Steps:
    """`nextRound` in a phase of a round whose deadline has passed, or in Settle: all that is due."""
    if state.phase is not Phase.SETTLE:
        state = yield from pass_deadline(state, block)
    if state.phase is Phase.SETTLE:
        if state.step == 0:
            state = yield from judge(state)
        if state.step == 1:
            state = yield from pay(state)
        state = yield from close_round(state, block)
    return state


def pass_deadline(state: TaskState, block: Surroundings) -> Steps:
    """A missed deadline: the record of it, those who fall out, and what comes after."""
    outcome, phase = deadline_passes(state), state.phase
    state = yield ev.DeadlineMissed(
        state.round, state.attempt, phase, outcome.absent, outcome.dropped, outcome.active, outcome.voids)
    state = yield from _fall_out(state, outcome)
    match outcome.after:
        case After.NEXT_PHASE:
            return (yield from enter(state, block, Phase(phase + 1)))
        case After.EXTENDED:
            deadline = block.now + window(state.params, phase)
            return (yield ev.PhaseExtended(state.round, state.attempt, phase, deadline))
        case After.RESTARTED:
            return (yield from begin_round(state, block, state.round, state.attempt + 1))
        case After.EXPIRED:
            return (yield from end(state, Phase.EXPIRED))
        case _:
            assert_never(outcome.after)


def _fall_out(state: TaskState, outcome: Deadline) -> Steps:
    for index in members_of(outcome.fallen):
        reason = Removal.DROPPED_EXCUSED if outcome.leavers >> index & 1 else Removal.DROPPED
        state = yield ev.WorkerRemoved(state.round, state.member(index).account, reason, ev.Wei(0))
    return state


def judge(state: TaskState) -> Steps:
    """The settlement's first step."""
    scored = score_round(state)
    return (yield ev.RoundScored(
        state.round, scored.medians, scored.lows, scored.theta, scored.accepted, scored.top, scored.deviant,
        scored.invalid))


def pay(state: TaskState) -> Steps:
    """The settlement's second step: fines and ejections by index, then the rewards."""
    settled = settle(state)
    for penalty in settled.penalties:
        state = yield from _fine(state, penalty)
    return (yield ev.RewardsDistributed(
        state.round, settled.eligible, settled.top, settled.per_top, settled.per_rest, settled.per_forfeit,
        settled.reward_left, settled.forfeit_pool))


def _fine(state: TaskState, penalty: Penalty) -> Steps:
    account = state.member(penalty.index).account
    state = yield ev.WorkerPenalized(
        state.round, account, penalty.fault, penalty.amount, penalty.bond_left, penalty.strikes)
    if penalty.ejected:
        state = yield ev.WorkerRemoved(state.round, account, penalty.fault, penalty.bond_left)
    return state


def close_round(state: TaskState, block: Surroundings) -> Steps:
    """After a settlement: the roster changes, then the next round or attesting. With too few left, the end at once."""
    candidates, dropped = state.active | state.pending, state.dropped
    out = state.leaving & candidates | dropped
    active, last = Bitmap(candidates & ~out), state.round == state.params.rounds
    if last and not active:
        return (yield from end(state, Phase.COMPLETED))
    if not last and size(active) < state.params.min_active:
        return (yield from end(state, Phase.EXPIRED))
    for index in members_of(out):
        member = state.member(index)
        reason = Removal.RELEASED if dropped >> index & 1 else Removal.LEFT
        state = yield ev.WorkerRemoved(state.round, member.account, reason, member.bond)
    if last:
        return (yield from enter(state, block, Phase.ATTEST, active))
    deadline = block.now + state.params.train_window
    return (yield ev.RoundAdvanced(state.round + 1, state.attempt + 1, active, deadline))


def attested(state: TaskState) -> Steps:
    """After an attestation: the hash that more than half of the active have attested is final."""
    if any(state.final_hash):
        return state
    last = max(state.attestations.values(), key=lambda attestation: attestation.at)
    votes = sum(a.final_hash == last.final_hash for a in state.attestations.values())
    if 2 * votes > size(state.active):
        state = yield ev.FinalModelAccepted(last.final_hash, votes)
    return state


def end(state: TaskState, outcome: Phase) -> Steps:
    """The end: with a final hash the rest of the forfeits is shared, what nobody is owed is burned."""
    if outcome is Phase.COMPLETED and state.phase is Phase.ATTEST and any(state.final_hash):
        result = attest_result(state)
        for penalty in result.penalties:
            state = yield from _fine(state, penalty)
        state = yield ev.FinalForfeits(result.voters, result.per_voter, result.forfeit_pool)
    return (yield ev.TaskEnded(outcome, state.reward_left, ev.Wei(state.burn_pool + state.forfeit_pool)))


def drive(steps: Steps, state: TaskState, take: Callable[[TaskState, Event], TaskState]) -> TaskState:
    """Runs a transition to its end; `take` folds each event into the state it is given. Returns the last state."""
    try:
        event = next(steps)
        while True:
            state = take(state, event)
            event = steps.send(state)
    except StopIteration:
        return state


def after_act(before: TaskState, act: Event, state: TaskState, block: Surroundings) -> Steps:
    """What else a member's call logs after its own event, which turned `before` into `state`."""
    match act:
        case ev.ModelCommitted() | ev.ModelSubmitted() | ev.ScoresCommitted() | ev.ScoresSubmitted():
            return (yield from leave_if_complete(state, block))
        case ev.WorkerLeaving() if state.excused != before.excused:
            return (yield from leave_if_complete(state, block))
        case ev.WorkerRemoved(worker=worker, bond_released=bond) if before.phase is Phase.JOINING and bond:
            return (yield ev.Withdrawn(worker, before.member(before.seats[worker]).payout, bond))
        case ev.FinalAttested():
            return (yield from attested(state))
        case _:
            return state
