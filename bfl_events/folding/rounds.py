"""The phases of a round and what members do in them."""

from __future__ import annotations

from bfl_events import schema as ev
from bfl_events.bitmap import EMPTY, bit, members_of
from bfl_events.deadlines import actors
from bfl_events.folding.checks import (
    FoldError,
    actor,
    equal,
    evolve_member,
    evolve_task,
    in_attempt,
    in_phase,
    member_at,
    once,
    with_attempt,
    with_member,
)
from bfl_events.schema import Bitmap, Phase, Record
from bfl_events.scoring import CONTROL_LANES
from bfl_events.state import (
    Attempt,
    ModelCommitment,
    OpenedModel,
    Position,
    RevealedRow,
    ScoreCommitment,
    TaskState,
)


def round_advanced(state: TaskState, record: Record, event: ev.RoundAdvanced, at: Position) -> TaskState:
    """A round begins after joining or a settlement; another attempt at it, after a missed deadline."""
    equal(record, "attempt", event.attempt, state.attempt + 1)
    boundary: dict[str, Bitmap] = {}
    if event.round != state.round:
        equal(record, "round", event.round, state.round + 1)
        in_phase(state, record, Phase.SETTLE if state.round else Phase.JOINING)
        boundary = {"pending": EMPTY, "leaving": EMPTY, "dropped": EMPTY}
    elif not Phase.TRAIN <= state.phase <= Phase.REVEAL:
        raise FoldError(record, f"a round cannot restart in phase {state.phase.name}")
    lanes = state.count + CONTROL_LANES
    fresh = Attempt(round=event.round, number=event.attempt, roster=event.roster, lanes=lanes, began=at)
    return evolve_task(
        state, phase=Phase.TRAIN, round=event.round, attempt=event.attempt, deadline=event.deadline, since=at,
        lanes=lanes, step=0, active=event.roster, roster=event.roster, excused=EMPTY, committed=EMPTY,
        opened=EMPTY, scored=EMPTY, revealed=EMPTY, attempts=(*state.attempts, fresh), at=at, **boundary,
    )


def phase_changed(state: TaskState, record: Record, event: ev.PhaseChanged, at: Position) -> TaskState:
    if not Phase.OPEN <= event.phase <= Phase.ATTEST:
        raise FoldError(record, f"no phase is followed by {event.phase.name} in this way")
    in_attempt(state, record, event.round, event.attempt, Phase(event.phase - 1))
    changed = evolve_task(state, phase=event.phase, deadline=event.deadline, since=at, at=at)
    if event.phase is Phase.ATTEST:
        return evolve_task(
            changed, active=event.active, pending=EMPTY, leaving=EMPTY, dropped=EMPTY, attest_since=at)
    equal(record, "active", event.active, state.active)
    if event.phase is Phase.SCORE:
        return evolve_task(changed, attempts=with_attempt(state, seed=event.seed))
    return changed


def deadline_missed(state: TaskState, record: Record, event: ev.DeadlineMissed, at: Position) -> TaskState:
    in_attempt(state, record, event.round, event.attempt, event.phase)
    if event.voids == state.voids:
        return evolve_task(state, at=at)
    members = list(state.members)
    for index in members_of(event.absent | actors(state)):
        member = member_at(state, record, index)
        streak = member.miss_streak + 1 if event.absent & bit(index) else 0
        members[index] = evolve_member(member, miss_streak=streak)
    return evolve_task(
        state, members=tuple(members), active=event.active, dropped=event.dropped, voids=event.voids, at=at)


def phase_extended(state: TaskState, record: Record, event: ev.PhaseExtended, at: Position) -> TaskState:
    in_attempt(state, record, event.round, event.attempt, event.phase)
    return evolve_task(state, deadline=event.deadline, since=at, at=at)


def model_committed(state: TaskState, record: Record, event: ev.ModelCommitted, at: Position) -> TaskState:
    in_attempt(state, record, event.round, event.attempt, Phase.TRAIN)
    index = actor(state, record, event.worker)
    commits = state.current.commits
    times = commits[index].times + 1 if index in commits else 1
    commits = {**commits, index: ModelCommitment(event.commitment, event.base_hash, at, times)}
    return evolve_task(
        state, members=with_member(state, index, commitment=event.commitment),
        committed=Bitmap(state.committed | bit(index)), excused=Bitmap(state.excused & ~bit(index)),
        attempts=with_attempt(state, commits=commits), at=at,
    )


def model_opened(state: TaskState, record: Record, event: ev.ModelSubmitted, at: Position) -> TaskState:
    in_attempt(state, record, event.round, event.attempt, Phase.OPEN)
    index = actor(state, record, event.worker)
    once(record, index, allowed=state.committed, done=state.opened)
    model = OpenedModel(event.model_hash, event.salt, event.size, event.cid, at)
    opened = {**state.current.opened, index: model}
    return evolve_task(
        state, opened=Bitmap(state.opened | bit(index)), attempts=with_attempt(state, opened=opened), at=at)


def scores_committed(state: TaskState, record: Record, event: ev.ScoresCommitted, at: Position) -> TaskState:
    in_attempt(state, record, event.round, event.attempt, Phase.SCORE)
    index = actor(state, record, event.worker)
    commits = state.current.score_commits
    times = commits[index].times + 1 if index in commits else 1
    commits = {**commits, index: ScoreCommitment(event.commitment, at, times)}
    return evolve_task(
        state, members=with_member(state, index, commitment=event.commitment),
        scored=Bitmap(state.scored | bit(index)), attempts=with_attempt(state, score_commits=commits), at=at,
    )


def scores_revealed(state: TaskState, record: Record, event: ev.ScoresSubmitted, at: Position) -> TaskState:
    in_attempt(state, record, event.round, event.attempt, Phase.REVEAL)
    index = actor(state, record, event.worker)
    once(record, index, allowed=state.scored, done=state.revealed)
    rows = {**state.current.revealed, index: RevealedRow(event.row, event.salt, at)}
    return evolve_task(
        state, revealed=Bitmap(state.revealed | bit(index)), attempts=with_attempt(state, revealed=rows), at=at)
