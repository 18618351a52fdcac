"""The torch side of a child: one task with one operator's data, loaded once. Owns building, training and
assessing models; files are judged by `validity` before they come here, and who asks for what is `session`'s.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from agents.learning import placement, score, state, task, weights
from agents.learning.commonset import common_samples
from agents.learning.failure import Failure
from agents.learning.layout import Layout
from agents.learning.placement import Placement
from agents.learning.plugin import users_code
from agents.learning.samples import Samples, TensorSamples
from agents.learning.settings import Settings, Training
from agents.learning.task import Parts
from agents.learning.train import Course, Job, Report, forget_checkpoint, make_optimizer, seed_everything, train
from agents.learning.userdata import all_labels


@dataclass(frozen=True, slots=True)
class Assessment:
    """A model's score as PROTOCOL 3.4 has it (1 … 10000), and the numbers behind it."""

    score: int
    numbers: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Run:
    """One local training: from which file to which, drawn from `seed`, with checkpoints in a directory or nowhere.
    `stop()`: whether to end at the next checkpoint."""

    base: Path
    out: Path
    seed: int
    checkpoints: Path | None = None
    stop: Callable[[], bool] = bool


@dataclass(frozen=True, slots=True)
class Trained:
    """What `Run.out` now holds: SHA-256 as hex, bytes, and how training went."""

    hash: str
    bytes: int
    course: Course


class Workbench:
    """Everything is loaded on first use. Raises `Failure` with kind `task` or `data` for what the operator
    must mend."""

    def __init__(self, settings: Settings, fingerprint: str) -> None:
        self.settings = settings
        self._fingerprint = fingerprint
        torch.set_num_threads(settings.threads)
        self.task = task.resolve(settings.task, settings.task_config, settings.task_path)
        if settings.classes == 0 and (self.task.train is None or self.task.evaluate is None):
            raise Failure(
                "task",
                "a task without classes needs its own train and evaluate",
                "define both in task.py, or give the number of classes",
            )

    @cached_property
    def parts(self) -> Parts:
        """The operator's data, with labels checked as far as they are known without decoding every sample."""
        parts = self.task.load_data(self.settings.data_directory, self.settings.data_options, self.settings.partition)
        self._check(parts.train, "train", self.task.train is None)
        self._check(parts.validation, "validation", self.task.evaluate is None)
        return parts

    @cached_property
    def layout(self) -> Layout:
        return state.layout(self._model)

    @cached_property
    def placement(self) -> Placement:
        chosen = placement.choose(self._model, self.settings.device)
        if chosen.device.type == "cuda":
            torch.backends.cudnn.deterministic = True
        return chosen

    @cached_property
    def scoring_samples(self) -> Samples:
        """What this worker judges models on, as the specification says."""
        return self.samples("validation" if self.settings.scoring.data == "own" else self.settings.scoring.data)

    def samples(self, split: str) -> Samples:
        """`validation`, `test` or `common`."""
        match split:
            case "validation":
                found = self.parts.validation
            case "test" if self.parts.test is not None:
                found = self.parts.test()
            case "common" if self.settings.scoring.common_path is not None:
                found = common_samples(self.settings.scoring.common_path, self.parts.validation)
            case _:
                raise Failure(
                    "data",
                    f"this task has no {split} data",
                    "use validation, or let load_data return a test part",
                )
        self._check(found, split, self.task.evaluate is None)
        return found

    def warm(self) -> None:
        """Loads what the first training or scoring would wait for, torch's compiler with the first optimiser."""
        _ = self.parts, self.layout, self.placement
        make_optimizer(self._model, self.settings.training.optimizer)

    def labels_seen(self) -> list[int]:
        """Classes among this worker's own samples, ascending; empty for anything but classification."""
        if self.settings.classes == 0:
            return []
        known = self.parts.train.labels()
        seen = set(all_labels(self.parts.validation).tolist()) | set(() if known is None else known.tolist())
        return sorted(int(label) for label in seen)

    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self._model.parameters())

    def write_genesis(self, seed: int, out: Path) -> tuple[str, int]:
        """G₀, drawn from `seed`; returns (SHA-256, bytes)."""
        return state.save(self._fresh(seed, "genesis"), out)

    def train(self, run: Run, report: Report) -> Trained:
        """One round's local training: every epoch over all of this worker's samples."""
        return self._train_on(self.parts.train, run, self._job(run, self.settings.training), report)

    def train_one_step(self, run: Run) -> Trained:
        """The same on a single batch: does this task train at all here?"""
        terms = replace(self.settings.training, local_epochs=1)
        batch = self.parts.train.head(terms.batch_size)
        return self._train_on(batch, run, self._job(run, terms), lambda _: None)

    def assess(self, path: Path, samples: Samples) -> Assessment:
        """Scores a model that passed V4. Raises `Failure("task")` if the task's own code cannot."""
        state.load(self._model, path)
        self.placement.put(self._model)
        if self.task.evaluate is not None:
            self._model.eval()
            with torch.no_grad():
                x, numbers = score.users_score(self.task.evaluate(self._model, samples.raw, self._config()))
            return Assessment(score.points(x), {**numbers, "score": x})
        with self._guard("evaluating the network"):
            found = score.quality(
                *score.predict(self._model, samples, self.placement, self.settings.classes),
                self.settings.classes,
            )
        numbers = {
            "accuracy": found.accuracy,
            "precision": found.precision,
            "recall": found.recall,
            "consistency": found.consistency,
        }
        return Assessment(score.points(found.combined(self.settings.scoring.weights)), numbers)

    @cached_property
    def _model(self) -> nn.Module:
        """The instance that models are judged in, one after the other."""
        return self._fresh(0, "judged")

    def _fresh(self, seed: int, *what: object) -> nn.Module:
        seed_everything(seed, *what)
        return self.task.build_model()

    def _train_on(self, samples: Samples, run: Run, job: Job, report: Report) -> Trained:
        model = self._fresh(job.seed, "train")
        state.load(model, run.base)
        if self.task.train is None:
            with self._guard("training"):
                course = train(model, samples, job, report)
        else:
            model, course = self._users_train(model, samples, job)
        if state.layout(model).head != self.layout.head:
            raise Failure(
                "task",
                "train returned a network with other tensors than build_model's",
                "train the given model in place",
            )
        digest, size = state.save(model, run.out)
        forget_checkpoint(job)
        return Trained(digest, size, course)

    def _users_train(self, model: nn.Module, samples: Samples, job: Job) -> tuple[nn.Module, Course]:
        assert self.task.train is not None
        course = Course()
        self.placement.put(model).train()
        seed_everything(job.seed, "epoch", 0)
        course.step_begins()
        config = {**self._config(), "seed": job.seed % 2**63, "local_epochs": job.training.local_epochs}
        returned = self.task.train(model, samples.raw, config)
        course.step_ended()
        return returned if isinstance(returned, nn.Module) else model, course

    def _config(self) -> dict[str, Any]:
        terms = self.settings.training
        return {
            **self.settings.task_config,
            "local_epochs": terms.local_epochs,
            "batch_size": terms.batch_size,
            "optimizer": terms.optimizer.as_config(),
            "device": str(self.placement.device),
        }

    def _job(self, run: Run, terms: Training) -> Job:
        key = json.dumps([self._fingerprint, weights.model_hash(run.base), run.seed, self.parts.train.size])
        checkpoint = None if run.checkpoints is None else run.checkpoints / "training.ckpt"
        fingerprint = hashlib.sha256(key.encode()).hexdigest()
        return Job(terms, self.settings.classes, run.seed, self.placement, checkpoint, fingerprint, run.stop)

    def _check(self, samples: Samples, name: str, built_in: bool) -> None:
        """Labels that the built-in loop or score will read must be one class per sample."""
        if self.settings.classes == 0 or not built_in:
            return
        labels = samples.labels()
        if labels is not None:
            score.check_labels(labels, self.settings.classes, name)
        elif isinstance(samples, TensorSamples):
            raise Failure(
                "data",
                f"the {name} part has y of shape {tuple(samples.y.shape)} and type {samples.y.dtype}",
                "y must hold one whole number per sample",
            )

    def _guard(self, what: str) -> AbstractContextManager[None]:
        return nullcontext() if self.settings.task_path is None else users_code(what)
