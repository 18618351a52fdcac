"""Whose key seals what: recipients and their keys for the four kinds of envelope (PROTOCOL 8), and the base's majority.

Owns the choice only; envelopes are made elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import assert_never

from bfl_events.bitmap import members_of, size
from bfl_events.schema import Address
from bfl_events.state import Attempt, EncryptionKey, Standing, TaskState


class Content(IntEnum):
    """What an envelope holds: the `kind` of its context (PROTOCOL 6)."""

    MODEL = 0
    CHECKPOINT = 1
    FINAL = 2
    REPAIR = 3


@dataclass(frozen=True, slots=True)
class Recipient:
    """`index` is None for the requester. `key` may still be one that does not parse: then everybody leaves it out."""

    account: Address
    index: int | None
    key: EncryptionKey


def key_for(state: TaskState, account: Address, kind: Content, round_number: int) -> EncryptionKey | None:
    """The key that content of this kind for this round is sealed with; None if the account announced none in time.

    A model: the last one with `effective_round` ≤ round, else the first. The final model: the newest logged before
    Attest began. Checkpoints and repairs: the newest. Raises LookupError for an account that is no participant.
    """
    keys = _keys_of(state, account)
    if not keys:
        return None
    match kind:
        case Content.MODEL:
            return next((k for k in reversed(keys) if k.effective_round <= round_number), keys[0])
        case Content.FINAL:
            began = state.attest_since
            return next((k for k in reversed(keys) if began is None or k.at < began), None)
        case Content.CHECKPOINT | Content.REPAIR:
            return keys[-1]
        case _:
            assert_never(kind)


def recipients(
    state: TaskState, kind: Content, round_number: int, asker: Address | None = None
) -> tuple[Recipient, ...]:
    """Who can open content of this kind, ascending by index.

    A model: the roster of the current attempt, the sender and those dropped since included. A checkpoint: whoever
    becomes active in this round. The final model: the requester. A repair: `asker`, which raises ValueError if absent.
    """
    match kind:
        case Content.MODEL:
            chosen: Sequence[Address] = [state.member(i).account for i in members_of(state.current.roster)]
        case Content.CHECKPOINT:
            chosen = [m.account for m in state.members if m is not None and m.join_round == round_number
                      and m.status is not Standing.GONE]
        case Content.FINAL:
            chosen = [state.requester]
        case Content.REPAIR:
            if asker is None:
                raise ValueError("a repair is sealed for whoever asked: name the asker")
            chosen = [asker]
        case _:
            assert_never(kind)
    found = ((account, key_for(state, account, kind, round_number)) for account in chosen)
    return tuple(Recipient(account, state.index_of(account), key) for account, key in found if key is not None)


def majority_base(attempt: Attempt) -> bytes | None:
    """H_r: the base hash in the last commitments of more than half of the roster; None if there is no such hash."""
    votes = Counter(commit.base_hash for i, commit in attempt.commits.items() if attempt.roster >> i & 1)
    for base_hash, count in votes.most_common(1):
        if 2 * count > size(attempt.roster):
            return base_hash
    return None


def _keys_of(state: TaskState, account: Address) -> tuple[EncryptionKey, ...]:
    if account == state.requester:
        return state.requester_keys
    index = state.index_of(account)
    if index is None:
        raise LookupError(f"{account} is neither the requester nor a worker of task {state.address}")
    return state.member(index).keys
