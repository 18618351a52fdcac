"""A history folded again, up to any event: what each task's contract held at that moment.

Owns where a replay stops. The folding is `fold`'s; nothing here reads a file or a chain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from bfl_events.codec import EVENTS
from bfl_events.fold import Created, FoldError, apply, begin
from bfl_events.schema import Address, Record, TaskCreated
from bfl_events.state import TaskState


class ReplayFailed(Exception):
    """The records do not follow from each other: `line` is the number of the first that cannot come next."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")
        self.line, self.why = line, why


class NoSuchPlace(Exception):
    """The history ends before the event at which the replay is to stop."""


@dataclass(frozen=True, slots=True)
class Until:
    """Where to stop: after so many events, a block, a line, or the nth event of a name. All None: at the end."""

    events: int | None = None
    block: int | None = None
    line: int | None = None
    name: str | None = None
    nth: int = 1


@dataclass(slots=True)
class Replay:
    """How far the replay came: the tasks' states by address, in order of creation, and the last record folded."""

    tasks: dict[Address, Created | TaskState] = field(default_factory=dict)
    events: int = 0
    last: Record | None = None
    line: int = 0


def parse_until(text: str) -> Until:
    """`120` (events), `block:1500`, `line:121`, `RoundAdvanced` (the first) or `RoundAdvanced:3`. Raises ValueError."""
    name, _, number = text.partition(":")
    if text.isdecimal():
        return Until(events=int(text))
    if name == "block" and number.isdecimal():
        return Until(block=int(number))
    if name == "line" and number.isdecimal():
        return Until(line=int(number))
    if name in EVENTS and (not number or (number.isdecimal() and int(number) > 0)):
        return Until(name=name, nth=int(number or 1))
    raise ValueError(
        f"{text!r} is no place to stop at. Write a number of events (120), block:NUMBER, line:NUMBER, or the name "
        f"of an event (RoundAdvanced, or RoundAdvanced:3 for the third)."
    )


def replay(numbered: Iterable[tuple[int, Record]], until: Until | None = None) -> Replay:
    """Fold records, each with its line number, until there. Raises ReplayFailed and NoSuchPlace."""
    run = Replay()
    for line, record in up_to(numbered, until or Until()):
        _take(run, record, line)
    return run


def up_to(numbered: Iterable[tuple[int, Record]], until: Until) -> Iterator[tuple[int, Record]]:
    """The records as far as there, with their line numbers. Raises NoSuchPlace at the end of a history that is shorter.
    """
    events = seen = 0
    for line, record in numbered:
        if events == until.events or _beyond(line, record, until):
            return
        yield line, record
        events += 1
        seen += type(record.event).__name__ == until.name
        if until.name is not None and seen == until.nth:
            return
    if until.name is not None:
        raise NoSuchPlace(f"{until.name} comes {seen} times, not {until.nth}")
    if until.events is not None and events < until.events:
        raise NoSuchPlace(f"there are only {events} events, not {until.events}")


def _beyond(line: int, record: Record, until: Until) -> bool:
    return (until.block is not None and record.block > until.block) or (until.line is not None and line > until.line)


def _take(run: Replay, record: Record, line: int) -> None:
    try:
        if isinstance(record.event, TaskCreated):
            run.tasks[record.event.task] = begin(record)
        elif (state := run.tasks.get(record.emitter)) is None:
            raise ReplayFailed(line, f"{record.emitter} logs before its TaskCreated")
        else:
            run.tasks[record.emitter] = apply(state, record)
    except FoldError as error:
        raise ReplayFailed(line, str(error)) from None
    run.events, run.last, run.line = run.events + 1, record, line
