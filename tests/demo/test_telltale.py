"""Reading agents' logs: while they grow, when they rotate, and what they say about time."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from agents.core import intents
from agents.demo.telltale import ACCOUNTS, DOING, KINDS, LogTail, Span, accounts, covered, doing, read_log, spans

MOMENT = datetime(2026, 11, 20, 10, 15, 42, tzinfo=UTC)


def line(event: str, second: float = 0.0, **fields: Any) -> dict[str, Any]:
    at = datetime.fromtimestamp(MOMENT.timestamp() + second, UTC).isoformat(timespec="milliseconds")
    return {"ts": at.replace("+00:00", "Z"), "level": "info", "event": event, **fields}


def write(path: Path, *lines: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(one) + "\n" for one in lines)


def test_a_tail_gives_each_line_once_and_waits_for_the_end_of_the_last(tmp_path: Path) -> None:
    path = tmp_path / "agent.log"
    tail = LogTail(path)
    assert tail.read() == []
    write(path, line("agent.started"))
    assert [one["event"] for one in tail.read()] == ["agent.started"]
    with path.open("a") as file:
        file.write('{"ts": "2026-11-20T10:15:42Z", "eve')
    assert tail.read() == []
    with path.open("a") as file:
        file.write('nt": "train.started"}\n')
    assert [one["event"] for one in tail.read()] == ["train.started"]
    assert tail.read() == []


def test_a_rotated_log_is_followed_from_its_new_beginning(tmp_path: Path) -> None:
    path = tmp_path / "agent.log"
    tail = LogTail(path)
    write(path, line("first"))
    tail.read()
    path.rename(tmp_path / "agent.log.1")
    write(path, line("second"))
    assert [one["event"] for one in tail.read()] == ["second"]
    assert [one["event"] for one in read_log(path)] == ["first", "second"]


def test_a_line_that_a_kill_cut_short_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "agent.log"
    path.write_text('{"ts": "2026-11-20T10:15:42Z", "event": "tx.s\n[]\n')
    write(path, line("agent.started"))
    assert [one["event"] for one in read_log(path)] == ["agent.started"]


def test_every_intent_has_words_for_people() -> None:
    names = {name for name, kind in vars(intents).items() if isinstance(kind, type) and hasattr(kind, "key")}
    assert names - set(DOING) <= {"ClearRound", "LeaveTask", "Halt"}
    assert set(DOING) | set(KINDS) <= names


def test_what_an_agent_does_is_said_in_words() -> None:
    assert doing(line("train.started", intent="TrainModel")) == "training"
    assert doing(line("train.epoch.completed", epoch=1, of=2)) == "training, epoch 1 of 2"
    assert doing(line("intent.started", intent="SubmitScore")) == "revealing its scores"
    assert doing(line("train.completed", intent="TrainModel", duration_s=1.0)) == "waiting"
    assert doing(line("intent.retried", intent="FetchModel", error="no answer")) == "trying again: no answer"
    assert doing(line("ledger.withdrawn")) is None


def test_a_rounds_seconds_add_up() -> None:
    lines = [
        line("train.completed", 4, intent="TrainModel", duration_s=4.0),
        line("round.model.fetched", 6, intent="FetchModel", duration_s=1.5),
        line("round.model.fetched", 6.5, intent="FetchModel", duration_s=1.5),
        line("intent.finished", 7, intent="CommitModel", duration_s=0.25),
        line("intent.retried", 8, intent="CommitModel"),
    ]
    began = MOMENT.timestamp() + 1
    found = accounts(spans(lines), began, began + 9)
    assert found == pytest.approx({"train": 3.0, "score": 0.0, "exchange": 2.0, "chain": 0.25, "wait": 3.75})


moments = st.integers(0, 50)
a_span = st.builds(lambda kind, at, length: Span(kind, at, at + length), st.sampled_from(ACCOUNTS), moments, moments)
some_spans = st.lists(a_span)


@given(some_spans, moments, moments)
def test_no_second_is_lost_or_counted_for_two_unless_two_things_ran(done: list[Span], began: int, length: int) -> None:
    found = accounts(done, began, began + length)
    busy = length - found["wait"]
    parts = [found[name] for name in ACCOUNTS]
    assert max(parts) - 1e-9 <= busy <= sum(parts) + 1e-9
    assert busy == sum(any(one.began <= at < one.ended for one in done) for at in range(began, began + length))


@given(some_spans)
def test_the_order_of_spans_does_not_matter(done: list[Span]) -> None:
    assert covered(done) == covered(reversed(done))
