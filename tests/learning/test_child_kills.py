"""The learning child alone, with torch, killed before and after each of its steps: the same model, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents.effects.compute import ChildLearner
from agents.effects.ports import Transient
from bfl_events import boundaries
from bfl_events.boundaries import Boundary, Failpoints

STEPS = (Boundary.CHILD_CHECKPOINT, Boundary.CHILD_MODEL, Boundary.CHILD_FORGET)
FAILPOINTS = [f"{step}.{side}" for step in STEPS for side in ("before", "after")]


async def test_a_child_killed_at_each_of_its_steps_comes_to_the_same_model(
    request_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each death is of another failpoint, and the next child goes on where the last one was."""
    base, out, checkpoints = tmp_path / "base", tmp_path / "out", tmp_path / "checkpoints"
    for folder in (out, checkpoints):
        folder.mkdir()
    train = {"base": str(base), "seed": 5, "checkpoint_dir": str(checkpoints)}
    learner = ChildLearner(request_of(), tmp_path / "work")
    try:
        await learner.request("genesis", {"seed": 1, "out": str(base)})
        undisturbed = await learner.request("train", {**train, "out": str(tmp_path / "undisturbed")})
        await learner.restart()
        monkeypatch.setattr(boundaries, "_armed", Failpoints(",".join(FAILPOINTS)))
        deaths = []
        while len(deaths) < len(FAILPOINTS):
            with pytest.raises(Transient, match="failpoint child") as death:
                await learner.request("train", {**train, "out": str(out / "model")})
            deaths.append(next(one for one in FAILPOINTS if one in str(death.value)))
        trained = await learner.request("train", {**train, "out": str(out / "model")})
    finally:
        await learner.aclose()
    assert deaths == FAILPOINTS
    assert trained["hash"] == undisturbed["hash"]
    assert [path.name for path in out.iterdir()] == ["model"]
    assert list(checkpoints.iterdir()) == []


async def test_what_a_killed_child_had_on_trial_is_dropped_by_the_next(
    request_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, work = tmp_path / "base", tmp_path / "work"
    learner = ChildLearner(request_of(), work)
    try:
        await learner.request("genesis", {"seed": 1, "out": str(base)})
        await learner.restart()
        monkeypatch.setattr(boundaries, "_armed", Failpoints(f"{Boundary.CHILD_MODEL}.after"))
        with pytest.raises(Transient, match=r"failpoint child\.model\.after"):
            await learner.request("dry_run", {"base": str(base)})
        assert list(work.glob(".bfl-trial-*/*")), "it died in the middle of a trial"
        assert (await learner.request("describe", {}))["parameters"] > 0
    finally:
        await learner.aclose()
    assert list(work.glob(".bfl-trial-*")) == []
