"""What could not be reached is named for what it is, with the exit code that scripts know it by."""

from __future__ import annotations

import pytest

from agents.cli.exits import Exit
from agents.cli.failures import translate
from agents.effects.ports import Transient


@pytest.mark.parametrize(
    ("part", "what", "exit"),
    [
        ("", "The chain could not be used.", Exit.NO_RPC),
        ("disk", "The disk could not be used.", Exit.CONFIGURATION),
        ("store", "The blob store failed.", Exit.STORE),
    ],
)
def test_what_may_pass_is_told_apart_by_its_part(part: str, what: str, exit: Exit) -> None:
    failure = translate(Transient("it refused", part=part))
    assert failure is not None
    assert (failure.what, failure.exit) == (what, exit)
    assert "it refused" in failure.why
