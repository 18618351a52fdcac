"""Helping others to models they lack: checkpoints for late joiners, answers to those who ask (PROTOCOL 2.4)."""

from __future__ import annotations

from collections.abc import Iterator

from agents.core.global_model import CHECKPOINT, HERE_MODEL, NEED_MODEL, answers_to, asked_for, start_of
from agents.core.intents import Intent, PublishCopy, Published, SendNotice
from agents.core.permissionless import place_in_line, stagger_s
from agents.core.state import ZERO_ADDRESS, ZERO_HASH, Me, Memory, Now
from bfl_events.rules import Content, key_for, members_of, recipients
from bfl_events.schema import Phase
from bfl_events.state import LoggedNotice, TaskState

ANSWERS_PER_ASKER = 4
FINAL_SERVED_S = 24 * 3600


def checkpoint(task: TaskState, memory: Memory, me: Me) -> Iterator[Intent]:
    """Seal G(round - 1) for the workers who begin with this round: duty of two members, by turns."""
    joiners = recipients(task, Content.CHECKPOINT, task.round)
    if task.phase != Phase.TRAIN or task.round < 2 or not joiners:
        return
    holders = [index for index in members_of(task.active) if task.member(index).join_round < task.round]
    turn = task.round % len(holders) if holders else 0
    on_duty = (holders[turn:] + holders[:turn])[:2]
    digest = start_of(task, memory, task.round)
    sent = any(n.kind == CHECKPOINT and n.round == task.round and n.sender == me.address for n in task.notices)
    if task.index_of(me.address) not in on_duty or digest is None or digest not in memory.models or sent:
        return
    copy = PublishCopy(task.address, task.round, 1, digest, tuple((j.account, j.key.der) for j in joiners))
    yield from _publish_and_tell(memory, copy, CHECKPOINT, ZERO_ADDRESS)


def answers(task: TaskState, memory: Memory, me: Me, now: Now) -> Iterator[Intent]:
    """For every open NeedModel that I can serve: seal the bytes for the asker and say where they are."""
    for asked in task.notices:
        if asked.kind != NEED_MODEL or asked.sender == me.address or asked.round + 1 < task.round:
            continue
        if asked != asked_for(task, asked.sender, asked.round, asked.ref)[-1]:
            continue                            # asked again since
        digest = asked.ref if asked.ref != ZERO_HASH else start_of(task, memory, asked.round)
        if digest is None or digest not in memory.models or _answered(task, asked, digest, me):
            continue
        over = task.phase.ended and now.time > task.since.time + FINAL_SERVED_S
        turn = asked.at.time + place_in_line(task, me) * stagger_s(now)
        key = key_for(task, asked.sender, Content.REPAIR, asked.round)
        if key is None or over or now.time < turn:
            continue
        copy = PublishCopy(task.address, asked.round, 3, digest, ((asked.sender, key.der),))
        yield from _publish_and_tell(memory, copy, HERE_MODEL, asked.sender)


def _answered(task: TaskState, asked: LoggedNotice, digest: bytes, me: Me) -> bool:
    """By me, or by as many others as it was asked times: who answers with nothing has one answer counted, not all."""
    given = answers_to(task, asked.sender, asked.round, ZERO_HASH)
    mine = [n.ref for n in given if n.sender == me.address]
    others = {n.sender for n in given if n.ref == digest}
    times = len(asked_for(task, asked.sender, asked.round, asked.ref))
    return len(mine) >= ANSWERS_PER_ASKER or digest in mine or len(others) >= times


def _publish_and_tell(memory: Memory, copy: PublishCopy, kind: int, to: str) -> Iterator[Intent]:
    published = memory.outcomes.get(copy.key)
    if isinstance(published, Published):
        yield SendNotice(copy.task, kind, copy.round, to, copy.model_hash, published.cid)
    else:
        yield copy
