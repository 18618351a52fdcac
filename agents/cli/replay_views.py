"""How the looks of a replayed history are shown: lines for people, JSON for programs, and what became of everything.

Owns no decision and reads nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from agents.cli.wording import in_words
from agents.core.hindsight import End, Step
from agents.core.intents import Intent
from bfl_events.cli.text import moment, record_line
from bfl_events.export import record_json

SIGNS = {"worked": "=", "wanted": "+", "done": "✓", "missed": "✗", "dropped": "-"}
LEGEND = ("+ wanted from here on   = wanted, and taken to be done at once   ✓ done, as the chain or the journal shows\n"
          "✗ missed   - no longer wanted   ! an act of this account that it would not have decided on   · declined\n")


@dataclass(slots=True)
class Tally:
    """What became of everything wanted, over the whole history; `open` are the intents still wanted at its end."""

    counts: Counter[str] = field(default_factory=Counter)
    missed: list[tuple[int, Intent]] = field(default_factory=list)
    unforeseen: list[int] = field(default_factory=list)
    open: dict[str, Intent] = field(default_factory=dict)

    def take(self, step: Step, line: int) -> None:
        self.counts["looks"] += 1
        self.counts["wanted"] += len(step.wanted) + len(step.worked)
        self.counts["done"] += len(step.worked)
        self.open |= {intent.key: intent for intent in step.wanted}
        for gone in step.gone:
            self.counts[gone.end.value] += 1
            del self.open[gone.intent.key]
            if gone.end is End.MISSED:
                self.missed.append((line, gone.intent))
        self.unforeseen += [line for line, _ in step.unforeseen]


    def document(self) -> dict[str, Any]:
        """The last line of --json."""
        counts = {name: self.counts[name] for name in ("looks", "wanted", "done", "missed", "dropped")}
        still = [_intent(intent) for intent in self.open.values()]
        return {"summary": counts | {"open": still, "unforeseen": self.unforeseen}}

    def lines(self) -> Iterator[str]:
        counts = self.counts
        yield (f"{counts['looks']} looks: {counts['wanted']} intents wanted, {counts['done']} done, {counts['missed']} "
               f"missed, {counts['dropped']} no longer wanted, {len(self.open)} open.")
        for line, intent in self.missed:
            yield f"missed by line {line}: {in_words(intent)}"
        for intent in self.open.values():
            yield f"still wanted: {in_words(intent)}"
        if self.unforeseen:
            lines = ", ".join(map(str, self.unforeseen))
            yield f"acts of this account that it would not have decided on: lines {lines}"


def lines_of(step: Step) -> Iterator[str]:
    """One look for people."""
    for line, record in step.numbered:
        yield f"line {line:<5} {record_line(record)}"
    if not step.numbered:
        yield f"{'':10} {moment(int(step.now.time))}  some time after block {step.now.head}"
    for kind, intent in _changes(step):
        yield f"    {SIGNS[kind]} {in_words(intent)}   [{intent.key}]"
    for line, record in step.unforeseen:
        yield f"    ! {type(record.event).__name__} in line {line} is not what this agent wanted"
    for address, reason in step.declined:
        yield f"    · task {address} is declined: {reason}"


def document_of(step: Step) -> dict[str, Any]:
    """One look as a JSON object."""
    return {
        "time": int(step.now.time), "head": step.now.head,
        "events": [{"line": line} | record_json(record) for line, record in step.numbered],
        "worked": [_intent(work) for work in step.worked],
        "wanted": [_intent(intent) for intent in step.wanted],
        "gone": [{"end": gone.end.value} | _intent(gone.intent) for gone in step.gone],
        "unforeseen": [line for line, _ in step.unforeseen],
        "declined": [{"task": task, "reason": reason} for task, reason in step.declined],
    }


def _changes(step: Step) -> Iterator[tuple[str, Intent]]:
    for gone in step.gone:
        yield gone.end.value, gone.intent
    for work in step.worked:
        yield "worked", work
    for intent in step.wanted:
        yield "wanted", intent


def _intent(intent: Intent) -> dict[str, Any]:
    named = {item.name for item in fields(intent)}
    place: dict[str, Any] = {
        name: getattr(intent, name) for name in ("task", "round", "attempt") if name in named}
    return {"intent": type(intent).__name__} | place | {"key": intent.key, "words": in_words(intent)}
