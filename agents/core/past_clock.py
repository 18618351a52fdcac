"""When a journal's entries were there, by the chain's clock: the machine's may have been wrong then, or have jumped.

Pure. What was there too early does no harm to looking back: it is asked for only once it is wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from math import inf

from agents.core.intents import Published, TrainModel
from agents.core.past_memory import Entry
from agents.core.state import LEAVE
from bfl_events import schema as ev
from bfl_events.schema import Address, Record


def by_the_chains_clock(entries: Sequence[Entry], records: Iterable[Record], me: Address) -> list[Entry]:
    """`entries` in the order in which they were written, `records` in the chain's.

    What an act of this account was built on was there before the act's block (artefact, journal, transaction: DESIGN
    3.1), and all that was written before it as well. For the rest the machine's clock is believed.
    """
    used: dict[str, int] = {}
    for record in records:
        if (mark := _built_on(record, me)) is not None:
            used.setdefault(mark, record.time)
    found, latest = list[Entry](), inf
    for entry in reversed(entries):
        latest = min(latest, *(used.get(mark, inf) for mark in _marks(entry)))
        found.append(replace(entry, at=min(entry.at, latest)))
    return found[::-1]


def _built_on(record: Record, me: Address) -> str | None:
    """A mark of the entry without which this act of mine would not have been."""
    match record.event:
        case ev.WorkerJoined(worker) if worker == me:
            return f"dry-run:{record.emitter}"
        case ev.ModelCommitted(round, worker, _, _, base) if worker == me:
            return TrainModel(record.emitter, round, base).key
        case ev.ScoresCommitted(_, worker, attempt) if worker == me:
            return f"score:{record.emitter}:{attempt}"
        case ev.ModelSubmitted(worker=who, cid=cid) | ev.FinalAttested(worker=who, cid=cid) | ev.Notice(
                sender=who, cid=cid) if who == me and cid:
            return cid.hex()
        case ev.WorkerLeaving(_, worker) if worker == me:
            return LEAVE + record.emitter
        case _:
            return None


def _marks(entry: Entry) -> Iterator[str]:
    """Its key and every beginning of it; of what was published, the address."""
    parts = entry.key.split(":")
    yield from (":".join(parts[:length]) for length in range(1, len(parts) + 1))
    if isinstance(entry.outcome, Published):
        yield entry.outcome.cid.hex()
