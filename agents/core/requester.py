"""A requester's duties: it helps along, and at the end it fetches what it paid for (PROTOCOL 2.2)."""

from __future__ import annotations

from collections.abc import Iterator

from agents.core.admission import terms_of
from agents.core.global_model import ask, take_offered
from agents.core.intents import DeliverFinal, Done, FetchModel, Intent, Refused
from agents.core.permissionless import drain, push
from agents.core.state import ZERO_HASH, Me, Memory, Now, World
from bfl_events.state import TaskState


def decide(world: World, memory: Memory, me: Me, now: Now) -> tuple[Intent, ...]:
    """Everything due now for the tasks that this account created."""
    tasks = sorted(world.tasks.values(), key=lambda task: task.created)
    mine = [task for task in tasks if task.requester == me.address and me.task in (None, task.address)]
    return tuple(intent for task in mine for intent in _duties(task, memory, me, now))


def _duties(task: TaskState, memory: Memory, me: Me, now: Now) -> Iterator[Intent]:
    terms = terms_of(task, keep=True)
    here = memory.terms(terms.key) is not None and task.params.model_hash in memory.models
    if not here and not isinstance(memory.outcomes.get(terms.key), Refused):
        yield terms
    yield from push(task, me, now)
    if task.phase.ended:
        yield from drain(task, me, now)
    if task.final_hash != ZERO_HASH:
        yield from _fetch_final(task, memory, me, now)


def delivered(task: TaskState, memory: Memory) -> bool:
    """The attested model lies in the results, or there is none to come."""
    outcome = memory.outcomes.get(DeliverFinal(task.address, task.final_hash).key)
    return isinstance(outcome, Done) or (task.phase.ended and task.final_hash == ZERO_HASH)


def _fetch_final(task: TaskState, memory: Memory, me: Me, now: Now) -> Iterator[Intent]:
    deliver = DeliverFinal(task.address, task.final_hash)
    if isinstance(memory.outcomes.get(deliver.key), Done):
        return
    if task.final_hash in memory.models:
        yield deliver
        return
    offers = [
        FetchModel(task.address, task.params.rounds, 0, task.member(index).account, task.final_hash, attested.cid, 0, 2)
        for index, attested in sorted(task.attestations.items())
        if attested.final_hash == task.final_hash and attested.cid
    ]
    open_offers = [fetch for fetch in offers if not isinstance(memory.outcomes.get(fetch.key), Refused)]
    if open_offers:
        yield from open_offers
        return
    yield from take_offered(task, memory, me, task.final_hash)
    yield from ask(task, me, now, task.round, task.final_hash)
