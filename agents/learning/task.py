"""The plug-in contract: what a task is made of, and how an operator's own `task.py` becomes one.

A task is a plain Python file. Two functions are needed, two are optional; all of it is ordinary PyTorch:

    def build_model(config): ...
        # A torch.nn.Module. `config` is the dict of the task's specification, the same for every member, so
        # everybody builds the same network. Its tensors may be float32, int64, uint8 or bool.

    def load_data(config): ...
        # (train, validation), or (train, validation, test). Each part is (X, y) tensors or arrays, a map-style
        # torch Dataset, or a DataLoader. `config` is the specification's dict, then the operator's own data
        # options, then "data_dir" (a str or None). What it returns never leaves the operator's process.

    def train(model, data, config): ...
        # Optional: an ordinary training loop, one local training of a round. `model` holds the round's base
        # weights, is on its device and in train mode; train it in place, or return another module with the same
        # state_dict. `data` is what load_data gave as train. `config` is the specification's dict plus
        # "local_epochs", "batch_size", "optimizer" (dict: name, learning_rate, momentum, weight_decay), "device"
        # and "seed", with which torch, numpy and random are seeded already.

    def evaluate(model, data, config): ...
        # Optional, needed for anything that is not classification: {"score": s}, 0 <= s <= 1, larger is better.
        # `model` is in eval mode, gradients are off, `data` is the part to score on, `config` as for train but
        # for the seed. Must not depend on chance: other members compare their number with yours.

Without `train` the built-in loop minimises cross-entropy; without `evaluate` accuracy, precision, recall and
consistency are the score. This file owns the contract; importing users' files is `plugin`'s.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from agents.learning import datasets, models, partition
from agents.learning.failure import Failure
from agents.learning.partition import HoldOut, Partition
from agents.learning.plugin import imported, users_code
from agents.learning.samples import Samples, Scaling, TensorSamples
from agents.learning.userdata import all_labels, samples_of

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a worker trains on, what it judges others by, and, on demand, what nobody trains on."""

    train: Samples
    validation: Samples
    test: Callable[[], Samples] | None


@dataclass(frozen=True, slots=True)
class Task:
    """A task's functions with the errors of users' code already turned into `Failure("task")`."""

    build_model: Callable[[], nn.Module]
    load_data: Callable[[Path | None, Config, Partition | None], Parts]
    train: Callable[[nn.Module, Any, Config], Any] | None = None
    evaluate: Callable[[nn.Module, Any, Config], Any] | None = None


def resolve(identifier: str, config: Config, path: str | None) -> Task:
    """The task that the specification names: the operator's file or module if `path` is given, else a
    built-in one."""
    if path is not None:
        return _users_task(identifier, config, imported(path))
    if identifier not in models.BUILT_IN:
        known = ", ".join(models.BUILT_IN)
        raise Failure(
            "task",
            f"task {identifier!r} is neither built in ({known}) nor mapped to a file by this operator",
            "map it to your task.py",
        )
    if config:
        raise Failure(
            "task",
            f"the built-in task {identifier!r} takes no configuration, but has {', '.join(sorted(config))}",
            "correct the specification",
        )
    return Task(
        models.BUILT_IN[identifier],
        lambda directory, options, plan: _built_in_parts(identifier, directory, options, plan),
    )


def _users_task(identifier: str, config: Config, module: ModuleType) -> Task:
    functions: dict[str, Callable[..., Any] | None] = {
        name: getattr(module, name, None) for name in ("build_model", "load_data", "train", "evaluate")
    }
    for name, function in functions.items():
        if not callable(function) and (function is not None or name in ("build_model", "load_data")):
            raise Failure(
                "task",
                f"the task {identifier!r} has no function {name}",
                f"define {name}; agents/learning/task.py says what it must do",
            )

    def guarded(name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            with users_code(name):
                return functions[name](*arguments)  # type: ignore[misc]

        return call

    def build() -> nn.Module:
        model = guarded("build_model")(dict(config))
        if not isinstance(model, nn.Module):
            raise Failure("task", f"build_model returned a {type(model).__name__}", "return a torch.nn.Module")
        return model

    def load(directory: Path | None, options: Config, plan: Partition | None) -> Parts:
        given = guarded("load_data")({**config, **options, "data_dir": None if directory is None else str(directory)})
        with users_code("reading the data"):
            return _users_parts(given, plan)

    return Task(build, load, *(guarded(name) if functions[name] else None for name in ("train", "evaluate")))


def _users_parts(given: Any, plan: Partition | None) -> Parts:
    if not isinstance(given, tuple | list) or len(given) not in (2, 3):
        raise Failure(
            "task",
            f"load_data returned a {type(given).__name__}",
            "return (train, validation) or (train, validation, test)",
        )
    train, validation = (
        _own(samples_of(part, name), plan) for part, name in zip(given, ("train", "validation"), strict=False)
    )
    return Parts(train, validation, (lambda: samples_of(given[2], "test")) if len(given) == 3 else None)


def _own(samples: Samples, plan: Partition | None) -> Samples:
    return samples if plan is None else samples.subset(partition.part(all_labels(samples), plan))


def _built_in_parts(identifier: str, directory: Path | None, options: Config, plan: Partition | None) -> Parts:
    hold, download = _options(identifier, options)
    images = datasets.load(identifier, directory, download)
    own = images.pool[partition.part(images.y[images.pool], plan)]
    seed = 0 if plan is None else plan.seed * 1000 + plan.index
    train, validation = (_tensors(images, chosen) for chosen in partition.hold_out(own, hold, seed))
    test = _tensors(images, images.test)
    return Parts(train, validation, lambda: test)


def _tensors(images: datasets.Images, chosen: partition.Indices) -> TensorSamples:
    scaling = Scaling(torch.from_numpy(images.factor), torch.from_numpy(images.shift))
    return TensorSamples(torch.from_numpy(images.x[chosen]), torch.from_numpy(images.y[chosen]), scaling)


def _options(identifier: str, options: Config) -> tuple[HoldOut, bool]:
    unknown = set(options) - {"download", "validation_share", "validation_min", "validation_max"}
    if unknown:
        raise Failure(
            "data",
            f"unknown data options for {identifier}: {', '.join(sorted(unknown))}",
            "correct the settings",
        )
    default = HoldOut()
    try:
        share = float(options.get("validation_share", default.share))
        hold = HoldOut(
            share,
            int(options.get("validation_min", default.least)),
            int(options.get("validation_max", default.most)),
        )
    except (TypeError, ValueError) as error:
        raise Failure("data", f"the size of the validation part makes no sense: {error}", "give numbers") from error
    if not 0.0 < hold.share < 1.0 or hold.least < 1:
        raise Failure(
            "data",
            f"a validation share of {hold.share} (at least {hold.least}) makes no sense",
            "give a share between 0 and 1",
        )
    return hold, bool(options.get("download", True))
