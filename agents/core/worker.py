"""A worker's duties, phase by phase, from state, memory and clock alone (PROTOCOL 2.2)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from agents.core.admission import admission, let_go, terms_of
from agents.core.global_model import agreed_start, fetch_opened, obtain_opened, obtain_start, start_of
from agents.core.intents import (
    AttestFinal,
    Candidate,
    ClearRound,
    CommitModel,
    CommitScores,
    Done,
    Halt,
    Intent,
    LeaveTask,
    OpenModel,
    PublishCopy,
    Published,
    PublishModel,
    Refused,
    RowReady,
    ScoreModels,
    SubmitScore,
    TrainModel,
)
from agents.core.novelty import compared_with
from agents.core.permissionless import drain, push, take_own
from agents.core.repair import answers, checkpoint
from agents.core.state import Me, Memory, Now, World
from bfl_events.rules import Content, audit_beta, recipients, words_for
from bfl_events.schema import Address, Phase
from bfl_events.state import TaskState

UNKNOWN_HAND = (
    "the chain shows a second {what} of {me} in attempt {attempt} that this agent did not make. Somebody else uses the "
    "account's key, or two agents do. Stop the other one, or leave the task with this account; nothing more is sent"
)


def decide(world: World, memory: Memory, me: Me, now: Now) -> tuple[Intent, ...]:
    """Everything due now, over all tasks. A worker serves one running task at a time and drains the ended ones."""
    tasks = sorted(world.tasks.values(), key=lambda task: task.created)
    if me.task is not None:
        tasks = [task for task in tasks if task.address == me.task]
    seated = [task for task in tasks if me.address in task.seats]
    intents = [intent for task in seated for intent in _duties(task, memory, me, now)]
    if not any(_engaged(task, me) for task in seated):
        wanted = (list(admission(task, memory, me, now)) for task in tasks if me.address not in task.seats)
        intents += next((steps for steps in wanted if steps), [])
    intents += let_go(tasks, memory, me, now)
    return tuple(intents)


def _engaged(task: TaskState, me: Me) -> bool:
    """Whether the task still counts on me."""
    index = task.index_of(me.address)
    return not task.phase.ended and index is not None and bool((task.active | task.pending) >> index & 1)


def _duties(task: TaskState, memory: Memory, me: Me, now: Now) -> Iterator[Intent]:
    if task.phase.ended:
        yield from drain(task, me, now)
        yield from answers(task, memory, me, now)
        return
    terms = terms_of(task, keep=True)
    if memory.terms(terms.key) is None or task.params.model_hash not in memory.models:
        if not isinstance(memory.outcomes.get(terms.key), Refused):
            yield terms
        return
    if not _engaged(task, me):
        yield from take_own(task, me)
        return
    yield from push(task, me, now)
    if task.phase == Phase.JOINING:
        return
    yield from answers(task, memory, me, now)
    yield from _leave(task, me)
    index = task.seats[me.address]
    if task.active >> index & 1:
        yield from checkpoint(task, memory, me)
        yield from _in_phase(task, memory, me, now, index)
    yield from _clear(task, memory, me, index)


def _in_phase(task: TaskState, memory: Memory, me: Me, now: Now, index: int) -> Iterator[Intent]:
    match task.phase:
        case Phase.TRAIN:
            yield from _train(task, memory, me, now, index)
        case Phase.OPEN:
            yield from _open(task, memory, me, now, index)
            yield from _gather(task, memory, me, now, index)
        case Phase.SCORE:
            yield from _score(task, memory, me, now, index)
        case Phase.REVEAL:
            yield from _reveal(task, memory, me, now, index)
            yield from _gather(task, memory, me, now, index)
        case Phase.SETTLE:
            yield from _gather(task, memory, me, now, index)
        case Phase.ATTEST:
            yield from _attest(task, memory, me, now, index)
        case _:
            return


# ---- train ----------------------------------------------------------------------------------------------------------


def _train(task: TaskState, memory: Memory, me: Me, now: Now, index: int) -> Iterator[Intent]:
    if task.excused >> index & 1 and task.leaving >> index & 1:
        return
    base = start_of(task, memory, task.round)
    agreed = agreed_start(task, task.round)
    if base is None or base not in memory.models or (agreed is not None and agreed != base):
        yield from obtain_start(task, memory, me, now, task.round)      # not the majority's: re-sync, do not train on
        return
    train = TrainModel(task.address, task.round, base)
    trained = memory.model(train.key)
    if trained is None:
        yield train
        return
    logged = task.current.commits.get(index)
    expected = me.seals.model(task.address, task.round, task.attempt, trained)
    if logged is not None and logged.digest == expected:
        return
    if logged is None or logged.times == 1:
        yield CommitModel(task.address, task.round, task.attempt, trained, base)
        return
    # replaced once already: what stands is opened, if it can be
    prefix = f"train:{task.address}:{task.round}:"
    mine = memory.made(prefix, logged.digest, partial(me.seals.model, task.address, task.round, task.attempt))
    if not mine and not memory.forgot(task.address, task.attempt, logged.digest):
        yield Halt(task.address, UNKNOWN_HAND.format(what="model", me=me.address, attempt=task.attempt))


# ---- open -----------------------------------------------------------------------------------------------------------


def settled_enough(task: TaskState, me: Me, now: Now) -> bool:
    """The phase's event is `confirmations` deep, or half of the phase's window is over (PROTOCOL 2.6)."""
    deep = now.head - task.since.block >= me.confirmations
    return deep or now.time >= (task.since.time + task.deadline) / 2


def _opening(task: TaskState, memory: Memory, me: Me, index: int) -> bytes | None:
    """The model behind my logged commitment, if I still have it."""
    logged = task.current.commits.get(index)
    if logged is None:
        return None
    for digest in memory.models_under(f"train:{task.address}:{task.round}:"):
        if me.seals.model(task.address, task.round, task.attempt, digest) == logged.digest:
            return digest
    return None


def _open(task: TaskState, memory: Memory, me: Me, now: Now, index: int) -> Iterator[Intent]:
    if not task.committed >> index & 1 or task.opened >> index & 1 or not settled_enough(task, me, now):
        return
    digest = _opening(task, memory, me, index)
    if digest is None:
        base = task.current.commits[index].base_hash
        train = TrainModel(task.address, task.round, base)
        if base not in memory.models:
            yield from obtain_start(task, memory, me, now, task.round)
        elif memory.model(train.key) is None:                  # the cache was lost: the same work again
            yield train
        return
    publish = PublishModel(task.address, task.round, task.attempt, digest, sealed_for(task, Content.MODEL))
    published = memory.outcomes.get(publish.key)
    if isinstance(published, Published):
        yield OpenModel(task.address, task.round, task.attempt, digest, published.size, published.cid)
    else:
        yield publish


def sealed_for(task: TaskState, kind: Content) -> tuple[tuple[Address, bytes], ...]:
    """(account, DER key) of everybody who can open content of this kind now."""
    chosen = recipients(task, kind, task.round)
    return tuple((recipient.account, recipient.key.der) for recipient in chosen)


# ---- score ----------------------------------------------------------------------------------------------------------


def _gather(task: TaskState, memory: Memory, me: Me, now: Now, index: int) -> Iterator[Intent]:
    """Bring every opened model of this attempt that is neither here nor refused; my own too, should it be lost."""
    if not task.current.roster >> index & 1:
        return
    for other, opened in task.current.opened.items():
        if opened.model_hash not in memory.models:
            yield from obtain_opened(task, memory, me, now, task.current, other)


def _score(task: TaskState, memory: Memory, me: Me, now: Now, index: int) -> Iterator[Intent]:
    if task.excused >> index & 1 or not task.current.roster >> index & 1:
        return
    yield from _gather(task, memory, me, now, index)
    agreed, own = agreed_start(task, task.round), start_of(task, memory, task.round)
    base = own if agreed is None else agreed
    if base is None or base not in memory.models:       # lane 0 of another base than the majority's would convict me
        yield from obtain_start(task, memory, me, now, task.round)
        return
    logged = task.current.score_commits.get(index)
    rows = _rows(task, memory, base)
    if logged is not None and any(_seal(task, me, row) == logged.digest for row in rows):
        return
    if logged is not None and logged.times > 1:
        mine = _committed_row(task, memory, me, index) is not None
        if not mine and not memory.forgot(task.address, task.attempt, logged.digest):
            yield Halt(task.address, UNKNOWN_HAND.format(what="score row", me=me.address, attempt=task.attempt))
        return
    if rows and settled_enough(task, me, now):
        yield CommitScores(task.address, task.round, task.attempt, rows[-1].row)
    elif not rows and settled_enough(task, me, now):
        yield from _judge(task, memory, now, index, base)


def _rows(task: TaskState, memory: Memory, base: bytes) -> list[RowReady]:
    """The rows that judge what is open on this fork. On another one seats may have been dealt in another order, or
    others may have opened, under the same seed: where prevrandao is constant it does not tell forks apart."""
    attempt = task.current
    prefix = f"score:{task.address}:{task.attempt}:{attempt.seed.hex()}:{base.hex()}:"
    here = [(f"{index}-{opened.model_hash.hex()}", f"{index}-none") for index, opened in sorted(attempt.opened.items())]
    words = words_for(attempt.lanes)

    def fits(key: str, row: RowReady) -> bool:
        judged = key.removeprefix(prefix).split(":")
        alike = len(judged) == len(here) and all(one in known for one, known in zip(judged, here, strict=True))
        return alike and len(row.row) == words

    return [row for key, row in memory.rows_under(prefix) if fits(key, row)]


def _judge(task: TaskState, memory: Memory, now: Now, index: int, base: bytes) -> Iterator[Intent]:
    attempt = task.current
    waiting = [
        other for other, opened in attempt.opened.items()
        if opened.model_hash not in memory.models
        and not isinstance(memory.outcomes.get(fetch_opened(task, attempt, other).key), Refused)
    ]
    if waiting and now.time < score_cut_off(task, now):
        return
    if 3 * len(waiting) > len(attempt.opened):
        return       # a missing row costs less than a row of wrong zeros (PROTOCOL 2.6)
    candidates = tuple(
        Candidate(other, task.member(other).account, opened.model_hash if opened.model_hash in memory.models else None,
                  compared_with(task, attempt, other, memory.models))
        for other, opened in sorted(attempt.opened.items())
    )
    audited = task.params.audit_lane
    beta = audit_beta(attempt.seed) if audited and task.round > 1 else None
    yield ScoreModels(
        task.address, task.round, task.attempt, attempt.seed, base, index, attempt.lanes, audited, beta, candidates
    )


def score_cut_off(task: TaskState, now: Now) -> float:
    """Until then an unavailable model is waited for."""
    return task.deadline - max(3 * now.block_s, task.params.score_window / 5)


# ---- reveal ---------------------------------------------------------------------------------------------------------


def _seal(task: TaskState, me: Me, row: RowReady) -> bytes:
    return me.seals.scores(task.address, task.round, task.attempt, row.row)


def _committed_row(task: TaskState, memory: Memory, me: Me, index: int) -> RowReady | None:
    logged = task.current.score_commits.get(index)
    rows = memory.rows_under(f"score:{task.address}:{task.attempt}:")
    return next((row for _, row in rows if logged is not None and _seal(task, me, row) == logged.digest), None)


def _reveal(task: TaskState, memory: Memory, me: Me, now: Now, index: int) -> Iterator[Intent]:
    if not task.scored >> index & 1 or task.revealed >> index & 1 or not settled_enough(task, me, now):
        return
    row = _committed_row(task, memory, me, index)
    base = start_of(task, memory, task.round)
    if row is not None:
        yield SubmitScore(task.address, task.round, task.attempt, row.row)
        return
    yield from _gather(task, memory, me, now, index)
    if base is None or base not in memory.models:
        yield from obtain_start(task, memory, me, now, task.round)
    elif not _rows(task, memory, base):     # the journal was lost: the same data give the same row
        yield from _judge(task, memory, now, index, base)


# ---- attest and after -----------------------------------------------------------------------------------------------


def _attest(task: TaskState, memory: Memory, me: Me, now: Now, index: int) -> Iterator[Intent]:
    if task.attested >> index & 1:
        return
    last = task.params.rounds + 1
    final = start_of(task, memory, last)
    if final is None or final not in memory.models:
        yield from obtain_start(task, memory, me, now, last)
        return
    if not settled_enough(task, me, now):
        return
    copy = final_copy(task, final)
    published = memory.outcomes.get(copy.key)
    if isinstance(published, Published):
        yield AttestFinal(task.address, final, published.cid)
    elif isinstance(published, Refused):
        yield AttestFinal(task.address, final, b"")       # the requester's key is unusable; the vote still counts
    else:
        yield copy


def final_copy(task: TaskState, final: bytes) -> PublishCopy:
    """G(N) sealed for the requester's newest key that was logged before Attest began (PROTOCOL 8)."""
    return PublishCopy(task.address, task.params.rounds, 2, final, sealed_for(task, Content.FINAL))


def _leave(task: TaskState, me: Me) -> Iterator[Intent]:
    staying = not task.leaving >> task.seats[me.address] & 1
    if staying and task.address in me.leaving and task.phase.in_round:
        yield LeaveTask(task.address, task.round)


def _clear(task: TaskState, memory: Memory, me: Me, index: int) -> Iterator[Intent]:
    """Let go of the oldest round that is past its retention; one at a time."""
    for round in range(1, task.round - me.retain_rounds):
        if isinstance(memory.outcomes.get(ClearRound(task.address, round, (), ()).key), Done):
            continue
        attempts = [attempt for attempt in task.attempts if attempt.round == round]
        own = {a.opened[index].cid for a in attempts if index in a.opened} | memory.envelopes(task.address, round)
        models = {opened.model_hash for a in attempts for opened in a.opened.values()}
        models |= set(memory.models_under(f"train:{task.address}:{round}:"))       # also what was never opened
        base = start_of(task, memory, round)
        keep = {task.params.model_hash, start_of(task, memory, task.round)}
        if base is not None:
            models.add(base)
        yield ClearRound(task.address, round, tuple(sorted(models - keep)), tuple(sorted(own)))
        return
