"""How good a valid model is (PROTOCOL 3.4): accuracy, macro precision and recall, consistency over five
folds, as 1 … 10000.

Counted in numpy from one confusion matrix; the tests hold it against torchmetrics, whose import alone would
cost the child 80 MiB.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from agents.learning.failure import Failure
from agents.learning.placement import Placement
from agents.learning.samples import Samples, class_labels
from agents.learning.settings import ScoreWeights

Labels = NDArray[np.int64]

FOLDS = 5
_FOLD_SEED = 5
_BATCH = 128


@dataclass(frozen=True, slots=True)
class Quality:
    """Each in 0 … 1. Macro averages run over the classes present in the labels; a class never predicted has
    precision 0."""

    accuracy: float
    precision: float
    recall: float
    consistency: float

    def combined(self, weights: ScoreWeights) -> float:
        """Σ w·x / Σ w."""
        total = (
            weights.accuracy * self.accuracy
            + weights.precision * self.precision
            + weights.recall * self.recall
            + weights.consistency * self.consistency
        )
        return total / weights.total


def points(x: float) -> int:
    """⌊10000·x + ½⌋, clamped to 1 … 10000: a valid model never scores 0."""
    return min(max(math.floor(10_000 * x + 0.5), 1), 10_000)


def quality(predicted: Labels, labels: Labels, classes: int) -> Quality:
    """The four numbers from predicted and true classes, both [N], N ≥ 1."""
    confusion = np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)
    hits, truly, claimed = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    present = truly > 0
    precision = np.divide(hits, claimed, out=np.zeros(classes), where=claimed > 0)
    recall = np.divide(hits, truly, out=np.zeros(classes), where=present)
    right = predicted == labels
    return Quality(
        float(right.mean()),
        float(precision[present].mean()),
        float(recall[present].mean()),
        consistency(right),
    )


def consistency(right: NDArray[np.bool_]) -> float:
    """1 − (max − min) accuracy over the folds: the set shuffled once by a fixed seed, then i mod 5. Folds
    without a sample do not count."""
    order = np.random.RandomState(_FOLD_SEED).permutation(len(right))
    folds = [float(right[order[k::FOLDS]].mean()) for k in range(min(FOLDS, len(right)))]
    return 1.0 - (max(folds) - min(folds))


def predict(model: nn.Module, samples: Samples, placement: Placement, classes: int) -> tuple[Labels, Labels]:
    """(predicted, true) classes in the samples' order. Raises `Failure`: `task` for outputs, `data` for
    labels that do not fit `classes`."""
    model.eval()
    guesses: list[Labels] = []
    truths: list[Labels] = []
    with torch.inference_mode():
        for x, y in samples.in_order(_BATCH):
            with placement.precision():
                out = model(placement.inputs(x))
            if out.dim() != 2 or out.shape[1] != classes:
                raise Failure(
                    "task",
                    f"the network gives outputs of shape {tuple(out.shape)} for {classes} classes",
                    "correct build_model or the number of classes",
                )
            guesses.append(out.argmax(dim=1).cpu().numpy())
            truths.append(class_labels(y).cpu().numpy())
    labels = np.concatenate(truths)
    check_labels(labels, classes, "validation")
    return np.concatenate(guesses), labels


def check_labels(labels: Labels, classes: int, name: str) -> None:
    """Raises `Failure("data")` for a label outside 0 … classes − 1."""
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise Failure(
            "data",
            f"the {name} part has labels from {labels.min()} to {labels.max()}; the task has classes 0 to "
            f"{classes - 1}",
            "check data set and task belong together",
        )


def users_score(given: Any) -> tuple[float, Mapping[str, float]]:
    """(score, whatever else of accuracy, precision, recall was said) from a user's `evaluate`. Raises
    `Failure("task")` unless 0 ≤ score ≤ 1."""
    if not isinstance(given, Mapping) or "score" not in given:
        raise Failure("task", f"evaluate returned {given!r:.100}", 'return a dict with "score" from 0 to 1')
    try:
        numbers = {
            name: float(given[name])
            for name in ("score", "accuracy", "precision", "recall", "consistency")
            if name in given
        }
    except (TypeError, ValueError) as error:
        raise Failure(
            "task",
            f"evaluate returned something that is not a number: {error}",
            'return a dict with "score" from 0 to 1',
        ) from error
    if not 0.0 <= numbers["score"] <= 1.0:
        raise Failure(
            "task",
            f"evaluate returned a score of {numbers['score']}",
            "return a score from 0 to 1, larger is better",
        )
    return numbers["score"], {name: number for name, number in numbers.items() if math.isfinite(number)}
