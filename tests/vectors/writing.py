"""How the vectors are drawn and written: sets and words as hex strings, wei as decimal strings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any

SIZES = (*range(2, 20), 29, 30, 31, 32, 45, 46, 62, 63, 94, 110, 125, 126)    # 14, 30, … fill a word with two controls
FEW_SIZES = (*range(2, 18), 30, 31, 62, 126)
COLUMNS = ("bond", "credit", "strikes", "missStreak", "lowStreak", "unopened")
COLLATERAL = 2 * 10**9
FRESH = {"bond": COLLATERAL, "credit": 0, "strikes": 0, "missStreak": 0, "lowStreak": 0, "unopened": 0}


def subset(dice: Random, of: Iterable[int], least: int, share: float) -> set[int]:
    """Each with this chance, and at least so many."""
    pool = sorted(of)
    kept = {i for i in pool if dice.random() < share}
    missing = [i for i in pool if i not in kept]
    while len(kept) < min(least, len(pool)):
        kept.add(missing.pop(dice.randrange(len(missing))))
    return kept


def bitmap(members: Iterable[int]) -> str:
    return hex(sum(1 << i for i in members))


def words(lanes: Iterable[int]) -> list[str]:
    """Sixteen lanes of 16 bits a word, lane 0 lowest (PROTOCOL 3.1)."""
    padded = list(lanes)
    padded += [0] * (-len(padded) % 16)
    return [hex(sum(value << 16 * k for k, value in enumerate(padded[w:w + 16]))) for w in range(0, len(padded), 16)]


def pools(books: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(books[key]) for key in ("rewardLeft", "forfeitPool", "burnPool")}


def columns(seats: Sequence[Mapping[str, int]]) -> dict[str, list[int | str]]:
    """One list for each of a worker's numbers."""
    return {key: [money_text(seat)[key] for seat in seats] for key in COLUMNS}


def money_text(numbers: Mapping[str, int]) -> dict[str, int | str]:
    """Wei as decimal strings."""
    return {key: str(value) if key in {"bond", "credit", "collateral", "amount", "bondLeft"} else value
            for key, value in numbers.items()}
