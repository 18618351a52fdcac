"""Which envelopes a cleared round lets go of: all that this agent put into the store for it, and was about to put."""

from __future__ import annotations

from agents.core.intents import SEALED, ModelReady, Outcome, PublishCopy, Published, PublishModel
from agents.core.state import Memory

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
