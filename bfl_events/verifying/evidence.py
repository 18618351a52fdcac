"""What later lines prove about earlier ones: whose commitment it was, and who sits in a seat.

An opening fixes the whole commitment by its hash: round, attempt, worker and content. Somebody who acts without having
joined, while somebody else joined and is never heard of again, is the same person under a wrong name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bfl_events import schema as ev
from bfl_events.commitment import Place, model_commitment, score_commitment
from bfl_events.schema import Address, Event, Record

Opening = ev.ModelSubmitted | ev.ScoresSubmitted


@dataclass(frozen=True, slots=True)
class Opened:
    """What a commitment with a known content says of itself."""

    round: int
    attempt: int
    worker: Address


@dataclass(frozen=True, slots=True)
class Stranger:
    """Somebody who acts without having joined, and in which lines."""

    account: Address
    lines: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """For one task: `owners` by digest, `digests` by the opening's line, `renamed` joiners by the name in the log."""

    owners: Mapping[bytes, Opened] = field(default_factory=dict)
    digests: Mapping[int, bytes] = field(default_factory=dict)
    renamed: Mapping[Address, Stranger] = field(default_factory=dict)


def digest_of(chain_id: int, task: Address, opening: Opening) -> bytes:
    """The commitment that an opening opens."""
    place = Place(chain_id, task, opening.round, opening.attempt)
    match opening:
        case ev.ModelSubmitted():
            return model_commitment(place, opening.worker, opening.model_hash, opening.salt)
        case ev.ScoresSubmitted():
            return score_commitment(place, opening.worker, opening.row, opening.salt)


def true_opener(chain_id: int, task: Address, opening: Opening, commitments: Mapping[Address, bytes]) -> Address | None:
    """Whose commitment an opening opens, if it was logged under a wrong name."""
    return next((account for account, digest in commitments.items()
                 if digest_of(chain_id, task, replace(opening, worker=account)) == digest), None)


def gather(chain_id: int, task: Address, numbered: Sequence[tuple[int, Record]]) -> Evidence:
    """The evidence in all of a task's records, which come with their line numbers."""
    owners, digests = {}, {}
    for number, record in numbered:
        event = record.event
        if isinstance(event, Opening):
            digest = digest_of(chain_id, task, event)
            digests[number] = digest
            owners[digest] = Opened(event.round, event.attempt, event.worker)
    return Evidence(owners, digests, _renamed(numbered))


def _renamed(numbered: Sequence[tuple[int, Record]]) -> dict[Address, Stranger]:
    joined, requesters, acts = set[Address](), set[Address](), defaultdict[Address, list[int]](list)
    for number, record in numbered:
        match record.event:
            case ev.WorkerJoined(worker):
                joined.add(worker)
            case ev.TaskInitialized(requester):
                requesters.add(requester)
            case event if (account := _actor(event)) is not None:
                acts[account].append(number)
    silent, strangers = joined - acts.keys(), acts.keys() - joined - requesters
    if len(silent) != 1 or len(strangers) != 1:
        return {}
    stranger = strangers.pop()
    return {silent.pop(): Stranger(stranger, tuple(acts[stranger]))}


def _actor(event: Event) -> Address | None:
    match event:
        case ev.ModelCommitted() | ev.ModelSubmitted() | ev.ScoresCommitted() | ev.ScoresSubmitted():
            return event.worker
        case ev.WorkerPenalized() | ev.WorkerLeaving() | ev.WorkerRemoved() | ev.FinalAttested() | ev.Withdrawn():
            return event.worker
        case ev.KeyRotated():
            return event.who
        case ev.Notice():
            return event.sender
        case _:
            return None
