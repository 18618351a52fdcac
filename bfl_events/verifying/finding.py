"""What `verify` reports. Owns the shape and the words of a finding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from enum import Enum

from bfl_events.schema import Event


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One contradiction. `line` counts the records from 1; one of the `related` lines may be the wrong one instead."""

    line: int
    message: str
    related: tuple[int, ...] = ()

    def __str__(self) -> str:
        others = f" (or line {', '.join(map(str, self.related))} is wrong)" if self.related else ""
        return f"line {self.line}: {self.message}{others}"


def shown(value: object) -> str:
    """A value as a person reads it in a finding."""
    if isinstance(value, bytes):
        return "0x" + value.hex() if len(value) <= 36 else f"0x{value[:16].hex()}… ({len(value)} bytes)"
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, tuple):
        return "[" + ", ".join(hex(word) for word in value) + "]"
    return str(value)


def differences(have: Event, want: Event) -> list[str]:
    """How two events of the same type differ, field by field. An empty `seed` in `want` stands for any but zero."""
    found = []
    for field in fields(want):
        logged, due = getattr(have, field.name), getattr(want, field.name)
        if field.name == "seed" and due == b"":
            if len(logged) != 32 or not any(logged):
                found.append("seed is zero, but Score begins with one for the audit model")
        elif logged != due:
            found.append(f"{field.name} is {shown(logged)}, expected {shown(due)}")
    return found


def sentence(event: Event, problems: Iterable[str]) -> str:
    """One message for all that is wrong with an event."""
    return f"{type(event).__name__}: {'; '.join(problems)}"


def lines_of(numbers: Sequence[int], without: int) -> tuple[int, ...]:
    """Line numbers to relate to, ascending, without the finding's own."""
    return tuple(sorted({number for number in numbers if number != without}))
