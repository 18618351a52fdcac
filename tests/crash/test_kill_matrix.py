"""Kill an agent right before and right after its durable steps: same model, same money, nothing left behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.crash.company import Company
from tests.crash.play import play
from tests.crash.stage import staged
from tests.crash.verdict import Outcome, faults, outcome

pytestmark = pytest.mark.timeout(600)


def run(directory: Path, arms: Mapping[str, Sequence[str]]) -> Outcome:
    """One task with these failpoints, everything checked that must hold for any run; what it came to."""
    with staged(directory) as stage:
        with Company(stage) as company:
            play(stage, company, arms)
            left = {member.name: member.armed for member in company.members.values() if member.armed}
        assert not left, "these failpoints were never passed"
        assert faults(stage) == []
        return outcome(stage)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return run(tmp_path_factory.mktemp("undisturbed") / "run", {})


def test_a_worker_that_is_killed_changes_neither_model_nor_money(undisturbed: Outcome, tmp_path: Path) -> None:
    assert run(tmp_path / "run", {"worker-1": ["journal.record.before", "tx.send.after"]}) == undisturbed
