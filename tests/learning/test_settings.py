"""The setup request: everything it means, and nothing it does not."""

from collections.abc import Callable
from typing import Any

import pytest

from agents.learning.failure import Failure
from agents.learning.partition import Partition
from agents.learning.settings import Optimizer, ScoreWeights, from_request


def test_a_whole_request_is_read(request_of: Callable[..., dict[str, Any]]) -> None:
    settings = from_request(request_of(1, 3))
    assert settings.partition == Partition("iid", 1, 3, 1)
    assert settings.training.optimizer == Optimizer("sgd", 0.05, 0.9, 0.0)
    assert settings.scoring.weights == ScoreWeights(4.0, 2.0, 2.0, 2.0)
    assert (settings.rule, settings.trim, settings.classes, settings.threads) == ("clipped-mean", 1, 10, 1)


def test_what_is_left_out_has_its_default(request_of: Callable[..., dict[str, Any]]) -> None:
    short = {key: value for key, value in request_of().items() if key in ("task", "training", "classes")}
    settings = from_request(short)
    assert settings.partition is None
    assert settings.scoring.data == "own"
    assert (settings.device, settings.threads, settings.rule) == ("auto", 1, "clipped-mean")


def changed(request: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    *groups, key = path.split(".")
    inner = request
    for group in groups:
        inner = inner[group]
    if value is ...:
        del inner[key]
    else:
        inner[key] = value
    return request


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ("colour", "red", "setup.colour: unknown"),
        ("task.ident", "x", "task.ident: unknown"),
        ("training.optimizer.lr", 1, "optimizer.lr: unknown"),
        ("scoring.weights.f1", 1, "weights.f1: unknown"),
        ("task.id", ..., "task.id: a text is needed"),
        ("training", ..., "setup.training: an object is needed"),
        ("classes", ..., "setup.classes: a whole number"),
        ("classes", True, "setup.classes: a whole number"),
        ("training.local_epochs", 0, "training.local_epochs: a whole number from 1"),
        ("training.optimizer.name", "lion", "'lion' is not one of sgd, adam, adamw"),
        ("training.optimizer.learning_rate", "fast", "optimizer.learning_rate: a number from 0"),
        ("training.optimizer.learning_rate", "nan", "optimizer.learning_rate: a number from 0"),
        ("training.optimizer.learning_rate", "-0.1", "optimizer.learning_rate: a number from 0"),
        ("aggregation.rule", "best", "'best' is not one of clipped-mean, mean"),
        ("scoring.data", "common", "a path and data = common belong together"),
        ("scoring.common_path", "x", "a path and data = common belong together"),
        ("scoring.probe", "descent", "there is no such probe"),
        ("scoring.weights", {"accuracy": 0, "precision": 0, "recall": 0, "consistency": 0}, "they sum to 0"),
        ("threads", 0, "setup.threads: a whole number from 1"),
        ("data.partition.kind", "magic", "kind 'magic'"),
    ],
)
def test_what_makes_no_sense_is_named(
    request_of: Callable[..., dict[str, Any]], path: str, value: Any, why: str
) -> None:
    with pytest.raises(Failure) as caught:
        from_request(changed(request_of(), path, value))
    assert why in caught.value.message
    assert caught.value.do
