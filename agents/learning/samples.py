"""What training and scoring need of data, and the fast path: tensors in memory.

Owns batches, counts and labels; the other shapes of users' data are `userdata`'s.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.learning.failure import Failure
from agents.learning.partition import Indices

Batch = tuple[Tensor, Tensor]


class Samples(Protocol):
    """`raw` is what a user's own train or evaluate receives: the object that load_data gave, or the part of
    it that is ours."""

    @property
    def raw(self) -> Any: ...

    @property
    def size(self) -> int: ...

    def shuffled(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """One epoch in random order. A last batch of one sample is left out, since batch normalisation cannot
        take it."""

    def in_order(self, batch_size: int) -> Iterator[Batch]: ...

    def steps(self, batch_size: int) -> int:
        """Batches in an epoch of `shuffled`."""

    def labels(self) -> NDArray[np.int64] | None:
        """All labels, if they can be had without decoding every sample."""

    def subset(self, chosen: Indices) -> "Samples": ...

    def head(self, count: int) -> "Samples":
        """The first `count` samples, in the same shape of data."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """Makes a network's input x·factor − shift of stored bytes, batch by batch: a fourth of float32's memory.
    Both have shape [1, C, 1, 1]."""

    factor: Tensor
    shift: Tensor

    def of(self, x: Tensor) -> Tensor:
        return x.to(torch.float32).mul_(self.factor).sub_(self.shift)

    def to(self, device: torch.device) -> "Scaling":
        return Scaling(self.factor.to(device), self.shift.to(device))


@dataclass(frozen=True, slots=True)
class TensorSamples:
    """`x` [N, ...] and `y` [N], both in memory; `scaling` is applied to each batch of `x`."""

    x: Tensor
    y: Tensor
    scaling: Scaling | None = None

    @property
    def raw(self) -> Batch:
        return self.x, self.y

    @property
    def size(self) -> int:
        return len(self.y)

    def inputs(self, chosen: Tensor | slice) -> Tensor:
        """The chosen samples as the network takes them."""
        x = self.x[chosen]
        return x if self.scaling is None else self.scaling.of(x)

    def shuffled(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        order = torch.randperm(self.size, generator=generator).to(self.x.device)
        for step in range(self.steps(batch_size)):
            chosen = order[step * batch_size : (step + 1) * batch_size]
            yield self.inputs(chosen), self.y[chosen]

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        for start in range(0, self.size, batch_size):
            chosen = slice(start, start + batch_size)
            yield self.inputs(chosen), self.y[chosen]

    def steps(self, batch_size: int) -> int:
        return full_steps(self.size, batch_size)

    def labels(self) -> NDArray[np.int64] | None:
        return as_labels(self.y)

    def subset(self, chosen: Indices) -> "TensorSamples":
        index = torch.from_numpy(chosen)
        return replace(self, x=self.x[index], y=self.y[index])

    def head(self, count: int) -> "TensorSamples":
        return replace(self, x=self.x[:count], y=self.y[:count])

    def placed(self, device: torch.device, channels_last: bool) -> "TensorSamples":
        """The same samples where and how the network wants them."""
        x = self.x.to(device)
        if channels_last and x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        return TensorSamples(x, self.y.to(device), None if self.scaling is None else self.scaling.to(device))


def full_steps(size: int, batch_size: int) -> int:
    """Batches in an epoch; a last batch of a single sample does not count."""
    steps = -(-size // batch_size)
    return steps - 1 if steps > 1 and size % batch_size == 1 else steps


def as_labels(given: Any) -> NDArray[np.int64] | None:
    """`given` as one class per sample, if that is what it is."""
    if not isinstance(given, Tensor | np.ndarray | Sequence) or len(given) == 0:
        return None
    labels = np.asarray(given)
    return labels.astype(np.int64) if labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer) else None


def class_labels(y: Tensor) -> Tensor:
    """A batch's labels as int64. Raises `Failure("data")` for labels that are no whole numbers."""
    if y.is_floating_point() or y.is_complex():
        raise Failure(
            "data",
            f"the labels have type {y.dtype}",
            "give y one whole number per sample, or define train and evaluate",
        )
    return y.to(torch.int64)
