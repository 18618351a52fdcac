"""Scores against torchmetrics, and the conventions of PROTOCOL 8."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings, strategies as st
from torch import nn

from agents.learning.failure import Failure
from agents.learning.placement import Placement
from agents.learning.samples import TensorSamples
from agents.learning.score import check_labels, consistency, points, predict, quality, users_score
from agents.learning.settings import ScoreWeights

CPU = Placement(torch.device("cpu"), channels_last=False, bf16=False)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 7), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_accuracy_precision_and_recall_are_those_of_torchmetrics(classes: int, count: int, seed: int) -> None:
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_precision, multiclass_recall

    rng = np.random.RandomState(seed)
    labels, predicted = rng.randint(0, classes, count), rng.randint(0, classes, count)
    found = quality(predicted, labels, classes)
    present = np.unique(labels)
    target, guess = torch.from_numpy(labels), torch.from_numpy(predicted)

    def macro(metric: Any) -> float:
        return float(metric(guess, target, classes, average=None).double()[present].mean())

    assert found.accuracy == pytest.approx(
        float(multiclass_accuracy(guess, target, classes, average="micro")), abs=1e-6
    )
    assert found.precision == pytest.approx(macro(multiclass_precision), abs=1e-6)
    assert found.recall == pytest.approx(macro(multiclass_recall), abs=1e-6)


def test_macro_runs_over_the_classes_that_are_there() -> None:
    found = quality(np.array([0, 0, 1, 1]), np.array([0, 0, 2, 2]), 5)
    assert (found.accuracy, found.precision, found.recall) == (0.5, 0.5, 0.5)


@given(st.floats(0, 1))
@example(0.0)
@example(1.0)
@example(0.00005)
@example(0.00015)
def test_points_round_half_up_and_never_reach_zero(x: float) -> None:
    assert points(x) == max(1, min(10_000, int(10_000 * x + 0.5)))


def test_half_a_point_rounds_up() -> None:
    assert [points(x) for x in (0.00004, 0.00005, 0.0002, 0.5, 0.99995, 1.0)] == [1, 1, 2, 5000, 10_000, 10_000]


def test_consistency_is_one_less_the_spread_of_the_folds() -> None:
    right = np.ones(50, dtype=bool)
    assert consistency(right) == 1.0
    order = np.random.RandomState(5).permutation(50)
    right[order[0::5]] = False
    assert consistency(right) == 0.0
    right[order[0::5][:5]] = True
    assert consistency(right) == 0.5


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_set_smaller_than_the_folds_still_has_a_consistency(count: int) -> None:
    assert consistency(np.ones(count, dtype=bool)) == 1.0


def test_weights_are_those_of_the_specification() -> None:
    found = quality(np.array([0, 0, 1, 1]), np.array([0, 0, 2, 2]), 5)
    assert found.combined(ScoreWeights()) == pytest.approx((4 * 0.5 + 2 * 0.5 + 2 * 0.5 + 2 * found.consistency) / 10)
    assert found.combined(ScoreWeights(1, 0, 0, 0)) == 0.5


class Constant(nn.Module):
    def __init__(self, value: float, classes: int = 3) -> None:
        super().__init__()
        self.out = nn.Parameter(torch.full((classes,), value))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out.expand(len(x), -1)


SAMPLES = TensorSamples(torch.zeros(300, 2), torch.arange(300) % 3)


@pytest.mark.parametrize("value", [0.0, float("inf"), float("nan"), -1e38])
def test_outputs_that_are_no_numbers_are_merely_bad(value: float) -> None:
    found = quality(*predict(Constant(value), SAMPLES, CPU, 3), 3)
    assert found.accuracy == pytest.approx(1 / 3)


def test_outputs_of_another_width_are_the_tasks_fault() -> None:
    with pytest.raises(Failure, match=r"outputs of shape \(128, 4\) for 3 classes"):
        predict(Constant(0.0, 4), SAMPLES, CPU, 3)


def test_labels_out_of_range_are_named() -> None:
    with pytest.raises(Failure, match="the train part has labels from 0 to 9; the task has classes 0 to 4") as caught:
        check_labels(np.arange(10), 5, "train")
    assert caught.value.kind == "data"


@pytest.mark.parametrize(
    "given_score",
    [None, 0.5, {}, {"score": "x"}, {"score": 1.1}, {"score": -0.1}, {"score": float("nan")}, {"accuracy": 1}],
)
def test_a_users_score_that_makes_no_sense_is_named(given_score: Any) -> None:
    with pytest.raises(Failure, match="evaluate returned") as caught:
        users_score(given_score)
    assert caught.value.kind == "task"


def test_a_users_score_may_bring_other_numbers() -> None:
    assert users_score({"score": torch.tensor(0.25), "accuracy": 0.5, "rmse": "x"}) == (
        0.25,
        {"score": 0.25, "accuracy": 0.5},
    )
