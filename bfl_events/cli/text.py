"""Records and states as lines for people. Owns the wording; JSON forms are `codec`'s and `export`'s."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from bfl_events.codec import to_json
from bfl_events.fold import Created
from bfl_events.schema import Record
from bfl_events.state import TaskState


def moment(time: int) -> str:
    """RFC 3339 in UTC."""
    try:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"time {time}"


def record_line(record: Record) -> str:
    """One event on one line."""
    fields = " ".join(f"{name}={_short(value)}" for name, value in to_json(record.event).items())
    place = f"{record.block}.{record.log_index}"
    return f"{moment(record.time)}  {place:<9} {record.emitter[:10]}…  {type(record.event).__name__:<18} {fields}"


def state_lines(state: Created | TaskState) -> Iterator[str]:
    """What a task's contract holds."""
    if isinstance(state, Created):
        yield f"Task {state.address}: created by {state.requester}; its own events are not in this history."
        return
    terms = state.params
    due = f"deadline {moment(state.deadline)}" if state.deadline else "no deadline"
    yield f"Task {state.address}  requester {state.requester}"
    yield (f"  phase {state.phase.name.capitalize()}, round {state.round} of {terms.rounds}, attempt {state.attempt}, "
           f"{due}, voids {state.voids}")
    yield (f"  wei: reward left {state.reward_left} of {state.reward}, forfeits {state.forfeit_pool}, "
           f"to burn {state.burn_pool}, withdrawn {state.withdrawn}, refunded {state.refunded}, burned {state.burned}")
    for name in ("roster", "committed", "opened", "scored", "revealed", "accepted", "top", "deviant", "invalid"):
        if getattr(state, name):
            yield f"  {name:<9} workers {_seats(getattr(state, name))}"
    if any(state.final_hash):
        yield f"  final model 0x{state.final_hash.hex()}"
    for member in state.members:
        if member is not None:
            yield (f"  worker {member.index:>3}  {member.account}  {member.status.name.lower():<7}  "
                   f"bond {member.bond}  credit {member.credit}  strikes {member.strikes}")


def _seats(bitmap: int) -> str:
    return ", ".join(str(seat) for seat in range(bitmap.bit_length()) if bitmap >> seat & 1)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + " ".join(f"{name}={_short(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_short, value)) + "]"
    text = str(value)
    return text if len(text) <= 42 else f"{text[:10]}…{text[-6:]}"
