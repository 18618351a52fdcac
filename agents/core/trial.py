"""Whether a dry run went well enough to bond for: PROTOCOL 7.7's limits that only a trial can tell. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from agents.core.specification import Specification
from bfl_events.rules import CONTROL_LANES
from bfl_events.schema import Params


@dataclass(frozen=True, slots=True)
class Trials:
    """What the dry run must show, named as in the settings' policy."""

    min_validation: int = 50
    dev_tol_to_noise: float = 1.0
    min_window_to_step: float = 3.0


@dataclass(frozen=True, slots=True)
class Trial:
    """What it showed: numbers of samples, seconds for one training step and for judging and scoring one model."""

    train_samples: int
    scoring_samples: int
    step_seconds: float
    score_seconds: float


def objection(params: Params, specification: Specification, trial: Trial, trials: Trials) -> str | None:
    """Why this operator does not bond, or None. How long sealing, publishing and fetching take, nobody can tell before
    there are others: the windows for opening and revealing are not measured."""
    if trial.scoring_samples < trials.min_validation:
        return (f"{trial.scoring_samples} samples to score with are fewer than policy.min_validation = "
                f"{trials.min_validation}")
    noise = _noise(trial.scoring_samples) if specification.scoring.data == "own" else 0     # else all have the same
    if params.dev_tol < trials.dev_tol_to_noise * noise:
        return (f"devTol {params.dev_tol} is below the noise of {trial.scoring_samples} samples, {noise} "
                "(PROTOCOL 3.3): an honest row could be taken for a lie")
    for window, have, work, need in (
        ("train", params.train_window, "training", _train_seconds(specification, trial)),
        ("score", params.score_window, "scoring", _score_seconds(params, trial)),
    ):
        if have < trials.min_window_to_step * need:
            return (f"its {window} window of {have} s is less than {trials.min_window_to_step:g} times the "
                    f"{need:.0f} s that {work} takes here")
    return None


def _noise(samples: int) -> int:
    """Points by which two honest scorers with so many samples of their own may differ: PROTOCOL 3.3's 10^4 * 3 sqrt(2)
    * sqrt(0.25 / m), in whole points as its table has them."""
    return round(10_000 * 3 * math.sqrt(2 * 0.25 / samples))


def _train_seconds(specification: Specification, trial: Trial) -> float:
    steps = -(-trial.train_samples // specification.training.batch_size)
    return steps * specification.training.local_epochs * trial.step_seconds


def _score_seconds(params: Params, trial: Trial) -> float:
    """The global model, the audit model, and every other worker's."""
    return (CONTROL_LANES + params.max_workers - 1) * trial.score_seconds
