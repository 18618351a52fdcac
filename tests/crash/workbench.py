"""A workbench without torch: one linear layer over four features, in numpy, deterministic to the bit on one machine.

Stands in for `agents.learning.workbench` below the real session, so that a learning child starts in tenths of a second.
Everything around it is the product's: protocol, files, validity, aggregation, scoring and boundaries.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from agents.learning import weights
from agents.learning.layout import Layout, layout_of
from agents.learning.settings import Settings
from bfl_events.boundaries import Boundary, passing

FEATURES, CLASSES, SAMPLES = 4, 3, 90
CENTRES = np.array([[2, 0, 0, 1], [0, 2, 0, -1], [0, 0, 2, 0]], dtype=np.float64)
Report = Callable[[Mapping[str, Any]], None]
Weights = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Part:
    x: np.ndarray[Any, Any]
    y: np.ndarray[Any, Any]

    @property
    def size(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Parts:
    train: Part
    validation: Part


@dataclass(frozen=True)
class Run:
    base: Path
    out: Path
    seed: int
    checkpoints: Path | None = None
    stop: Callable[[], bool] = bool


@dataclass
class Course:
    losses: list[float] = field(default_factory=list)
    first_step_at: float = 0.0
    last_step_at: float = 0.0


@dataclass(frozen=True)
class Trained:
    hash: str
    bytes: int
    course: Course


@dataclass(frozen=True)
class Assessment:
    score: int
    numbers: Mapping[str, float]


def drawn(name: str) -> Part:
    """Samples around three centres; the name is the seed."""
    dice = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]))
    y = np.arange(SAMPLES) % CLASSES
    return Part((CENTRES[y] + dice.normal(0, 0.8, (SAMPLES, FEATURES))).astype(np.float32), y.astype(np.int64))


def write_genesis(seed: int, out: Path) -> tuple[str, int]:
    dice = np.random.default_rng(seed)
    return weights.write_arrays(out, {"w": dice.normal(0, 0.1, (CLASSES, FEATURES)).astype(np.float32),
                                      "b": np.zeros(CLASSES, np.float32)})


def write_common_set(out: Path) -> tuple[str, int]:
    part = drawn("common")
    return weights.write_arrays(out, {"x": part.x, "y": part.y})


class Workbench:
    """What `agents.learning.session` asks of its bench."""

    def __init__(self, settings: Settings, fingerprint: str) -> None:
        self.settings, self._fingerprint = settings, fingerprint

    @cached_property
    def parts(self) -> Parts:
        name = str(0 if self.settings.partition is None else self.settings.partition.index)
        return Parts(drawn("train " + name), drawn("validation " + name))

    @cached_property
    def layout(self) -> Layout:
        return layout_of({"w": ("F32", (CLASSES, FEATURES)), "b": ("F32", (CLASSES,))})

    @cached_property
    def scoring_samples(self) -> Part:
        return self.samples(self.settings.scoring.data)

    def samples(self, split: str) -> Part:
        path = self.settings.scoring.common_path
        if split != "common" or path is None:
            return self.parts.validation
        arrays = weights.demand(path, layout_of({"x": ("F32", (SAMPLES, FEATURES)), "y": ("I64", (SAMPLES,))})).arrays()
        return Part(arrays["x"], arrays["y"])

    def warm(self) -> None:
        _ = self.parts

    def labels_seen(self) -> list[int]:
        return list(range(CLASSES))

    def parameters(self) -> int:
        return CLASSES * (FEATURES + 1)

    def write_genesis(self, seed: int, out: Path) -> tuple[str, int]:
        return write_genesis(seed, out)

    def train(self, run: Run, report: Report) -> Trained:
        return self._train(run, self.settings.training.local_epochs, report)

    def train_one_step(self, run: Run) -> Trained:
        return self._train(run, 1, lambda _: None)

    def assess(self, path: Path, samples: Part) -> Assessment:
        model = self._load(path)
        found = (samples.x @ model["w"].T + model["b"]).argmax(axis=1)
        accuracy = float((found == samples.y).mean())
        return Assessment(1 + int(9_999 * accuracy), {"accuracy": accuracy})

    # ---- training, with a checkpoint between epochs like agents.learning.train's

    def _train(self, run: Run, epochs: int, report: Report) -> Trained:
        key = json.dumps([self._fingerprint, weights.model_hash(run.base), run.seed])
        checkpoint = None if run.checkpoints is None else run.checkpoints / "training.ckpt"
        course = Course(first_step_at=time.time())
        done, model = self._resumed(checkpoint, key) or (0, self._load(run.base))
        for epoch in range(done, epochs):
            model = self._step(model, np.random.default_rng([run.seed, epoch]))
            report({"epoch": epoch + 1, "of": epochs, "loss": 0.0, "step": 1, "steps": 1})
            if checkpoint is not None and epoch + 1 < epochs:
                self._save(checkpoint, key, epoch + 1, model)
        course.last_step_at = time.time()
        digest, size = weights.write_arrays(run.out, model)
        if checkpoint is not None:
            with passing(Boundary.CHILD_FORGET):
                checkpoint.unlink(missing_ok=True)
        return Trained(digest, size, course)

    def _step(self, model: Weights, dice: np.random.Generator) -> Weights:
        x, y = self.parts.train.x.astype(np.float64), self.parts.train.y
        logits = x @ model["w"].astype(np.float64).T + model["b"]
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        error = odds / odds.sum(axis=1, keepdims=True)
        error[np.arange(len(y)), y] -= 1
        rate = self.settings.training.optimizer.learning_rate / len(y)
        x = x + dice.normal(0, 0.01, x.shape)      # the seed counts, as it does in torch's loop
        return {"w": (model["w"] - rate * (error.T @ x)).astype(np.float32),
                "b": (model["b"] - rate * error.sum(axis=0)).astype(np.float32)}

    def _load(self, path: Path) -> Weights:
        return {name: np.array(value) for name, value in weights.demand(path, self.layout).arrays().items()}

    def _save(self, checkpoint: Path, key: str, epoch: int, model: Weights) -> None:
        part, buffer = checkpoint.with_name(checkpoint.name + ".part"), io.BytesIO()
        np.savez(buffer, key=np.array(key), epoch=np.array(epoch), **model)
        try:
            part.write_bytes(buffer.getbuffer())
            with passing(Boundary.CHILD_CHECKPOINT):
                part.replace(checkpoint)
        finally:
            part.unlink(missing_ok=True)

    def _resumed(self, checkpoint: Path | None, key: str) -> tuple[int, Weights] | None:
        if checkpoint is None or not checkpoint.exists():
            return None
        with np.load(checkpoint) as saved:
            if str(saved["key"]) != key:
                return None
            return int(saved["epoch"]), {"w": saved["w"], "b": saved["b"]}
