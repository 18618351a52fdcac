"""V6's comparison set: what a worker may not have copied (PROTOCOL 3.4)."""

from __future__ import annotations

from agents.core.novelty import compared_with
from bfl_events.state import RevealedRow
from tests.core.tasks import at, attempt, digest, task

HELD = {digest(r, i, a) for r in range(1, 6) for i in range(3) for a in range(1, 7)}


def models(round: int, number: int) -> dict[int, bytes]:
    return {i: digest(round, i, number) for i in range(3)}


def test_only_earlier_commitments_of_the_same_attempt_count() -> None:
    now = attempt(1, 1, models(1, 1))
    state = task(attempts=(now,))
    assert compared_with(state, now, 0, HELD) == ()
    assert set(compared_with(state, now, 2, HELD)) == {digest(1, 0, 1), digest(1, 1, 1)}


def test_models_of_others_count_for_two_rounds_and_own_ones_for_ever() -> None:
    past = tuple(attempt(r, r, models(r, r)) for r in range(1, 5))
    now = attempt(5, 5, models(5, 5))
    found = set(compared_with(task(attempts=(*past, now)), now, 0, HELD))
    assert found == {digest(r, 0, r) for r in (1, 2, 3, 4)} | {digest(r, i, r) for r in (3, 4) for i in (1, 2)}


def test_the_own_model_of_a_void_attempt_may_come_again_unless_a_row_was_revealed() -> None:
    void, now = attempt(1, 1, models(1, 1)), attempt(1, 2, {0: digest(1, 0, 1)})
    assert digest(1, 0, 1) not in compared_with(task(attempts=(void, now)), now, 0, HELD)
    read = attempt(1, 1, models(1, 1), revealed={1: RevealedRow((), b"", at(180))})
    assert digest(1, 0, 1) in compared_with(task(attempts=(read, now)), now, 0, HELD)


def test_models_that_this_scorer_lacks_are_left_out() -> None:
    now = attempt(1, 1, models(1, 1))
    assert compared_with(task(attempts=(now,)), now, 2, {digest(1, 1, 1)}) == (digest(1, 1, 1),)
