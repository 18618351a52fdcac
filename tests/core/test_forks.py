"""What was worked out on one fork is used on another only where it is true there as well."""

from __future__ import annotations

from dataclasses import replace

from agents.core.intents import CommitScores, Intent, ModelReady, RowReady, ScoreModels, TermsReady
from agents.core.specification import Specification
from agents.core.state import Memory, Now, World
from agents.core.worker import decide
from bfl_events.bitmap import bitmap_of
from bfl_events.rules import pack_row
from bfl_events.schema import Phase
from bfl_events.state import TaskState
from tests.core.tasks import BEGAN, PARAMS, account, attempt, digest, me, member, task
from tests.simulation.learner import SPECIFICATION

MODELS = {index: digest("model", index) for index in range(3)}


def scoring(seats: tuple[int, ...] = (0, 1, 2), opened: tuple[int, ...] = (0, 1, 2), count: int = 3) -> TaskState:
    """Phase Score of round 1. `seats[i]` is the index at which account `i` sits; its model is always the same."""
    models = {seats[who]: MODELS[who] for who in opened}
    members = {seats[who]: replace(member(who), index=seats[who]) for who in range(3)}
    current = attempt(1, 1, dict(sorted(models.items())), start=PARAMS.model_hash, roster=0b111, lanes=2 + count,
                      seed=b"\7" * 32)
    return task(
        phase=Phase.SCORE, attempts=(current,), members=tuple(members[index] for index in range(3)),
        seats={account(who): seats[who] for who in range(3)}, committed=0b111, opened=bitmap_of(models),
        count=count, lanes=2 + count,
    )


def wants(state: TaskState, memory: Memory) -> list[Intent]:
    wanted = decide(World({state.address: state}), memory, me(0), Now(BEGAN + 500.0, 200))
    return [intent for intent in wanted if isinstance(intent, CommitScores | ScoreModels)]


def memory(rows: dict[str, RowReady] | None = None) -> Memory:
    document = Specification.encode(SPECIFICATION).decode()
    start = task()
    from agents.core.admission import terms_of
    known = {terms_of(start).key: TermsReady(document)}
    known |= {f"train:{start.address}:1:{PARAMS.model_hash.hex()}": ModelReady(MODELS[0])}
    return Memory({**known, **(rows or {})}, {PARAMS.model_hash, *MODELS.values()})


def scored(state: TaskState) -> tuple[ScoreModels, Memory]:
    """The judging that is due, and a memory in which it is done."""
    (judging,) = wants(state, memory())
    assert isinstance(judging, ScoreModels)
    row = RowReady(pack_row([9000] * (2 + len(state.current.opened))))
    return judging, memory({judging.key: row})


def test_a_row_that_is_true_here_is_committed() -> None:
    _, remembered = scored(scoring())
    assert [type(one) for one in wants(scoring(), remembered)] == [CommitScores]


def test_a_row_from_a_fork_that_dealt_the_seats_otherwise_is_not_committed() -> None:
    """Its lanes are other workers', its own among them: it could not even be revealed."""
    first, remembered = scored(scoring())
    again = wants(scoring(seats=(1, 0, 2)), remembered)
    assert [type(one) for one in again] == [ScoreModels]
    assert again[0].key != first.key


def test_a_row_from_a_fork_on_which_fewer_had_opened_is_not_committed() -> None:
    """The lane of a model that it never saw holds 0: that is what invalid models get."""
    _, remembered = scored(scoring(opened=(0, 1)))
    assert [type(one) for one in wants(scoring(), remembered)] == [ScoreModels]


def test_a_row_of_another_length_is_not_committed() -> None:
    _, remembered = scored(scoring())
    assert [type(one) for one in wants(scoring(count=20), remembered)] == [ScoreModels]


def test_a_model_that_could_not_be_had_does_not_make_the_row_another_forks() -> None:
    judging, _ = scored(scoring())
    parts = judging.key.split(":")
    key = ":".join([*parts[:-1], parts[-1].partition("-")[0] + "-none"])
    remembered = memory({key: RowReady(pack_row([9000, 9000, 0, 9000, 0]))})
    assert [type(one) for one in wants(scoring(), remembered)] == [CommitScores]
