"""The frozen terms of one child: task, data, training, scoring, aggregation, machine. Owns reading them
strictly from the setup request; a key it does not know is an error, since a misspelt one would change what is
learnt without a word."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from agents.learning.aggregate import Rule
from agents.learning.failure import Failure
from agents.learning.partition import Partition, from_settings as partition_from

OptimizerName = Literal["sgd", "adam", "adamw"]
ScoringData = Literal["own", "test", "common"]


@dataclass(frozen=True, slots=True)
class Optimizer:
    name: OptimizerName
    learning_rate: float
    momentum: float
    weight_decay: float

    def as_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "learning_rate": self.learning_rate,
            "momentum": self.momentum,
            "weight_decay": self.weight_decay,
        }


@dataclass(frozen=True, slots=True)
class Training:
    local_epochs: int
    batch_size: int
    optimizer: Optimizer


@dataclass(frozen=True, slots=True)
class ScoreWeights:
    """w_a, w_p, w_r, w_c of PROTOCOL 3.4; only their ratios count."""

    accuracy: float = 4.0
    precision: float = 2.0
    recall: float = 2.0
    consistency: float = 2.0

    @property
    def total(self) -> float:
        return self.accuracy + self.precision + self.recall + self.consistency


@dataclass(frozen=True, slots=True)
class Scoring:
    data: ScoringData
    weights: ScoreWeights
    common_path: Path | None


@dataclass(frozen=True, slots=True)
class Settings:
    """`classes` is 0 for anything that is not classification; `threads` are those torch may use."""

    task: str
    task_config: Mapping[str, Any]
    task_path: str | None
    task_sha256: str | None
    data_directory: Path | None
    data_options: Mapping[str, Any]
    partition: Partition | None
    training: Training
    scoring: Scoring
    rule: Rule
    trim: int
    classes: int
    device: str
    threads: int


def from_request(request: Mapping[str, Any]) -> Settings:
    """The settings of a setup request. Raises `Failure("task")` for whatever is missing, unknown or
    senseless."""
    top = _Fields(request, "setup")
    task, data = top.group("task"), top.group("data", optional=True)
    scoring, aggregation = top.group("scoring", optional=True), top.group("aggregation", optional=True)
    directory, common = data.text("dir", optional=True), scoring.text("common_path", optional=True)
    settings = Settings(
        task=task.text("id") or "",
        task_config=task.mapping("config"),
        task_path=task.text("path", optional=True),
        task_sha256=task.text("sha256", optional=True),
        data_directory=Path(directory) if directory else None,
        data_options=data.mapping("options"),
        partition=partition_from(data.mapping("partition") or None),
        training=_training(top.group("training")),
        scoring=Scoring(
            scoring.choice("data", get_args(ScoringData), "own"),
            _weights(scoring.group("weights", optional=True)),
            Path(common) if common else None,
        ),
        rule=aggregation.choice("rule", get_args(Rule), "clipped-mean"),
        trim=aggregation.integer("trim", 0, 62, 1),
        classes=top.integer("classes", 0, 100_000),
        device=top.text("device", optional=True) or "auto",
        threads=top.integer("threads", 1, 1024, 1),
    )
    if scoring.take("probe", None) is not None:
        raise _senseless("scoring.probe", "there is no such probe", "leave it out")
    if (settings.scoring.data == "common") != (settings.scoring.common_path is not None):
        raise _senseless("scoring.common_path", "a path and data = common belong together", "give both or neither")
    for group in (top, task, data, scoring, aggregation):
        group.end()
    return settings


def _training(fields: "_Fields") -> Training:
    optimizer = fields.group("optimizer")
    training = Training(
        fields.integer("local_epochs", 1, 10_000),
        fields.integer("batch_size", 1, 1 << 20),
        Optimizer(
            optimizer.choice("name", get_args(OptimizerName), "sgd"),
            optimizer.decimal("learning_rate", 0.0, 1e3),
            optimizer.decimal("momentum", 0.0, 1.0, 0.0),
            optimizer.decimal("weight_decay", 0.0, 1e3, 0.0),
        ),
    )
    for group in (fields, optimizer):
        group.end()
    return training


def _weights(fields: "_Fields") -> ScoreWeights:
    default = ScoreWeights()
    weights = ScoreWeights(
        *(
            fields.decimal(name, 0.0, 1e6, getattr(default, name))
            for name in ("accuracy", "precision", "recall", "consistency")
        )
    )
    fields.end()
    if weights.total <= 0.0:
        raise _senseless("scoring.weights", "they sum to 0", "give at least one a positive weight")
    return weights


def _senseless(key: str, why: str, do: str) -> Failure:
    return Failure("task", f"{key}: {why}", do)


class _Fields:
    """Takes fields out of a JSON object one by one, so that `end` can name the ones nobody asked for."""

    __slots__ = ("_left", "_where")

    def __init__(self, given: Mapping[str, Any], where: str) -> None:
        self._left, self._where = dict(given), where

    def take(self, key: str, default: Any) -> Any:
        value = self._left.pop(key, None)
        return default if value is None else value

    def group(self, key: str, optional: bool = False) -> "_Fields":
        value = self.take(key, {} if optional else None)
        if not isinstance(value, dict):
            raise self._bad(key, "an object is needed")
        return _Fields(value, key)

    def mapping(self, key: str) -> dict[str, Any]:
        value = self.take(key, {})
        if not isinstance(value, dict):
            raise self._bad(key, "an object is needed")
        return value

    def text(self, key: str, optional: bool = False) -> str | None:
        value = self.take(key, None)
        if not isinstance(value, str) and not (optional and value is None):
            raise self._bad(key, "a text is needed")
        return value

    def choice(self, key: str, known: tuple[Any, ...], default: str) -> Any:
        value = self.take(key, default)
        if value not in known:
            raise self._bad(key, f"{value!r} is not one of {', '.join(known)}")
        return value

    def integer(self, key: str, least: int, most: int, default: int | None = None) -> int:
        value = self.take(key, default)
        if type(value) is not int or not least <= value <= most:
            raise self._bad(key, f"a whole number from {least} to {most} is needed, not {value!r}")
        return value

    def decimal(self, key: str, least: float, most: float, default: float | None = None) -> float:
        """A number, or the specification's decimal text."""
        value = self.take(key, default)
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if not least <= number <= most:
            raise self._bad(key, f"a number from {least:g} to {most:g} is needed, not {value!r}")
        return number

    def end(self) -> None:
        if self._left:
            raise self._bad(", ".join(sorted(self._left)), "unknown")

    def _bad(self, key: str, why: str) -> Failure:
        return _senseless(f"{self._where}.{key}", why, "correct the task's specification or the settings")
