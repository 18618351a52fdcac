"""One line of `doctor`: which part, how it is, what was found, what to do. Owns the form; looks at nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class State(StrEnum):
    OK = "ok"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Check:
    """What was found about a part, and the remedy where one is needed."""

    part: str
    subject: str
    state: State
    result: str
    fix: str = ""

    def document(self) -> dict[str, Any]:
        return asdict(self)


def ok(part: str, subject: str, result: str) -> Check:
    return Check(part, subject, State.OK, result)


def warn(part: str, subject: str, result: str, fix: str) -> Check:
    return Check(part, subject, State.WARN, result, fix)


def fail(part: str, subject: str, result: str, fix: str) -> Check:
    return Check(part, subject, State.FAIL, result, fix)
