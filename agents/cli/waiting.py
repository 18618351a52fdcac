"""`bfl-agent task wait`: looks at the task until it has come so far. Sends nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass

from agents.cli.exits import Exit
from agents.cli.failures import Failure, usage
from agents.cli.session import Session
from agents.cli.view import look
from bfl_events.schema import Phase
from bfl_events.state import TaskState


@dataclass(frozen=True, slots=True)
class Goal:
    """What is waited for: whether it is reached, and whether it cannot be reached any more."""

    name: str
    reached: Callable[[TaskState], bool]
    hopeless: Callable[[TaskState], bool]


def goal(text: str) -> Goal:
    """Raises Failure for a text that names none."""
    if found := re.fullmatch(r"round:(\d{1,9})", text):
        number = int(found[1])
        return Goal(
            text, lambda task: _settled(task) >= number, lambda task: task.phase.ended or number > task.params.rounds
        )
    match text:
        case "started":
            return Goal(text, lambda task: task.round > 0, lambda task: task.phase.ended)
        case "ended":
            return Goal(text, lambda task: task.phase.ended, lambda _: False)
        case "completed":
            return Goal(text, lambda task: task.phase == Phase.COMPLETED, lambda task: task.phase.ended)
        case _:
            raise usage(
                f"{text!r} is nothing to wait for.",
                "It must be a state that a task reaches.",
                "Use --for started, round:N, ended or completed.",
            )


async def wait(session: Session, named: str | None, until: str, timeout_s: float) -> None:
    """Returns when the goal is reached. Raises Failure: 21 after the timeout, 23 if it is out of reach."""
    wanted, before = goal(until), ""
    address = named
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                task = (await look(session)).task(address)
                address = task.address
                if (now := f"{task.phase.name.lower()}, round {task.round}/{task.params.rounds}") != before:
                    before = now
                    session.note(f"{task.address}: {now}")
                if wanted.reached(task):
                    break
                if wanted.hopeless(task):
                    raise Failure(
                        f"The task will not be {until}.",
                        f"It is {now}.",
                        "bfl-agent rounds list shows how it went.",
                        Exit.ENDED_BADLY,
                    )
                await asyncio.sleep(session.settings.chain.poll_s)
    except TimeoutError:
        raise Failure(
            f"The task is not {until} after {timeout_s:g} s.",
            f"It is {before or 'not known yet'}.",
            "bfl-agent rounds explain says whom it waits for.",
            Exit.TIMED_OUT,
        ) from None
    session.show(
        {"task": task.address, "phase": task.phase.name.lower(), "round": task.round, "for": until},
        [f"{task.address} is {task.phase.name.lower()} in round {task.round}."],
    )


def _settled(task: TaskState) -> int:
    """The last round that was paid."""
    return max((attempt.round for attempt in task.attempts if attempt.paid is not None), default=0)
