"""Task states made by hand, for decisions that need only a corner of one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agents.core.state import Me
from bfl_events.bitmap import bitmap_of
from bfl_events.schema import Params, Phase, RoundScored, Wei
from bfl_events.state import Attempt, EncryptionKey, Member, ModelCommitment, OpenedModel, Position, TaskState

TASK = "0x" + "aa" * 20
REQUESTER = "0x" + "ee" * 20
BEGAN = 1_000_000

PARAMS = Params(
    rounds=5, min_workers=3, min_active=2, max_workers=5, top_k=2, late_join=False, audit_lane=True, top_share_bps=7000,
    tie_band=500, accept_bps=8000, dev_tol=3000, slash_bps=5000, fee_bps=1000, miss_bps=500, burn_bps=0, max_miss=3,
    max_low=3, max_void=5, join_window=600, train_window=600, open_window=300, score_window=300, reveal_window=300,
    attest_window=600, hard_stop=BEGAN + 10**6, collateral=Wei(10**17), allow_root=b"\1" * 32,
    model_hash=b"\0" * 31 + b"\1", spec_hash=b"\2" * 32,
)


def account(index: int) -> str:
    return f"0x{index + 1:040x}"


def digest(*names: object) -> bytes:
    return hashlib.sha256(repr(names).encode()).digest()


def at(place: int) -> Position:
    """A log's position, one block and one second after another."""
    return Position(place, 0, BEGAN + place)


class HashSeals:
    """Commitments that only this test's account can make: a hash of everything that goes in."""

    def __init__(self, owner: str) -> None:
        self._owner = owner

    def model(self, task: str, round: int, attempt: int, model_hash: bytes) -> bytes:
        return digest("model", self._owner, task, round, attempt, model_hash)

    def scores(self, task: str, round: int, attempt: int, row: Sequence[int]) -> bytes:
        return digest("scores", self._owner, task, round, attempt, tuple(row))


def me(index: int = 0, **changes: Any) -> Me:
    """The agent of worker `index`."""
    return replace(Me(account(index), HashSeals(account(index))), **changes)


def member(index: int, **changes: Any) -> Member:
    key = EncryptionKey(0, b"key" + bytes([index]), at(1))
    basic = Member(account(index), index, account(index), 1, PARAMS.collateral, Wei(0), (key,))
    return replace(basic, **changes)


def attempt(
    round: int, number: int, models: Mapping[int, bytes], accepted: Sequence[int] | None = None, start: bytes = b"",
    **more: Any,
) -> Attempt:
    """An attempt in which the given workers opened the given models, in ascending order of index."""
    place = 100 * number
    commits = {i: ModelCommitment(digest(h), start, at(place + i)) for i, h in models.items()}
    opened = {
        i: OpenedModel(h, bytes(32), 500, digest("cid", h) + b"cid!", at(place + 50 + i)) for i, h in models.items()
    }
    scored = None
    if accepted is not None:
        scored = RoundScored(round, (), (), 1, bitmap_of(accepted), bitmap_of(()), bitmap_of(()), bitmap_of(()))
    basic = Attempt(round, number, bitmap_of(models), 2 + len(models), at(place), commits=commits, opened=opened)
    return replace(basic, scored=scored, **more)


def task(workers: int = 3, phase: Phase = Phase.TRAIN, **changes: Any) -> TaskState:
    """A task with all its workers active, in the given phase of round 1."""
    everybody = bitmap_of(range(workers))
    basic = TaskState(
        address=TASK, requester=REQUESTER, params=PARAMS, reward=Wei(10**18), spec_cid=b"spec", model_cid=b"model",
        requester_keys=(EncryptionKey(0, b"requester key", at(0)),), created=at(0), nonce=bytes(32), phase=phase,
        deadline=BEGAN + 700, since=at(10), round=1, attempt=1, count=workers, lanes=workers + 2,
        members=tuple(member(i) for i in range(workers)), seats={account(i): i for i in range(workers)},
        active=everybody, roster=everybody, reward_left=Wei(10**18), attempts=(attempt(1, 1, {}, roster=everybody),),
        at=at(10),
    )
    return replace(basic, **changes)
