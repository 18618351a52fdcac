"""Known block hashes against what a node says now: extend, rewind to the common ancestor, or wait.

Owns the decision only. It is pure: it asks its caller by returning `Ask` and never reads a chain, a clock or a
database. Hashes decide, never heights: after a revert the same height comes back with other content.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

PATIENCE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Ref:
    """A block that was read: its number and its hash."""

    number: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Extend:
    """The node holds the newest known block: what follows it can be read."""


@dataclass(frozen=True, slots=True)
class Rewind:
    """The chain below `to` is still ours, what follows was replaced. `to` None: nothing we know is left."""

    to: int | None


@dataclass(frozen=True, slots=True)
class Lagging:
    """Wait: the node is behind, or endpoints do not agree yet."""

    why: str


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the node for the hash at this height, add it to the answers and judge again."""

    number: int


Verdict = Extend | Rewind | Lagging | Ask


@dataclass(frozen=True, slots=True)
class Doubt:
    """What else is known about the newest known block: the hashes other endpoints hold at its height (None: no such
    block), and for how many seconds the node has not confirmed it."""

    others: tuple[bytes | None, ...] = ()
    waited_s: float = 0.0


def judge(
    known: Sequence[Ref],
    answers: Mapping[int, bytes | None],
    doubt: Doubt = Doubt(),
    patience_s: float = PATIENCE_S,
) -> Verdict:
    """Compare the known blocks (ascending) with a node's hashes by height (None: it has no such block).

    A block that is missing is a lag, and a block that another endpoint still confirms is a disagreement, until
    `patience_s` have passed (DESIGN 3.5). A different hash, at the newest known block or below it, is a reorg.
    """
    if not known:
        return Extend()
    newest = known[-1]
    if newest.number not in answers:
        return Ask(newest.number)
    held = answers[newest.number]
    if held == newest.hash:
        return Extend()
    patient = doubt.waited_s < patience_s
    if patient and newest.hash in doubt.others:
        why = "does not have" if held is None else "has another"
        return Lagging(f"it {why} block {newest.number}, which another endpoint confirms")
    match _common_ancestor(known, answers):
        case Ask() as question:
            return question
        case index:
            shorter = held is None and answers[known[index + 1].number] is None
            contradicted = any(other is not None for other in doubt.others)
            if patient and shorter and not contradicted:
                return Lagging(f"it does not have block {newest.number} yet")
            return Rewind(known[index].number if index >= 0 else None)


def _common_ancestor(known: Sequence[Ref], answers: Mapping[int, bytes | None]) -> int | Ask:
    """Index of the newest known block that the node holds (-1: none), by halving: a chain that holds a block holds
    all before it. The last block is known not to match."""
    low, high = -1, len(known) - 1
    while high - low > 1:
        middle = (low + high) // 2
        ref = known[middle]
        if ref.number not in answers:
            return Ask(ref.number)
        if answers[ref.number] == ref.hash:
            low = middle
        else:
            high = middle
    return low
