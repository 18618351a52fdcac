"""What anybody may do and somebody must: start, advance, drain; by turns, so that one agent pays (PROTOCOL 2.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from agents.core.intents import AdvanceRound, Burn, Intent, Refund, StartTask, Withdraw
from agents.core.state import Me, Now
from bfl_events.rules import claims, due, members_of
from bfl_events.state import TaskState

DRAIN_AFTER_S = 10.0       # before helping others out of an ended task: time for them to do it themselves


def stagger_s(now: Now) -> float:
    """Seconds between two agents' turns: PROTOCOL's max(2 blocks, 1 s)."""
    return max(2 * now.block_s, 1.0)


def place_in_line(task: TaskState, me: Me) -> int:
    """My position in the active set rotated by the round; the requester and outsiders come last."""
    line = members_of(task.active)
    own = task.index_of(me.address)
    if own is None or own not in line:
        return len(line)
    return (line.index(own) - task.round) % len(line)


def push(task: TaskState, me: Me, now: Now) -> Iterator[Intent]:
    """`startTask()` or `nextRound()`, when due and when it is my turn.

    Judged by the clock, not by the newest block, whose time may be old (PROTOCOL 2.6).
    """
    work = due(task, int(now.time))
    if work is None or now.time < max(work.since, task.at.time) + place_in_line(task, me) * stagger_s(now):
        return
    match work.call:
        case "startTask":
            yield StartTask(task.address, task.deadline)
        case "nextRound":
            yield AdvanceRound(task.address, task.round, task.attempt, task.phase, task.deadline)
        case _:
            assert_never(work.call)


def take_own(task: TaskState, me: Me) -> Iterator[Intent]:
    """What is mine and may be taken out now; for one who left a task that goes on."""
    for claim in claims(task).withdrawals:
        if claim.account == me.address:
            yield Withdraw(task.address, claim.account, claim.amount)


def drain(task: TaskState, me: Me, now: Now) -> Iterator[Intent]:
    """Take what is mine out of an ended task; after a while also send everybody else's on its way."""
    owed = claims(task)
    patience = DRAIN_AFTER_S + place_in_line(task, me) * stagger_s(now)
    helping = now.time >= task.since.time + patience
    for claim in owed.withdrawals:
        if claim.account == me.address or helping:
            yield Withdraw(task.address, claim.account, claim.amount)
    if owed.refund and (task.requester == me.address or helping):
        yield Refund(task.address, owed.refund)
    if owed.burn and (task.requester == me.address or helping):
        yield Burn(task.address, owed.burn)


def drained(task: TaskState) -> bool:
    """Ended, and nothing is left for anybody to take out."""
    return task.phase.ended and claims(task).empty
