"""What the README says that the tests do is counted here: steps, kills, seeds, planted bugs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bfl_events.boundaries import Boundary
from tests.crash import arms
from tests.simulation.bugs import BUGS
from tests.simulation.test_planted_bugs import LIMIT
from tests.simulation.test_simulation import PROMISED

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(("words", "counted"), [
    ("{} named durable steps", len(Boundary)),
    ("{} kills in every test run", len([*arms.of_all()])),
    ("repeats the agents' {} with executed programs", len([*arms.of_agents()])),
    ("{} seeds of a deterministic simulation", PROMISED),
    ("{} bugs planted on purpose", len(BUGS)),
])
def test_the_readme_counts_right(words: str, counted: int) -> None:
    """Each figure stands there once."""
    pattern = re.escape(words).replace(re.escape("{}"), r"([\d,]+)")
    said = re.findall(pattern, (ROOT / "README.md").read_text("utf-8"))
    assert [int(one.replace(",", "")) for one in said] == [counted]


def test_every_run_of_the_tests_plays_all_seeds() -> None:
    """Also the continuous integration's: nothing there makes them fewer."""
    assert LIMIT == PROMISED
    for path in (ROOT / "Makefile", *(one for one in (ROOT / ".ci").iterdir() if one.is_file())):
        assert "BFL_SIMULATION_SEEDS" not in path.read_text("utf-8"), path
