"""What a cleared round lets go of: every model of it, and all that was put into the store or was about to be."""

from __future__ import annotations

from agents.core.admission import terms_of
from agents.core.intents import (
    SEALED,
    ClearRound,
    ModelReady,
    Outcome,
    PublishCopy,
    Published,
    PublishModel,
    TermsReady,
    TrainModel,
)
from agents.core.specification import Specification
from agents.core.state import Memory, Now, World
from agents.core.worker import decide
from tests.core import tasks

TASK, OTHER, PEER = ("0x" + pair * 20 for pair in ("aa", "bb", "cc"))


def published(number: int) -> Published:
    return Published(bytes([number]) * 36, 100)


def test_a_round_is_cleared_of_models_copies_and_envelopes_that_were_only_sealed() -> None:
    model = PublishModel(TASK, 2, 3, b"m" * 32, ((PEER, b"key"),))
    copy = PublishCopy(TASK, 2, 3, b"m" * 32, ((PEER, b"key" * 6),))
    outcomes: dict[str, Outcome] = {
        model.key: published(1), SEALED + model.key: published(2), copy.key: published(3),
        SEALED + copy.key: published(4),
        PublishModel(TASK, 3, 4, b"m" * 32, ()).key: published(5),          # another round's
        PublishCopy(TASK, 22, 2, b"m" * 32, ()).key: published(6),
        PublishModel(OTHER, 2, 3, b"m" * 32, ()).key: published(7),         # another task's
        f"train:{TASK}:2:00": ModelReady(b"m" * 32),
    }
    assert Memory(outcomes).envelopes(TASK, 2) == {published(number).cid for number in (1, 2, 3, 4)}


def test_a_model_that_was_trained_and_never_opened_goes_with_its_round() -> None:
    """Its attempt was void, or another base was agreed on: no event names it, and nobody will."""
    rounds = tuple(tasks.attempt(n, n, {0: tasks.digest("opened", n)}, accepted=()) for n in range(1, 5))
    state = tasks.task(round=5, attempt=5, attempts=(*rounds, tasks.attempt(5, 5, {}, roster=0b111)))
    genesis, unopened = state.params.model_hash, tasks.digest("never opened")
    outcomes: dict[str, Outcome] = {
        terms_of(state).key: TermsReady(Specification("digits", 10).encode().decode()),
        TrainModel(state.address, 1, genesis).key: ModelReady(unopened),
    }
    memory = Memory(outcomes, frozenset({genesis, unopened}))
    wanted = decide(World({state.address: state}), memory, tasks.me(0), Now(tasks.BEGAN + 20, 99))
    (clear,) = (intent for intent in wanted if isinstance(intent, ClearRound))
    assert (clear.round, set(clear.models)) == (1, {tasks.digest("opened", 1), unopened})
