"""A measured figure beside its limit, and what a benchmark exits with: 1 if a figure of it is beyond."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """`limit`: the most that is wanted, or with `at_least` the least. NaN, for what was never seen, is beyond."""

    what: str
    value: float
    limit: float
    unit: str = ""
    at_least: bool = False

    @property
    def holds(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        value = f"{self.value:,.0f}" if abs(self.value) >= 1000 else f"{self.value:.2f}"
        bound = f"at {'least' if self.at_least else 'most'} {self.limit:,g}{unit}"
        return f"{self.what} {value}{unit}, {bound}: {'ok' if self.holds else 'BEYOND'}"


def judge(benchmark: str, figures: Sequence[Figure], *told: str) -> int:
    """Prints what else is to be told, then a line for each figure; returns the exit code."""
    for line in (*told, *map(str, figures)):
        sys.stdout.write(f"{benchmark}: {line}\n")
    return 0 if all(figure.holds for figure in figures) else 1
