"""Whether this agent's policy would let it join a task, before anything is fetched or tried out."""

from __future__ import annotations

from agents.cli.view import View
from agents.core.admission import joinable, refusals
from agents.core.state import Now
from agents.policy import limits_of
from agents.settings import Policy
from bfl_events.state import TaskState


def reasons_against(policy: Policy, view: View, task: TaskState) -> list[str]:
    """Every reason that the terms on chain give; empty if there is none."""
    if view.me in task.seats:
        return ["this account has a seat in it already"]
    now = Now(view.now, view.head, base_fee=view.base_fee)
    closed = [] if joinable(task, now) else [f"it takes no workers now ({task.phase.name.lower()}, full, or too late)"]
    return closed + refusals(task, limits_of(policy), now)
