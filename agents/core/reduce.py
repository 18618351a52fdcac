"""Folds records into the world: each task's own log, and the factory's that announces them."""

from __future__ import annotations

from collections.abc import Iterable

from agents.core.state import World
from bfl_events.fold import FoldError, apply, begin
from bfl_events.rules import actors, expected, members_of, phase_complete
from bfl_events.schema import Phase, PhaseChanged, Record, TaskCreated
from bfl_events.state import TaskState


def fold(world: World, records: Iterable[Record]) -> World:
    """The world after these records, in order. Raises bfl_events.fold.FoldError for a log that no contract wrote, and
    where one must be missing. A task whose `TaskCreated` was left out is left out."""
    tasks, created = dict(world.tasks), dict(world.created)
    for record in records:
        if isinstance(record.event, TaskCreated):
            created[record.event.task] = begin(record)
        elif record.emitter in tasks:
            _check_whole(tasks[record.emitter], record)
            tasks[record.emitter] = apply(tasks[record.emitter], record)
        elif record.emitter in created:
            tasks[record.emitter] = apply(created.pop(record.emitter), record)
    return World(tasks, created)


def _check_whole(task: TaskState, record: Record) -> None:
    """A phase that ends before its deadline has seen everybody act (PROTOCOL 2.1.2). Whom the log does not show did:
    an endpoint left that out, and who decides on such a log opens, scores or pays for the wrong models."""
    if not isinstance(record.event, PhaseChanged) or record.time > task.deadline:
        return
    if Phase.TRAIN <= task.phase <= Phase.REVEAL and not phase_complete(task):
        missing = [task.member(index).account for index in members_of(expected(task) & ~actors(task))]
        raise FoldError(record, f"phase {task.phase.name} ends early, but the log shows nothing of "
                                f"{', '.join(missing) or 'a quorum'} in it: something is missing")
