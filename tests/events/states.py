"""Task states for tests of single rules, without a log: a few members, some sets, the rest at rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bfl_events.rules import bitmap_of
from bfl_events.schema import Phase, Wei
from bfl_events.state import Attempt, EncryptionKey, Member, Position, TaskState
from tests.events.ballots import terms
from tests.simulation.play import CID, REQUESTER, account

START = Position(10, 0, 1_700_000_000)


def key(effective_round: int, block: int, name: bytes = b"key") -> EncryptionKey:
    return EncryptionKey(effective_round, name, Position(block, 0, START.time + block))


def member(index: int, **changes: Any) -> Member:
    who = account(index + 1)
    fresh = Member(who, index, who, 1, Wei(2 * 10**18), Wei(0), (key(1, 5),))
    return replace(fresh, **changes)


def state(count: int = 5, phase: Phase = Phase.TRAIN, *, params: dict[str, Any] | None = None,
          members: Callable[[int], Member] = member, **changes: Any) -> TaskState:
    """A task in round 1 with `count` active members; sets are given as bitmaps."""
    everybody = bitmap_of(range(count))
    reward = Wei(30 * 10**18)
    resting = TaskState(
        address=account(99), requester=REQUESTER, params=terms(**(params or {})), reward=reward, spec_cid=CID,
        model_cid=CID, requester_keys=(key(0, 1, b"requester"),), created=START, nonce=bytes(32), phase=phase,
        deadline=START.time + 100, since=START, round=1, attempt=1, count=count, lanes=count + 2,
        members=tuple(members(i) for i in range(count)), seats={account(i + 1): i for i in range(count)},
        active=everybody, roster=everybody, reward_left=reward,
        attempts=(Attempt(1, 1, everybody, count + 2, START),),
    )
    return replace(resting, **changes)


def settled(count: int = 5, **changes: Any) -> TaskState:
    """A judged round in which everybody did everything and is eligible, unless `changes` say otherwise."""
    everybody = bitmap_of(range(count))
    judged: dict[str, Any] = dict.fromkeys(
        ("committed", "opened", "scored", "revealed", "accepted", "eligible"), everybody)
    return state(count, Phase.SETTLE, **{**judged, "top": bitmap_of([0]), "step": 1, **changes})
