"""What the dry run shows of this operator's data and machine is weighed before any wei is bonded (PROTOCOL 7.7)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.core.specification import Scoring, Specification, Training
from agents.core.trial import Trial, Trials, objection
from tests.core.tasks import PARAMS

TERMS = replace(PARAMS, dev_tol=1500, train_window=600, score_window=300, max_workers=5)
MINE = Specification("mine", 10, training=Training(local_epochs=2, batch_size=32))
SOUND = Trial(train_samples=320, scoring_samples=200, step_seconds=10.0, score_seconds=16.6)
"""Twenty steps take a third of the train window, six models almost a third of the score window."""


def test_what_is_just_good_enough_is_good_enough() -> None:
    assert objection(TERMS, MINE, SOUND, Trials()) is None


@pytest.mark.parametrize(
    ("showing", "says"),
    [
        ({"scoring_samples": 49}, "49 samples to score with are fewer than policy.min_validation = 50"),
        ({"scoring_samples": 199}, "devTol 1500 is below the noise of 199 samples, 1504"),
        ({"step_seconds": 10.1}, "its train window of 600 s is less than 3 times the 202 s that training takes here"),
        ({"train_samples": 321}, "its train window of 600 s is less than 3 times the 220 s that training takes here"),
        ({"score_seconds": 16.7}, "its score window of 300 s is less than 3 times the 100 s that scoring takes here"),
    ],
)
def test_what_is_just_not_is_objected_to(showing: dict[str, float], says: str) -> None:
    assert str(objection(TERMS, MINE, replace(SOUND, **showing), Trials())).startswith(says)


@pytest.mark.parametrize(("samples", "noise"), [(57, 2810), (96, 2165), (200, 1500)])
def test_the_noise_is_that_of_the_protocols_table(samples: int, noise: int) -> None:
    shown = replace(SOUND, scoring_samples=samples)
    assert objection(replace(TERMS, dev_tol=noise), MINE, shown, Trials()) is None
    assert "below the noise" in str(objection(replace(TERMS, dev_tol=noise - 1), MINE, shown, Trials()))


@pytest.mark.parametrize("data", ["test", "common"])
def test_where_all_score_on_the_same_samples_no_noise_is_between_them(data: str) -> None:
    shared = replace(MINE, scoring=Scoring(data=data))
    assert objection(replace(TERMS, dev_tol=1), shared, SOUND, Trials()) is None


def test_a_policy_of_zeros_objects_to_nothing() -> None:
    slow = Trial(train_samples=10**6, scoring_samples=1, step_seconds=60.0, score_seconds=60.0)
    assert objection(TERMS, MINE, slow, Trials(1, 0.0, 0.0)) is None
