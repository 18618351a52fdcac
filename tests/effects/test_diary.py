"""A journal read from outside: with its times, beside a running agent, and without a trace."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from agents.core.intents import Done, ModelReady, Refused
from agents.effects.diary import entries
from agents.effects.journal import Journal
from agents.effects.ports import Fatal

MODEL = ModelReady(b"m" * 32, 1.5)


def test_entries_come_with_their_time_oldest_first(tmp_path: Path) -> None:
    began = time.time()
    journal = Journal(tmp_path / "journal.sqlite")
    journal.record("train:a", MODEL)
    journal.record("fetch:b", Refused("truncated"))
    journal.close()
    found = entries(tmp_path / "journal.sqlite")
    assert [(key, outcome) for _, key, outcome in found] == [("train:a", MODEL), ("fetch:b", Refused("truncated"))]
    assert began <= found[0][0] <= found[1][0] <= time.time()
    assert [path.name for path in tmp_path.iterdir()] == ["journal.sqlite"], "reading leaves nothing behind"


def test_a_running_agents_journal_is_read_up_to_its_last_entry(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    for number in range(3):
        journal.record(f"train:{number}", Done())
        assert len(entries(tmp_path / "journal.sqlite")) == number + 1
    journal.close()


def test_what_is_no_journal_or_a_newer_one_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database " * 100)
    with pytest.raises(Fatal, match="cannot be read as a journal"):
        entries(tmp_path / "text")
    newer = tmp_path / "newer.sqlite"
    database = sqlite3.connect(newer)
    database.execute("PRAGMA user_version = 999")
    database.close()
    with pytest.raises(Fatal, match="newer bfl-agent"):
        entries(newer)
