"""The log: what goes in comes out, rewinds forget exactly what follows, and files of others are left alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from bfl_events.boundaries import Boundary
from bfl_events.codec import checksummed
from bfl_events.lineage import Ref
from bfl_events.log import EventLog, Identity, LogDamaged, LogError, LogTooNew, OtherLog
from bfl_events.schema import Burned, Record, TaskCreated, Wei
from tests.events.event_strategies import events

FACTORY = checksummed(b"\xfa" * 20)
TASK, OTHER = checksummed(b"\x01" * 20), checksummed(b"\x02" * 20)
IDENTITY = Identity(31337, FACTORY, 0)


def block_hash(number: int, fork: int = 0) -> bytes:
    return fork.to_bytes(1, "big") * 24 + number.to_bytes(8, "big")


def record(block: int, index: int = 0, event: Any = None, emitter: str = TASK, fork: int = 0) -> Record:
    return Record(block, block_hash(block, fork), 1000 + block, index, b"t" * 32, emitter, event or Burned(Wei(block)))


def ref(number: int, fork: int = 0) -> Ref:
    return Ref(number, block_hash(number, fork))


@pytest.fixture
def log(tmp_path: Path) -> Any:
    with EventLog(tmp_path / "events.sqlite", IDENTITY) as opened:
        yield opened


def test_an_empty_log_has_no_cursor(log: EventLog) -> None:
    assert (log.cursor(), log.refs(), list(log.records()), log.deployment) == (None, [], [], None)


@given(st.lists(events, max_size=12))
@settings(max_examples=40)
def test_every_record_comes_back_as_it_was(some: list[Any]) -> None:
    wanted = [record(n // 3, n % 3, event) for n, event in enumerate(some)]
    with EventLog(":memory:", IDENTITY) as log:
        log.append(wanted, ref(100))
        assert list(log.records()) == wanted


def test_a_log_opened_again_holds_the_same(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    with EventLog(path, IDENTITY) as log:
        log.anchor(ref(0))
        log.append([record(1), record(2)], ref(5))
    for again in (EventLog(path, IDENTITY), EventLog(path)):
        with again:
            assert list(again.records()) == [record(1), record(2)]
            assert again.cursor() == ref(5)
            assert again.identity == IDENTITY
            assert again.deployment == ref(0)


def test_records_of_one_task_come_with_its_creation_and_without_the_others(log: EventLog) -> None:
    creation = record(1, 0, TaskCreated(TASK, OTHER, b"n" * 32), FACTORY)
    mine, theirs = record(2), record(2, 1, emitter=OTHER)
    log.append([creation, mine, theirs], ref(2))
    assert list(log.records(TASK)) == [creation, mine]
    assert list(log.records(TASK, after=(1, 0))) == [mine]
    assert list(log.records(after=(2, 0))) == [theirs]
    assert list(log.creations()) == [creation]


def test_a_record_out_of_place_changes_nothing(log: EventLog) -> None:
    log.append([record(3)], ref(5))
    wrong: list[tuple[Sequence[Record], Ref]] = [
        ([record(5)], ref(6)), ([record(7)], ref(6)), ([record(6), record(6)], ref(6)), ([], ref(5)), ([], ref(4)),
        ([record(7), record(6)], ref(8)), ([record(6, fork=9)], ref(6)),
    ]
    for records, end in wrong:
        with pytest.raises(ValueError, match="block"):
            log.append(records, end)
        assert (list(log.records()), log.cursor()) == ([record(3)], ref(5))


histories = st.lists(st.lists(st.integers(1, 4), max_size=4), min_size=1, max_size=30)


@given(histories, st.data())
@settings(max_examples=60)
def test_a_rewind_leaves_what_a_log_that_never_went_on_holds(history: list[list[int]], data: st.DataObject) -> None:
    with EventLog(":memory:", IDENTITY) as log:
        states, end = [], 0
        for sizes in history:
            records = [record(end + n + 1, i) for n, size in enumerate(sizes) for i in range(size)]
            end += len(sizes) + 1
            log.append(records, ref(end))
            states.append((end, list(log.records())))
        to, kept = data.draw(st.sampled_from(states))
        log.rewind(to)
        assert (list(log.records()), log.cursor()) == (kept, ref(to))
        log.append([record(to + 1, fork=7)], ref(to + 1, 7))
        assert list(log.records()) == [*kept, record(to + 1, fork=7)]


def test_a_rewind_may_go_to_any_block_that_holds_an_event_and_to_nothing(log: EventLog) -> None:
    log.anchor(ref(0))
    log.append([record(3), record(4)], ref(1000))
    for number in range(1001, 1400):
        log.append([], ref(number))
    log.rewind(3)
    assert (list(log.records()), log.cursor()) == ([record(3)], ref(3))
    with pytest.raises(ValueError, match="block 2 is not known"):
        log.rewind(2)
    assert log.cursor() == ref(3)
    log.rewind(None)
    assert (list(log.records()), log.cursor(), log.deployment) == ([], None, None)


def test_known_blocks_are_the_last_few_and_those_with_events(log: EventLog) -> None:
    log.append([record(5)], ref(10))
    for number in range(11, 600):
        log.append([], ref(number))
    known = [one.number for one in log.refs()]
    assert known == sorted(known)
    assert known[0] == 5
    assert known[1] == 600 - 256


def test_reading_goes_on_while_another_writes(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    with EventLog(path, IDENTITY) as writer, EventLog(path) as reader:
        writer.append([record(1)], ref(1))
        with reader.snapshot():
            before = reader.cursor()
            writer.append([record(2)], ref(2))
            assert (reader.cursor(), list(reader.records())) == (before, [record(1)])
        assert list(reader.records()) == [record(1), record(2)]


@pytest.mark.parametrize(("other", "words"), [
    (replace(IDENTITY, chain_id=1), "chain id 31337, not 1"), (replace(IDENTITY, factory=TASK), "factory"),
    (replace(IDENTITY, follow="one task"), "follow every task, not one task"),
    (replace(IDENTITY, start_block=5), "start"),
])
def test_the_log_of_something_else_is_refused_with_what_to_do(tmp_path: Path, other: Identity, words: str) -> None:
    path = tmp_path / "events.sqlite"
    EventLog(path, IDENTITY).close()
    with pytest.raises(OtherLog, match=f"{words}.*remove this one"):
        EventLog(path, other)


def test_a_log_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    EventLog(path, IDENTITY).close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    for identity in (IDENTITY, None):
        with pytest.raises(LogTooNew, match="format 99"):
            EventLog(path, identity)


def test_another_programs_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "photos.sqlite"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE photo (name TEXT)")
    database.commit()
    database.close()
    content = path.read_bytes()
    with pytest.raises(LogError, match="no event log"):
        EventLog(path, IDENTITY)
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"not a database at all" * 50, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_explained(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "events.sqlite"
    path.write_bytes(content)
    with pytest.raises(LogDamaged, match="Remove it: it is read anew"):
        EventLog(path, IDENTITY)


def test_a_damaged_row_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    with EventLog(path, IDENTITY) as log:
        log.append([record(1)], ref(1))
    database = sqlite3.connect(path)
    database.execute("UPDATE event SET fields = '{}'")
    database.commit()
    database.close()
    with EventLog(path, IDENTITY) as log, pytest.raises(LogError, match="damaged"):
        list(log.records())


def test_a_missing_log_is_not_created_by_reading(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="no event log at"):
        EventLog(tmp_path / "none.sqlite")
    assert not list(tmp_path.iterdir())


def test_a_directory_that_does_not_exist_is_explained(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="cannot be opened"):
        EventLog(tmp_path / "nowhere" / "events.sqlite", IDENTITY)


def test_a_full_disk_is_explained_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    with EventLog(path, IDENTITY) as log:
        log.append([record(1)], ref(1))
        log._file._db.execute("PRAGMA max_page_count = 12")
        with pytest.raises(LogError, match="disk is full"):
            log.append([record(2, index) for index in range(1000)], ref(2))
        assert (list(log.records()), log.cursor()) == ([record(1)], ref(1))
        log._file._db.execute("PRAGMA max_page_count = 1000000")
        log.append([record(2)], ref(2))
    with EventLog(path) as log:
        assert list(log.records()) == [record(1), record(2)]


def test_a_second_writer_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    with EventLog(path, IDENTITY) as log, EventLog(path, IDENTITY) as other:
        other._file._db.execute("PRAGMA busy_timeout = 0")
        writing = log._file.transaction(Boundary.LOG_APPEND, durable=True)
        with writing, pytest.raises(LogError, match="Another process writes"):
            other.append([record(1)], ref(1))
