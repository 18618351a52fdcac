"""The seal of an export: any change of a line, and any line lost, repeated or moved, is found and named."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from bfl_events.archive import open_archive
from bfl_events.export import (
    ExportDamaged,
    ExportHeader,
    read_export,
    read_header,
    read_lines,
    write_export,
    write_records,
)
from bfl_events.lineage import Ref
from bfl_events.log import EventLog, Identity, LogError
from bfl_events.schema import Record
from tests.events.logs import honest_log
from tests.simulation.play import FACTORY

RECORDS = honest_log()
END = Ref(RECORDS[-1].block + 3, b"e" * 32)
HEADER = ExportHeader(31337, FACTORY, "every task", Ref(0, b"s" * 32), END)


def exported(records: Sequence[Record] = RECORDS, header: ExportHeader = HEADER) -> bytes:
    out = io.BytesIO()
    assert write_records(records, out, header) == len(records)
    return out.getvalue()


GOOD = exported()
LINES = GOOD.splitlines(keepends=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def damage(path: Path, content: bytes) -> ExportDamaged:
    path.write_bytes(content)
    with pytest.raises(ExportDamaged) as caught:
        list(read_export(path))
    return caught.value


def test_an_export_comes_back_as_the_records(path: Path) -> None:
    path.write_bytes(GOOD)
    assert tuple(read_export(path)) == RECORDS
    assert read_header(path) == HEADER
    assert [line for line, _ in read_lines(path)] == list(range(2, len(RECORDS) + 2))


def test_an_export_of_nothing_is_an_export(path: Path) -> None:
    path.write_bytes(exported([]))
    assert list(read_export(path)) == []


def test_every_line_is_plain_json_and_its_chain_can_be_computed_by_anybody() -> None:
    chain = bytes(32)
    for line in LINES:
        document = json.loads(line)
        claimed = document.pop("chain")
        body = json.dumps(document, separators=(",", ":")).encode()
        chain = sha256(chain + body).digest()
        assert claimed == chain.hex()
    assert json.loads(LINES[-1])["count"] == len(RECORDS)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_changed_byte_is_found_in_its_line(path: Path, place: int, change: int) -> None:
    content = bytearray(GOOD)
    content[place] ^= change
    line = GOOD.count(b"\n", 0, place) + 1
    assert damage(path, bytes(content)).line in (line, line + 1), "a newline belongs to two lines"


def test_a_changed_value_with_a_line_sealed_anew_is_found_in_the_next_line(path: Path) -> None:
    for number in range(1, len(LINES) - 1, 7):
        document = json.loads(LINES[number])
        document.pop("chain")
        document["time"] += 1
        body = json.dumps(document, separators=(",", ":")).encode()
        previous = bytes.fromhex(json.loads(LINES[number - 1])["chain"])
        sealed = body[:-1] + b',"chain":"' + sha256(previous + body).hexdigest().encode() + b'"}\n'
        assert damage(path, b"".join([*LINES[:number], sealed, *LINES[number + 1:]])).line in (number + 1, number + 2)


EDITS: dict[str, Callable[[list[bytes], int], list[bytes]]] = {
    "removed": lambda lines, n: lines[:n] + lines[n + 1:],
    "repeated": lambda lines, n: lines[:n + 1] + lines[n:],
    "moved": lambda lines, n: [*lines[:n], lines[n + 1], lines[n], *lines[n + 2:]],
    "emptied": lambda lines, n: [*lines[:n], b"\n", *lines[n + 1:]],
    "indented": lambda lines, n: [*lines[:n], b" " + lines[n], *lines[n + 1:]],
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_line_that_was_touched_is_named(path: Path, edit: str) -> None:
    for number in range(1, len(LINES) - 2, 5):
        named = damage(path, b"".join(EDITS[edit](LINES, number))).line
        assert named == number + (2 if edit == "repeated" else 1)


@pytest.mark.parametrize("keep", [0, 1, 2, 10, len(LINES) - 1])
def test_a_file_cut_between_lines_is_found(path: Path, keep: int) -> None:
    found = damage(path, b"".join(LINES[:keep]))
    assert found.line == keep + 1
    assert ("cut" in found.why) or keep == 0


@given(st.integers(0, len(GOOD) - 1))
@example(len(GOOD) - 1)
@example(len(GOOD) - 2)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_file_cut_anywhere_is_found(path: Path, size: int) -> None:
    assert damage(path, GOOD[:size]).line == GOOD.count(b"\n", 0, size) + 1


numbers = st.integers(0, len(LINES) - 1)


@given(st.permutations(range(len(LINES))))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_lines_in_any_other_order_are_found_at_the_first_that_moved(path: Path, order: list[int]) -> None:
    moved = next((place for place, number in enumerate(order) if place != number), None)
    if moved is not None:
        assert damage(path, b"".join(LINES[number] for number in order)).line == moved + 1


@given(numbers, numbers)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_two_lines_that_changed_places_are_found(path: Path, a: int, b: int) -> None:
    lines = list(LINES)
    lines[a], lines[b] = lines[b], lines[a]
    if a != b:
        assert damage(path, b"".join(lines)).line == min(a, b) + 1


@given(numbers, st.integers(1, len(LINES)))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_stretch_of_lines_that_is_missing_is_found(path: Path, first: int, count: int) -> None:
    assert damage(path, b"".join([*LINES[:first], *LINES[first + count:]])).line == first + 1


@given(numbers, numbers)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_line_that_was_put_in_again_is_found(path: Path, line: int, place: int) -> None:
    found = damage(path, b"".join([*LINES[:place], LINES[line], *LINES[place:]])).line
    assert found == place + (2 if line == place else 1)


@given(st.one_of(st.binary(min_size=1, max_size=50), st.sampled_from(LINES), st.just(b"\n"), st.just(GOOD)))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_follows_the_trailer_is_found(path: Path, more: bytes) -> None:
    found = damage(path, GOOD + more)
    assert found.line == len(LINES) + 1
    assert "after the trailer" in found.why


@pytest.mark.parametrize(("content", "why"), [
    (GOOD.replace(b"\n", b"\r\n"), "line ends"), (b"\xef\xbb\xbf" + GOOD, "byte order mark"),
    (gzip.compress(GOOD), "unpack it first"), (GOOD.decode().encode("utf-16"), "no line of an export"),
])
def test_a_file_that_was_converted_on_its_way_is_told_apart(path: Path, content: bytes, why: str) -> None:
    found = damage(path, content)
    assert found.line == 1
    assert why in found.why


def test_a_line_without_end_does_not_fill_the_memory(path: Path) -> None:
    assert "longer than" in damage(path, LINES[0] + b"x" * (3 << 20)).why


def test_records_in_the_wrong_place_are_found_even_if_sealed(path: Path) -> None:
    first, second = RECORDS[0], RECORDS[5]
    assert "does not come after" in damage(path, exported([second, first])).why
    assert "outside the exported blocks" in damage(path, exported(header=ExportHeader(
        31337, FACTORY, "every task", Ref(0, b"s" * 32), Ref(1, b"e" * 32)))).why


HEADERS: list[tuple[dict[str, Any], str]] = [
    ({"format": "photos"}, "no export"), ({"version": 2}, "version 2"), ({"chain_id": "1"}, "no number"),
    ({"factory": "0x12"}, "address"), ({"more": 1}, "a header has"),
]


@pytest.mark.parametrize(("change", "why"), HEADERS)
def test_a_header_that_is_none_is_refused(path: Path, change: dict[str, Any], why: str) -> None:
    document = {**json.loads(LINES[0]), **change}
    document.pop("chain")
    body = json.dumps(document, separators=(",", ":")).encode()
    found = damage(path, body[:-1] + b',"chain":"' + sha256(bytes(32) + body).hexdigest().encode() + b'"}\n')
    assert found.line == 1
    assert why in found.why


@pytest.mark.parametrize("content", [b"", b"\n", b"hello\n", b"\x00" * 1000, b"[]\n", b"{}\n", b"[" * 5000])
def test_a_file_of_something_else_is_refused(path: Path, content: bytes) -> None:
    assert damage(path, content).line == 1


def test_a_broken_seal_can_be_looked_past(path: Path) -> None:
    lines = list(LINES)
    lines[4] = lines[4].replace(b'"time":', b'"time":1')
    path.write_bytes(b"".join(lines[:-1]))
    assert len(list(read_lines(path, sealed=False))) == len(RECORDS)


def filled(path: Path) -> EventLog:
    log = EventLog(path, Identity(31337, FACTORY, 0))
    log.anchor(Ref(0, b"s" * 32))
    log.append(RECORDS, END)
    return log


def test_a_log_is_exported_whole_and_two_exports_are_the_same_bytes(tmp_path: Path, path: Path) -> None:
    with filled(tmp_path / "events.sqlite") as log:
        assert write_export(path, log) == len(RECORDS)
    assert path.read_bytes() == GOOD
    assert [file.name for file in tmp_path.iterdir() if "part" in file.name] == []


def test_an_export_that_fails_leaves_the_old_file(tmp_path: Path, path: Path) -> None:
    path.write_bytes(b"old")
    empty = EventLog(tmp_path / "events.sqlite", Identity(31337, FACTORY, 0))
    with empty as log, pytest.raises(LogError, match="nothing"):
        write_export(path, log)
    assert path.read_bytes() == b"old"
    assert sorted(file.name for file in tmp_path.iterdir() if "jsonl" in file.name) == ["events.jsonl"]


def test_a_log_and_its_export_are_the_same_archive(tmp_path: Path, path: Path) -> None:
    with filled(tmp_path / "events.sqlite") as log:
        write_export(path, log)
    a, b = open_archive(path), open_archive(tmp_path / "events.sqlite")
    assert (a.header, a.is_export, b.is_export) == (b.header, True, False)
    assert [record for _, record in a.records()] == [record for _, record in b.records()]
