"""The journal: durable, the same after a restart, and clear about files it cannot read."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from agents.core.intents import Done, ModelReady, Outcome, Published, Refused, RowReady, TermsReady
from agents.effects.journal import Journal, JournalDamaged, decode, encode
from agents.effects.ports import Fatal, Transient
from bfl_events.schema import Word

digests = st.binary(min_size=32, max_size=32)
words = st.integers(0, 2**256 - 1).map(Word)
outcomes = st.one_of(
    st.just(Done()),
    st.builds(Refused, st.text()),
    st.builds(TermsReady, st.text()),
    st.builds(ModelReady, digests, st.floats(0, 1e6), st.floats(0, 1e10), st.floats(0, 1e10)),
    st.builds(Published, st.binary(min_size=36, max_size=36), st.integers(0, 2**40)),
    st.builds(RowReady, st.lists(words).map(tuple), st.just(((3, "V5"),)), st.floats(0, 1e6)),
)


@given(outcomes)
def test_every_outcome_survives_its_json(outcome: Outcome) -> None:
    assert decode(type(outcome).__name__, json.loads(json.dumps(encode(outcome)))) == outcome


def test_a_model_of_a_version_that_kept_no_times_of_steps_is_read() -> None:
    assert decode("ModelReady", {"model_hash": bytes(32).hex(), "seconds": 1.5}) == ModelReady(bytes(32), 1.5)


def test_a_restart_reads_what_was_recorded_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    journal.record("train:a", ModelReady(bytes(32), 1.5))
    journal.record("score:b", RowReady((Word(2**255),), ((1, "V3"),)))
    journal.record("train:a", ModelReady(b"\1" * 32))
    journal.close()
    again = Journal(tmp_path / "journal.sqlite")
    assert list(again.outcomes().items()) == [
        ("score:b", RowReady((Word(2**255),), ((1, "V3"),))),
        ("train:a", ModelReady(b"\1" * 32)),
    ]


def test_what_is_forgotten_stays_forgotten(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    journal.record("a", Done())
    journal.record("b", Done())
    journal.forget("a")
    journal.forget("a")
    assert list(journal.outcomes()) == ["b"]
    journal.close()
    assert list(Journal(tmp_path / "journal.sqlite").outcomes()) == ["b"]


def test_an_entry_that_cannot_be_read_is_damage_and_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = Journal(path)
    journal.record("a", Done())
    journal.close()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE outcome SET body = '{'")
    with pytest.raises(JournalDamaged, match="journal.sqlite holds an entry"):
        Journal(path)
    assert path.stat().st_size > 0


def test_a_newer_format_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    Journal(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(Fatal, match="newer bfl-agent") as refused:
        Journal(path)
    assert refused.value.exit_code == 19


def test_a_full_disk_is_transient_and_the_journal_goes_on_when_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = Journal(path)
    journal.record("train:a", ModelReady(bytes(32)))
    pages = journal._database.execute("PRAGMA page_count").fetchone()[0]
    journal._database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Transient, match=r"journal\.sqlite.*full; free disk space") as full:
        journal.record("terms:b", TermsReady("t" * 50_000))
    assert full.value.part == "disk"
    assert list(journal.outcomes()) == ["train:a"]
    journal._database.execute("PRAGMA max_page_count = 100000")
    journal.record("terms:b", TermsReady("t" * 50_000))
    journal.close()
    again = Journal(path)
    assert list(again.outcomes()) == ["train:a", "terms:b"]
    again.close()


def test_a_damaged_file_is_refused_with_what_will_be_done_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_bytes(b"no database at all, but long enough to be taken for one" * 100)
    before = path.read_bytes()
    with pytest.raises(Fatal, match="damaged.*moves it aside") as refused:
        Journal(path)
    assert refused.value.exit_code == 1, "a supervisor starts it again"
    assert path.read_bytes() == before


def test_a_folder_that_takes_no_file_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").mkdir()
    with pytest.raises(Transient, match="check permissions"):
        Journal(tmp_path / "journal.sqlite")
