"""Which transition a line begins that is no member's act, and whether anybody could have triggered it there."""

from __future__ import annotations

from bfl_events import schema as ev, transitions
from bfl_events.bitmap import members_of, size
from bfl_events.deadlines import actors, expected, hard_stop_passed, quorum
from bfl_events.schema import Phase, Record
from bfl_events.state import TaskState
from bfl_events.transitions import Steps, Surroundings


def transition_for(state: TaskState, record: Record, block: Surroundings) -> tuple[Steps | None, list[str]]:
    """The transition whose first event this line could be, if there is one, and why it could not happen here."""
    event, phase, step = record.event, state.phase, state.step
    match event:
        case ev.TaskStarted() if phase is Phase.JOINING:
            return transitions.start(state, block), _start_problems(state, record)
        case ev.DeadlineMissed() if Phase.TRAIN <= phase <= Phase.REVEAL:
            early = [] if record.time > state.deadline else [f"the deadline {state.deadline} has not passed"]
            return transitions.advance(state, block), early
        case ev.RoundScored() if phase is Phase.SETTLE and step == 0:
            return transitions.judge(state), []
        case ev.WorkerPenalized() | ev.RewardsDistributed() if phase is Phase.SETTLE and step == 1:
            return transitions.pay(state), []
        case ev.WorkerRemoved() | ev.RoundAdvanced() | ev.PhaseChanged() if phase is Phase.SETTLE and step == 2:
            return transitions.close_round(state, block), []
        case ev.WorkerPenalized() | ev.FinalForfeits() if phase is Phase.ATTEST:
            return transitions.end(state, Phase.COMPLETED), _end_problems(state, record)
        case ev.TaskEnded() if not phase.ended:
            return _ending(state, record, block)
        case ev.PhaseChanged() if Phase.TRAIN <= phase <= Phase.REVEAL:
            return transitions.enter(state, block, Phase(phase + 1)), [_incomplete(state)]
        case _:
            return None, [f"it cannot come in phase {phase.name}, settlement step {step}"]


def _ending(state: TaskState, record: Record, block: Surroundings) -> tuple[Steps, list[str]]:
    """An end that nothing announced: cancelled, attested, or stopped hard; or the boundary left too few."""
    if state.phase is Phase.SETTLE and state.step == 2:
        closes = isinstance(next(transitions.close_round(state, block)), ev.TaskEnded)
        if closes or not hard_stop_passed(state, record.time):
            return transitions.close_round(state, block), []
    outcome = {Phase.JOINING: Phase.CANCELLED, Phase.ATTEST: Phase.COMPLETED}.get(state.phase, Phase.EXPIRED)
    return transitions.end(state, outcome), _end_problems(state, record)


def _start_problems(state: TaskState, record: Record) -> list[str]:
    problems = []
    if size(state.active) < state.params.min_workers:
        problems.append(f"{size(state.active)} workers cannot start a task that needs {state.params.min_workers}")
    if record.time > state.params.hard_stop:
        problems.append("the hard stop has passed")
    return problems


def _end_problems(state: TaskState, record: Record) -> list[str]:
    match state.phase:
        case Phase.JOINING:
            return []
        case Phase.ATTEST:
            over = record.time > state.deadline or state.attested == state.active
            return [] if over else [f"attesting is open until {state.deadline}, and not all have attested"]
        case _:
            stopped = hard_stop_passed(state, record.time)
            return [] if stopped else ["neither a deadline nor the hard stop ends the task here"]


def _incomplete(state: TaskState) -> str:
    missing = members_of(expected(state) & ~actors(state))
    if missing:
        return f"phase {state.phase.name} still waits for {', '.join(state.member(i).account for i in missing)}"
    return f"phase {state.phase.name} needs {quorum(state.active)} actors and has {size(actors(state))}"
