"""The law that nobody commits to something else, held against logs that keep it and logs that break it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from bfl_events.schema import (
    Bitmap,
    Event,
    ModelCommitted,
    ModelSubmitted,
    Phase,
    PhaseChanged,
    Record,
    ScoresCommitted,
    Wei,
    WorkerJoined,
)
from tests.anvil import Anvil
from tests.system.chronicle import Chronicle, Fork

WORKER = "0x" + "11" * 20


def model(commitment: bytes, base: bytes = b"base") -> Event:
    return ModelCommitted(1, WORKER, 1, commitment, base)


def scores(commitment: bytes) -> Event:
    return ScoresCommitted(1, WORKER, 1, commitment)


def joined(index: int) -> Event:
    return WorkerJoined(WORKER, index, WORKER, Wei(1), 1, b"")


def opened() -> Event:
    return ModelSubmitted(1, WORKER, 1, b"model", bytes(32), 1, b"cid")


def scoring(seed: bytes) -> Event:
    return PhaseChanged(1, 1, Phase.SCORE, 100, seed, Bitmap(7))


def broken(*forks: Sequence[Event]) -> bool:
    """Whether the last of these forks breaks the law."""
    chronicle = Chronicle(cast("Anvil", None), "0xF", "0xT", 0)
    for events in forks:
        records = tuple(Record(place, bytes(32), place, 0, bytes(32), "0xT", event)
                        for place, event in enumerate(events))
        chronicle.forks.append(Fork((len(records), bytes(32)), records, ()))
    try:
        chronicle._nobody_committed_to_something_else(chronicle.forks[-1])
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize("forks", [
    [[model(b"a")]],
    [[model(b"a"), scoring(b"s"), scores(b"b")]],
    [[model(b"a")], [model(b"b", b"other")]],
    [[model(b"a")], [model(b"a"), model(b"b", b"other")]],
    [[scoring(b"s"), scores(b"a")], [scoring(b"t"), scores(b"a"), scores(b"b")]],
    [[joined(0), opened(), scoring(b"s")], [joined(1), opened(), scoring(b"s"), scores(b"a"), scores(b"b")]],
])
def test_one_commitment_and_a_second_for_what_a_fork_took_are_lawful(forks: list[list[Event]]) -> None:
    assert not broken(*forks)


@pytest.mark.parametrize("forks", [
    [[model(b"a"), model(b"b")]],
    [[model(b"a"), model(b"a")]],
    [[model(b"a"), model(b"b", b"other")]],
    [[model(b"a")], [model(b"a"), model(b"b")]],
    [[], [model(b"a"), model(b"b", b"other"), model(b"c", b"third")]],
    [[scoring(b"s"), scores(b"a"), scores(b"b")]],
    [[scoring(b"s"), scores(b"a")], [scoring(b"s"), scores(b"a"), scores(b"b")]],
    [[scoring(b"s")], [scoring(b"t"), scores(b"a"), scores(b"a")]],
    [[joined(0), opened(), scoring(b"s")], [joined(0), opened(), scoring(b"s"), scores(b"a"), scores(b"b")]],
])
def test_anything_else_is_a_contradiction(forks: list[list[Event]]) -> None:
    assert broken(*forks)
