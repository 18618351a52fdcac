"""The built-in training loop: federated averaging's local epochs by cross-entropy, deterministic by seed,
resumable bit for bit.

Every epoch seeds all generators anew from (seed, epoch), so a checkpoint needs no generator's state. Knows
nothing of rounds.
"""

import hashlib
import io
import pickle
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from agents.learning.failure import Failure
from agents.learning.placement import Placement
from agents.learning.samples import Samples, TensorSamples, class_labels
from agents.learning.settings import Optimizer, Training
from bfl_events.boundaries import Boundary, passing

Report = Callable[[Mapping[str, Any]], None]

_REPORT_EVERY = 2.0


@dataclass(frozen=True, slots=True)
class Job:
    """One local training: what to do it with and where. `fingerprint` names everything the result depends on;
    a checkpoint of another is not used. `stop()`: whether to end at the next checkpoint."""

    training: Training
    classes: int
    seed: int
    placement: Placement
    checkpoint: Path | None = None
    fingerprint: str = ""
    stop: Callable[[], bool] = bool


@dataclass(slots=True)
class Course:
    """What happened: mean loss of each epoch, and the Unix times at which this process's first optimiser step began and
    its last one ended."""

    losses: list[float] = field(default_factory=list)
    first_step_at: float = 0.0
    last_step_at: float = 0.0

    def step_begins(self) -> None:
        self.first_step_at = self.first_step_at or time.time()

    def step_ended(self) -> None:
        self.last_step_at = time.time()


def seed_everything(seed: int, *what: object) -> torch.Generator:
    """Seeds torch, numpy and random from (seed, what); returns a generator for the order of the samples."""
    number = int.from_bytes(hashlib.sha256(repr((seed, *what)).encode()).digest()[:8]) >> 1
    torch.manual_seed(number)
    random.seed(number)
    np.random.seed(number % 2**32)  # noqa: NPY002 - users' code may draw from the global generator
    return torch.Generator().manual_seed(number)


def train(model: nn.Module, samples: Samples, job: Job, report: Report) -> Course:
    """Trains `model` in place for all local epochs, going on from the checkpoint if it is of this very job.

    Reports {"epoch", "of", "loss", "step", "steps"} after each epoch and every two seconds within one, and
    {"checkpoint_ignored"} with the reason when it does not go on. Raises
    `Failure("task")` if the loss is no longer finite or the network's outputs do not fit the number of
    classes, `Failure("stopped")` once `job.stop()` holds and the checkpoint of a finished epoch is on disk.
    """
    job.placement.put(model)
    if isinstance(samples, TensorSamples):
        samples = samples.placed(job.placement.device, job.placement.channels_last)
    optimizer, losses = _resume(model, make_optimizer(model, job.training.optimizer), job, report)
    course = Course(losses)
    for epoch in range(len(course.losses), job.training.local_epochs):
        course.losses.append(_epoch(model, samples, job, optimizer, _Reporter(report, epoch, job, samples, course)))
        if epoch + 1 < job.training.local_epochs:
            _save(model, optimizer, job, course.losses)
            if job.checkpoint is not None and job.stop():
                raise Failure(
                    "stopped",
                    f"training was stopped after epoch {epoch + 1} of {job.training.local_epochs}, as asked",
                    "it goes on from its checkpoint",
                )
    return course


def forget_checkpoint(job: Job) -> None:
    """The trained model is on disk: its checkpoint has served."""
    if job.checkpoint is not None:
        with passing(Boundary.CHILD_FORGET):
            job.checkpoint.unlink(missing_ok=True)


def make_optimizer(model: nn.Module, terms: Optimizer) -> torch.optim.Optimizer:
    """The specification's optimiser, fused: one pass over the weights a step."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    betas = (terms.momentum or 0.9, 0.999)
    match terms.name:
        case "sgd":
            return torch.optim.SGD(
                parameters,
                lr=terms.learning_rate,
                momentum=terms.momentum,
                weight_decay=terms.weight_decay,
                fused=True,
            )
        case "adam" | "adamw":
            kind = torch.optim.Adam if terms.name == "adam" else torch.optim.AdamW
            return kind(parameters, lr=terms.learning_rate, betas=betas, weight_decay=terms.weight_decay, fused=True)


@dataclass(slots=True)
class _Reporter:
    report: Report
    epoch: int
    job: Job
    samples: Samples
    course: Course
    _next: float = field(default_factory=lambda: time.monotonic() + _REPORT_EVERY)

    def step(self, step: int, total: Tensor, seen: int) -> None:
        self.course.step_ended()
        if time.monotonic() >= self._next:
            self.tell(step, total, seen)

    def tell(self, step: int, total: Tensor, seen: int) -> float:
        """Reports and returns the mean loss so far."""
        self._next = time.monotonic() + _REPORT_EVERY
        epoch, mean = self.epoch + 1, float(total) / seen
        if not np.isfinite(mean):
            raise Failure("task", f"training diverged: the loss of epoch {epoch} is {mean}", "lower the learning rate")
        steps = max(step, self.samples.steps(self.job.training.batch_size))
        self.report({"epoch": epoch, "of": self.job.training.local_epochs, "loss": mean, "step": step, "steps": steps})
        return mean


def _epoch(
    model: nn.Module, samples: Samples, job: Job, optimizer: torch.optim.Optimizer, reporter: _Reporter
) -> float:
    """One pass over the samples; returns the mean loss."""
    generator = seed_everything(job.seed, "epoch", reporter.epoch)
    model.train()
    total, seen, step = torch.zeros((), device=job.placement.device), 0, 0
    for step, (x, y) in enumerate(samples.shuffled(job.training.batch_size, generator), start=1):
        reporter.course.step_begins()
        target = class_labels(y).to(job.placement.device)
        with job.placement.precision():
            loss = functional.cross_entropy(_logits(model, job.placement.inputs(x), job.classes), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.detach() * len(y)
        seen += len(y)
        reporter.step(step, total, seen)
    if step == 0:
        raise Failure("data", "the train part gave no batch at all", "check the DataLoader's drop_last and batch size")
    return reporter.tell(step, total, seen)


def _logits(model: nn.Module, x: Tensor, classes: int) -> Tensor:
    out: Tensor = model(x)
    if out.dim() != 2 or out.shape != (len(x), classes):
        raise Failure(
            "task",
            f"the network gives outputs of shape {tuple(out.shape)} for {len(x)} samples and {classes} classes",
            "correct build_model or the number of classes",
        )
    return out


def _save(model: nn.Module, optimizer: torch.optim.Optimizer, job: Job, losses: list[float]) -> None:
    if job.checkpoint is None:
        return
    part = job.checkpoint.with_name(job.checkpoint.name + ".part")
    try:
        # through memory: torch reports a full disk as a RuntimeError without its cause
        buffer = io.BytesIO()
        torch.save(
            {
                "fingerprint": job.fingerprint,
                "torch": str(torch.__version__),
                "losses": losses,
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
            },
            buffer,
        )
        part.write_bytes(buffer.getbuffer())
        with passing(Boundary.CHILD_CHECKPOINT):
            part.replace(job.checkpoint)
    finally:
        part.unlink(missing_ok=True)


def _resume(
    model: nn.Module, optimizer: torch.optim.Optimizer, job: Job, report: Report
) -> tuple[torch.optim.Optimizer, list[float]]:
    """The optimizer to go on with, and the losses of the epochs that need not be repeated. A checkpoint that cannot be
    used costs only the repetition, and a report {"checkpoint_ignored"} that says why."""
    if job.checkpoint is None or not job.checkpoint.is_file():
        return optimizer, []
    before = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        losses = _restore(model, optimizer, job)
    except (_Unusable, RuntimeError, OSError, EOFError, pickle.UnpicklingError, LookupError, ValueError, TypeError,
            AttributeError) as error:
        model.load_state_dict(before)
        first_line = (str(error) or type(error).__name__).partition("\n")[0]
        report({"checkpoint_ignored": f"{first_line}; training begins again"})
        return make_optimizer(model, job.training.optimizer), []
    return optimizer, losses


class _Unusable(Exception):
    """A checkpoint of something else."""


def _restore(model: nn.Module, optimizer: torch.optim.Optimizer, job: Job) -> list[float]:
    assert job.checkpoint is not None
    saved = torch.load(job.checkpoint, map_location=job.placement.device, weights_only=True)
    if saved["fingerprint"] != job.fingerprint:
        raise _Unusable("the checkpoint belongs to another training")
    if saved.get("torch") != str(torch.__version__):
        raise _Unusable(f"the checkpoint was written by torch {saved.get('torch')}, this is {torch.__version__}")
    losses = [float(loss) for loss in saved["losses"]]
    if not 0 < len(losses) < job.training.local_epochs:
        raise _Unusable(f"the checkpoint speaks of {len(losses)} epochs of {job.training.local_epochs}")
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    return losses
