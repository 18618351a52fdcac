"""Which global model a round starts from, and how to come by it when it is missing (PROTOCOL 2.4).

G(r) below is the global model after round r; G(0) is the task's initial model.
"""

from __future__ import annotations

from collections.abc import Iterator

from agents.core.intents import AggregateModels, FetchModel, Intent, ModelReady, Refused, SendNotice
from agents.core.state import ZERO_ADDRESS, ZERO_HASH, Me, Memory, Now
from bfl_events.rules import majority_base, members_of
from bfl_events.schema import Address
from bfl_events.state import Attempt, LoggedNotice, TaskState

NEED_MODEL, HERE_MODEL, CHECKPOINT = 1, 2, 3
ASK_AFTER_S = 3.0          # before asking others: time for the usual way, the sender's own envelope
ASK_AGAIN_S = 10.0         # after an answer, or a twentieth of the window: time to fetch it before it counts as empty


def settled_attempt(task: TaskState, round: int) -> Attempt | None:
    """The attempt of this round that was scored on chain."""
    return next((a for a in reversed(task.attempts) if a.round == round and a.scored is not None), None)


def last_attempt(task: TaskState, round: int) -> Attempt | None:
    return next((a for a in reversed(task.attempts) if a.round == round), None)


def accepted_models(attempt: Attempt) -> tuple[tuple[int, bytes], ...]:
    """(index, model hash) of the accepted models in ascending index: what everybody averages."""
    assert attempt.scored is not None
    return tuple((index, attempt.opened[index].model_hash) for index in members_of(attempt.scored.accepted))


def start_of(task: TaskState, memory: Memory, round: int) -> bytes | None:
    """Hash of G(round - 1), as computed here or as the majority logged it and this agent holds it; None if unknown."""
    digest: bytes | None = task.params.model_hash
    last = {attempt.round: attempt for attempt in task.attempts}
    settled = {attempt.round: attempt for attempt in task.attempts if attempt.scored is not None}
    for done in range(1, round):
        digest = _next_model(task, memory, settled.get(done), digest)
        following = last.get(done + 1)
        voted = majority_base(following) if following is not None else agreed_start(task, done + 1)
        if voted is None and digest is None:
            voted = confirmed_start(task, done + 1)
        if voted is not None and voted in memory.models:
            digest = voted
    return digest


def _next_model(task: TaskState, memory: Memory, attempt: Attempt | None, start: bytes | None) -> bytes | None:
    """What this agent aggregated from a settled attempt, if its round started from `start`."""
    if attempt is None or start is None:
        return None
    models = accepted_models(attempt)
    if not models:
        return start
    outcome = memory.outcomes.get(AggregateModels(task.address, attempt.round, start, models).key)
    return outcome.model_hash if isinstance(outcome, ModelReady) else None


def agreed_start(task: TaskState, round: int) -> bytes | None:
    """H_r, the base hash in the last commitments of most of the roster; None while there is no such hash.

    For the round after the last: the final hash that most of the active attested.
    """
    if round > task.params.rounds:
        return task.final_hash if task.final_hash != ZERO_HASH else None
    attempt = last_attempt(task, round)
    return majority_base(attempt) if attempt is not None else None


def confirmed_start(task: TaskState, round: int) -> bytes | None:
    """What two members confirm as G(round - 1), by offering it or building on it; for those who cannot compute it."""
    members: dict[bytes, set[Address]] = {}
    for notice in task.notices:
        if notice.kind in (CHECKPOINT, HERE_MODEL) and notice.round == round:
            members.setdefault(notice.ref, set()).add(notice.sender)
    attempt = last_attempt(task, round)
    for index, commit in (attempt.commits if attempt is not None else {}).items():
        if commit.base_hash in members:
            members[commit.base_hash].add(task.member(index).account)
    return next((ref for ref, who in members.items() if len(who) >= 2), None)


def obtain_start(task: TaskState, memory: Memory, me: Me, now: Now, round: int) -> Iterator[Intent]:
    """What brings G(round - 1) here: aggregate it, else take bytes with the agreed hash from others, else ask."""
    agreed = agreed_start(task, round)
    attempt = settled_attempt(task, round - 1)
    newcomer = attempt is not None and not attempt.roster >> task.seats[me.address] & 1
    if agreed is None and newcomer:
        agreed = confirmed_start(task, round)
    previous = start_of(task, memory, round - 1) if round > 1 else None
    if attempt is not None and not newcomer and previous is not None and previous in memory.models:
        models = accepted_models(attempt)
        missing = [(index, digest) for index, digest in models if digest not in memory.models]
        intent = AggregateModels(task.address, round - 1, previous, models)
        if models and not missing and memory.model(intent.key) is None:
            yield intent
            return
        for index, _ in missing:
            yield from obtain_opened(task, memory, me, now, attempt, index)
    elif attempt is not None and not newcomer and agreed is None:
        yield from obtain_start(task, memory, me, now, round - 1)
    if agreed is not None and agreed not in memory.models:
        yield from take_offered(task, memory, me, agreed)
        yield from ask(task, me, now, task.round, agreed)
    elif agreed is None and newcomer:
        yield from _offered_checkpoints(task, memory, me, round)
        if now.time > task.since.time + task.params.train_window / 3:
            yield from ask(task, me, now, round, ZERO_HASH)


def obtain_opened(
    task: TaskState, memory: Memory, me: Me, now: Now, attempt: Attempt, index: int
) -> Iterator[Intent]:
    """What brings an opened model here that is missing: its sender's envelope if I am a reader, else the others."""
    opened = attempt.opened[index]
    own = task.index_of(me.address)
    fetch = fetch_opened(task, attempt, index)
    readable = own is not None and own != index and bool(attempt.roster >> own & 1)
    refused = isinstance(memory.outcomes.get(fetch.key), Refused)
    if readable and not refused:
        yield fetch
    yield from take_offered(task, memory, me, opened.model_hash)
    if refused or not readable or now.time > max(task.since.time, opened.at.time) + ASK_AFTER_S:
        yield from ask(task, me, now, task.round, opened.model_hash)


def fetch_opened(task: TaskState, attempt: Attempt, index: int) -> FetchModel:
    """The intent to fetch worker `index`'s model of this attempt from its own envelope."""
    opened, sender = attempt.opened[index], task.member(index).account
    return FetchModel(
        task.address, attempt.round, attempt.number, sender, opened.model_hash, opened.cid, opened.size
    )


def take_offered(task: TaskState, memory: Memory, me: Me, digest: bytes) -> Iterator[Intent]:
    """Fetch `digest` from everybody who offers it to this agent or to all who joined, the newest offer of each: one
    that leads nowhere must not keep the others from being tried."""
    tried: set[Address] = set()
    for notice in reversed(task.notices):
        repair = notice.kind == HERE_MODEL and notice.to == me.address
        if notice.ref != digest or notice.sender == me.address or not (repair or notice.kind == CHECKPOINT):
            continue
        if notice.sender in tried:
            continue
        tried.add(notice.sender)
        kind = 3 if repair else 1
        fetch = FetchModel(task.address, notice.round, 0, notice.sender, digest, notice.cid, 0, kind)
        if not isinstance(memory.outcomes.get(fetch.key), Refused):
            yield fetch


def _offered_checkpoints(task: TaskState, memory: Memory, me: Me, round: int) -> Iterator[Intent]:
    refs = {n.ref for n in task.notices if n.round == round and n.kind == CHECKPOINT}
    for ref in sorted(refs - set(memory.models)):
        yield from take_offered(task, memory, me, ref)


def ask(task: TaskState, me: Me, now: Now, round: int, ref: bytes) -> Iterator[Intent]:
    """Once, and again when as many members have answered as were asked for and their answers lead nowhere."""
    asked = asked_for(task, me.address, round, ref)
    given = answers_to(task, me.address, round, ref)
    last = max((notice.at.time for notice in (*asked, *given)), default=0)
    patience = max(ASK_AGAIN_S, task.params.train_window / 20)
    empty = len({notice.sender for notice in given}) >= len(asked) and now.time > last + patience
    if (not asked or empty) and now.time > task.since.time + ASK_AFTER_S:
        yield SendNotice(task.address, NEED_MODEL, round, ZERO_ADDRESS, ref, times=len(asked))


def asked_for(task: TaskState, asker: Address, round: int, ref: bytes) -> list[LoggedNotice]:
    """The notices in which this member asked for a model."""
    return [n for n in task.notices
            if n.kind == NEED_MODEL and n.sender == asker and n.round == round and n.ref == ref]


def answers_to(task: TaskState, asker: Address, round: int, ref: bytes) -> list[LoggedNotice]:
    """The notices that offer it; without a `ref`, whatever was offered for this round."""
    return [n for n in task.notices
            if n.kind == HERE_MODEL and n.to == asker and n.round == round and ref in (n.ref, ZERO_HASH)]
