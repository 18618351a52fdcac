"""The shapes in which a user's data may come: (X, y) tensors, a map-style Dataset, or a DataLoader.

Owns recognising them and making `Samples` of them; all but tensors go through torch's own loader.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from agents.learning.failure import Failure
from agents.learning.partition import Indices
from agents.learning.samples import Batch, Samples, TensorSamples, as_labels, full_steps


@dataclass(frozen=True, slots=True)
class DatasetSamples:
    """A map-style torch Dataset of (x, y) pairs."""

    raw: Dataset[Any]

    @property
    def size(self) -> int:
        return len(self.raw)  # type: ignore[arg-type]

    def shuffled(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        order = torch.randperm(self.size, generator=generator).tolist()
        groups = [order[step * batch_size : (step + 1) * batch_size] for step in range(self.steps(batch_size))]
        return iter(DataLoader(self.raw, batch_sampler=groups))

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        return iter(DataLoader(self.raw, batch_size=batch_size))

    def steps(self, batch_size: int) -> int:
        return full_steps(self.size, batch_size)

    def labels(self) -> NDArray[np.int64] | None:
        if isinstance(self.raw, Subset):
            labels = DatasetSamples(self.raw.dataset).labels()
            return None if labels is None else labels[np.asarray(self.raw.indices)]
        return as_labels(getattr(self.raw, "targets", getattr(self.raw, "labels", None)))

    def subset(self, chosen: Indices) -> "DatasetSamples":
        return DatasetSamples(Subset(self.raw, chosen.tolist()))

    def head(self, count: int) -> "DatasetSamples":
        return self.subset(np.arange(min(count, self.size)))


@dataclass(frozen=True, slots=True)
class LoaderSamples:
    """A DataLoader with the user's own batch size, order and workers."""

    raw: DataLoader[Any]
    size: int

    def shuffled(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        own = getattr(self.raw, "generator", None)
        if own is not None:
            own.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        return iter(self.raw)

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        return iter(self.raw)

    def steps(self, batch_size: int) -> int:
        try:
            return len(self.raw)
        except TypeError:
            return -(-self.size // batch_size)

    def labels(self) -> NDArray[np.int64] | None:
        return None

    def subset(self, chosen: Indices) -> "DatasetSamples":
        dataset = self.raw.dataset
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise Failure(
                "data",
                "a DataLoader over an iterable dataset cannot be partitioned",
                "return tensors or a map-style Dataset, or drop the partition",
            )
        return DatasetSamples(Subset(dataset, chosen.tolist()))

    def head(self, count: int) -> "LoaderSamples":
        dataset = self.raw.dataset
        if hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__"):
            size = min(count, len(dataset))
            return LoaderSamples(
                DataLoader(
                    Subset(dataset, range(size)),
                    batch_size=self.raw.batch_size or 1,
                    collate_fn=self.raw.collate_fn,
                ),
                size,
            )
        first = next(iter(self.raw))
        return LoaderSamples(DataLoader(_Once(first), batch_size=None), len(first[1]))


class _Once(IterableDataset[Any]):
    """A stream of a single batch."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def __iter__(self) -> Iterator[Any]:
        return iter([self._batch])


def samples_of(given: Any, name: str) -> Samples:
    """Whatever load_data returned as its `name` part. Raises `Failure("data")` for nothing usable or nothing
    at all."""
    samples = _recognised(given, name)
    if samples.size == 0:
        raise Failure("data", f"the {name} part of the data is empty", "check load_data and the data directory")
    return samples


def _recognised(given: Any, name: str) -> Samples:
    if isinstance(given, DataLoader):
        return LoaderSamples(given, _count(given))
    if isinstance(given, TensorDataset) and len(given.tensors) == 2:
        given = given.tensors
    if (
        isinstance(given, tuple | list)
        and len(given) == 2
        and all(isinstance(part, Tensor | np.ndarray) for part in given)
    ):
        x, y = (torch.as_tensor(part) for part in given)
        if x.dim() == 0 or y.dim() == 0 or len(x) != len(y):
            raise Failure(
                "data",
                f"the {name} part has X of shape {tuple(x.shape)} and y of shape {tuple(y.shape)}",
                "X and y need the same first dimension",
            )
        return TensorSamples(x.float() if x.dtype == torch.float64 else x, y)
    if isinstance(given, Dataset) and hasattr(given, "__len__") and hasattr(given, "__getitem__"):
        return DatasetSamples(given)
    raise Failure(
        "data",
        f"load_data's {name} part is a {type(given).__name__}",
        "return (X, y) tensors, a map-style torch Dataset or a DataLoader",
    )


def _count(loader: DataLoader[Any]) -> int:
    if hasattr(loader.dataset, "__len__"):
        return len(loader.dataset)
    return sum(len(y) for _, y in loader)


def all_labels(samples: Samples) -> NDArray[np.int64]:
    """Every label, even if each sample must be decoded for it."""
    known = samples.labels()
    if known is not None:
        return known
    return np.concatenate([np.asarray(y).reshape(-1).astype(np.int64) for _, y in samples.in_order(256)])
