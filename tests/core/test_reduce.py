"""The world from its logs: what is missing from them is noticed, and at the latest when it would matter."""

from __future__ import annotations

from random import Random

import pytest

from agents.core.reduce import fold
from agents.core.state import World
from bfl_events import schema as ev
from bfl_events.fold import FoldError
from bfl_events.schema import Phase, Record
from tests.simulation.play import STRANGER, Call, Game, Wait, random_game

UNNOTICED = {"WorkerPenalized", "WorkerLeaving", "KeyRotated", "Notice", "Refunded", "Burned", "Withdrawn",
             "FinalAttested", "FinalModelAccepted", "FinalForfeits", "TaskEnded", "TaskStarted"}
"""What nothing later depends on: of these a fold cannot know, only another endpoint or the block's bloom can."""


def honest_log() -> tuple[Record, ...]:
    game = Game.create(Random(3))
    game.play_honestly(3)
    return tuple(game.model.chain.records)


def without(records: tuple[Record, ...], gone: int) -> tuple[Record, ...]:
    return (*records[:gone], *records[gone + 1:])


def test_the_whole_log_is_believed() -> None:
    assert fold(World(), honest_log()).tasks


@pytest.mark.parametrize("kind", [ev.ModelCommitted, ev.ModelSubmitted, ev.ScoresCommitted, ev.ScoresSubmitted])
def test_an_act_that_is_missing_is_noticed_before_its_phase_is_over(kind: type) -> None:
    records = honest_log()
    places = [n for n, record in enumerate(records) if isinstance(record.event, kind)]
    assert places
    for gone in places:
        with pytest.raises(FoldError) as noticed:
            fold(World(), without(records, gone))
        end = next(n for n, record in enumerate(records) if n > gone and isinstance(record.event, ev.PhaseChanged))
        assert records.index(noticed.value.record) <= end


def test_every_missing_log_that_something_later_depends_on_is_noticed() -> None:
    records = honest_log()
    unnoticed = set()
    for gone, record in enumerate(records):
        if isinstance(record.event, ev.TaskCreated):
            continue      # without it nobody asks for the task's logs
        try:
            fold(World(), without(records, gone))
        except FoldError:
            continue
        unnoticed.add(type(record.event).__name__)
    assert unnoticed <= UNNOTICED


def test_a_phase_that_ended_by_its_deadline_waits_for_nobody() -> None:
    game = Game.create(Random(3))
    game.start(3)
    for call in list(game.phase_moves())[:2]:
        game.must(call)
    game.must(Wait(game.model.state.deadline + 1 - game.model.chain.time))
    game.must(Call("next_round", STRANGER))
    (task,) = fold(World(), game.model.chain.records).tasks.values()
    assert (task.phase, task.committed) == (Phase.OPEN, 0b011)


@pytest.mark.parametrize("seed", range(30))
def test_no_log_that_a_contract_wrote_is_found_wanting(seed: int) -> None:
    """Absences, leavers, liars, extensions, restarts: whatever happens in a game is possible."""
    records = random_game(seed).model.chain.records
    assert fold(World(), records).tasks
