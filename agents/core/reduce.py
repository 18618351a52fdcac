"""Folds records into the world: each task's own log, and the factory's that announces them."""

from __future__ import annotations

from collections.abc import Iterable

from agents.core.state import World
from bfl_events.fold import apply, begin
from bfl_events.schema import Record, TaskCreated


def fold(world: World, records: Iterable[Record]) -> World:
    """The world after these records, in order. Raises bfl_events.fold.FoldError for a log that no contract wrote."""
    tasks, created = dict(world.tasks), dict(world.created)
    for record in records:
        if isinstance(record.event, TaskCreated):
            created[record.event.task] = begin(record)
        elif record.emitter in tasks:
            tasks[record.emitter] = apply(tasks[record.emitter], record)
        else:
            tasks[record.emitter] = apply(created.pop(record.emitter), record)
    return World(tasks, created)
