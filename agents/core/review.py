"""What an agent must tell about its tasks, beyond its duties in them: declined, on another model, beyond its help.

Pure: a turn's outlook in, sentences out. Must not decide what is done about them.
"""

from __future__ import annotations

from collections.abc import Iterator

from agents.core.admission import decline, joinable, terms_of
from agents.core.divergence import BaseCheck, check_base
from agents.core.intents import Refused
from agents.core.state import Outlook
from bfl_events.schema import Address
from bfl_events.state import TaskState


def declined(outlook: Outlook) -> Iterator[tuple[Address, str]]:
    """Tasks that would take this worker and that its policy does not let it join, with the reason."""
    for task in outlook.world.tasks.values():
        if outlook.me.address not in task.seats and joinable(task, outlook.now):
            reason = decline(task, outlook.memory, outlook.me, outlook.now)
            if reason:
                yield task.address, reason


def compared(outlook: Outlook) -> Iterator[tuple[Address, BaseCheck | None]]:
    """This worker's base beside the majority's, for every task in which it has a seat."""
    for task in outlook.world.tasks.values():
        if outlook.me.address in task.seats:
            yield task.address, check_base(task, outlook.memory, outlook.me)


def unserved(outlook: Outlook) -> Iterator[tuple[Address, str]]:
    """Tasks in which this account has a seat and whose terms cannot be read here any more: its journal was lost."""
    for task in outlook.world.tasks.values():
        index = task.index_of(outlook.me.address)
        counted = index is not None and not task.phase.ended and (task.active | task.pending) >> index & 1
        if counted and outlook.me.task in (None, task.address):
            terms = outlook.memory.outcomes.get(terms_of(task).key)
            if isinstance(terms, Refused):
                yield task.address, terms.reason


def hindrance(task: TaskState, outlook: Outlook) -> str | None:
    """Why this account has no seat in the task and gets none; None if it has one, or may get one."""
    if outlook.me.address in task.seats:
        return None
    reason = None if task.phase.ended else decline(task, outlook.memory, outlook.me, outlook.now)
    if reason is None and not joinable(task, outlook.now):
        seats = f"{task.active.bit_count()} of {task.params.max_workers} seats taken"
        reason = f"it takes no more workers: phase {task.phase.name.lower()}, {seats}"
    return reason
