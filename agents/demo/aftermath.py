"""What chaos must not have caused: losses of honest workers, and acts that contradict each other on any fork. Pure.

The log shows the fork that stayed; the outboxes show everything that was ever signed, for those that did not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set as AbstractSet

from agents.cli.session import short
from agents.effects.slots import Ending, Slot
from bfl_events import schema as ev
from bfl_events.rules import Fault
from bfl_events.schema import Address, Record

LIVENESS = frozenset({Fault.NO_REVEAL, Fault.MISSED, Fault.NO_ATTEST, Fault.UNOPENED})      # PROTOCOL 4.2
ONCE = ("open-model:", "submit-score:")      # keys of what may never be said in two ways
MOST_COMMITMENTS = 2                         # PROTOCOL 2.2: an agent replaces one at most once per attempt and phase


def losses(records: Iterable[Record], honest: AbstractSet[Address]) -> Iterator[str]:
    """Collateral that an honest worker lost by anything but being away."""
    for event in (record.event for record in records):
        if (isinstance(event, ev.WorkerPenalized) and event.worker in honest
                and event.amount and event.reason not in LIVENESS):
            yield f"{short(event.worker)} lost {event.amount} wei in round {event.round} by fault {event.reason}"


def double_acts(records: Iterable[Record]) -> Iterator[str]:
    """More acts of one worker in one attempt than there may be."""
    counts: Counter[tuple[str, Address, Address, int]] = Counter()
    for record in records:
        match record.event:
            case ev.ModelSubmitted() | ev.ScoresSubmitted() | ev.ModelCommitted() | ev.ScoresCommitted() as act:
                counts[type(act).__name__, record.emitter, act.worker, act.attempt] += 1
            case ev.FinalAttested() as act:
                counts[type(act).__name__, record.emitter, act.worker, 0] += 1
    for (kind, _, worker, attempt), count in counts.items():
        if count > (MOST_COMMITMENTS if kind.endswith("Committed") else 1):
            yield f"{count} times {kind} by {short(worker)} in attempt {attempt}"


def contradictions(name: str, signed: Sequence[Slot]) -> Iterator[str]:
    """An opening or a reveal that one account signed in two ways."""
    said: dict[str, set[bytes]] = {}
    for slot in signed:
        if slot.key.startswith(ONCE):
            said.setdefault(slot.key, set()).add(slot.payload.data)
    yield from (f"{name} signed {len(ways)} different {key}" for key, ways in said.items() if len(ways) > 1)


def nonce_trouble(name: str, signed: Sequence[Slot], used: int) -> Iterator[str]:
    """A nonce that was left out or lost to a stranger; `used` is the account's count on the chain."""
    nonces = [slot.nonce for slot in signed]
    if missing := sorted(set(range(used)) - set(nonces)):
        yield f"{name} did not sign its nonces {missing}"
    yield from (f"{name} lost nonce {slot.nonce} to a stranger" for slot in signed
                if slot.landing is not None and slot.landing.ending is Ending.LOST)


def harm(records: Sequence[Record], signed: Mapping[str, Sequence[Slot]], used: Mapping[str, int]) -> list[str]:
    """All contradictions of a run. `signed`, `used`: by the participant's name."""
    found = list(double_acts(records))
    for name, slots in signed.items():
        found += [*contradictions(name, slots), *nonce_trouble(name, slots, used[name])]
    return found
