"""`bfl-agent run --replay` over the home and the journal of a real worker, whose machine's clock was wrong."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agents.home import Home
from tests.crash.births import Nursery
from tests.crash.stage import CHAIN_ID, ROUNDS, Stage


@pytest.mark.parametrize("wrong", ["0", "3600", "-3600", "3600 * (rowid > 20)", "-3600 * (rowid > 20)"])
def test_whatever_the_clock_said_every_act_is_explained_by_the_journal(
    finished: Stage, nursery: Nursery, tmp_path: Path, wrong: str
) -> None:
    """`wrong`: by how many seconds, for the entry of this number."""
    shutil.copytree(finished.home("worker-1").root, tmp_path / "home")
    network = Home(tmp_path / "home").network(CHAIN_ID, finished.factory)
    with closing(sqlite3.connect(network.journal)) as journal, journal:
        changed = journal.execute(f"UPDATE outcome SET at = at + {wrong}").rowcount
    assert changed >= 40
    replay = ("bfl-agent", "run", "--home", str(tmp_path / "home"), "--replay", str(network.events), "--memory",
              "journal", "--json")
    assert nursery.command(replay, tmp_path / "output", {}) == 0, (tmp_path / "output").read_text()
    lines = (tmp_path / "output").read_text().splitlines()
    summary = json.loads(next(line for line in lines if line.startswith('{"summary"')))["summary"]
    assert (summary["unforeseen"], summary["missed"], summary["open"]) == ([], 0, [])
    assert summary["done"] > 4 * ROUNDS
