"""Users' data in each of its shapes."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from agents.learning.failure import Failure
from agents.learning.samples import Scaling, TensorSamples
from agents.learning.userdata import DatasetSamples, LoaderSamples, all_labels, samples_of

X, Y = torch.arange(66.0).reshape(33, 2), torch.arange(33) % 3


class Plain(Dataset[Any]):
    def __len__(self) -> int:
        return 33

    def __getitem__(self, index: int) -> Any:
        return X[index], int(Y[index])


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter([(X[i], int(Y[i])) for i in range(33)])


def test_dataset_kinds() -> None:
    assert isinstance(samples_of((X, Y), "train"), TensorSamples)
    assert isinstance(samples_of([X.numpy(), Y.numpy()], "train"), TensorSamples)
    assert isinstance(samples_of(TensorDataset(X, Y), "train"), TensorSamples)
    assert isinstance(samples_of(Plain(), "train"), DatasetSamples)
    assert isinstance(samples_of(DataLoader(Plain()), "train"), LoaderSamples)


SHAPES = [(X, Y), Plain(), DataLoader(Plain(), batch_size=8, shuffle=True), DataLoader(Stream(), batch_size=8)]


@pytest.mark.parametrize("given", SHAPES, ids=["tensors", "dataset", "loader", "stream"])
def test_every_shape_gives_all_samples(given: Any) -> None:
    samples = samples_of(given, "train")
    assert samples.size == 33
    seen = torch.cat([x for x, _ in samples.shuffled(8, torch.Generator().manual_seed(1))])
    if not isinstance(samples, LoaderSamples):
        assert samples.steps(8) == 4  # the last batch would hold one sample
        assert len(seen) == 32
        assert not torch.equal(seen, X[:32])
    else:
        assert samples.steps(8) == 5
    assert len({tuple(row) for row in seen.tolist()}) == len(seen)
    assert sorted(all_labels(samples).tolist()) == sorted(Y.tolist())


@pytest.mark.parametrize("given", SHAPES, ids=["tensors", "dataset", "loader", "stream"])
def test_the_head_has_the_same_shape(given: Any) -> None:
    samples = samples_of(given, "train")
    head = samples.head(8)
    assert type(head) is type(samples)
    assert head.size == 8
    assert sum(len(y) for _, y in head.in_order(8)) == 8


@pytest.mark.parametrize("given", SHAPES[:3], ids=["tensors", "dataset", "loader"])
def test_a_part_is_a_part(given: Any) -> None:
    part = samples_of(given, "train").subset(np.array([3, 5, 9]))
    assert part.size == 3
    assert torch.equal(next(part.in_order(10))[0], X[[3, 5, 9]])


def test_a_stream_has_no_parts() -> None:
    with pytest.raises(Failure, match="cannot be partitioned"):
        samples_of(DataLoader(Stream()), "train").subset(np.array([0]))


def test_the_same_seed_gives_the_same_order_even_to_a_loader_with_its_own_generator() -> None:
    samples = samples_of(DataLoader(Plain(), batch_size=8, shuffle=True, generator=torch.Generator()), "train")
    orders = [torch.cat([x for x, _ in samples.shuffled(8, torch.Generator().manual_seed(4))]) for _ in range(2)]
    assert torch.equal(*orders)


def test_labels_are_found_without_decoding_where_they_can_be() -> None:
    class WithTargets(Plain):
        targets = Y.tolist()

        def __getitem__(self, index: int) -> Any:
            raise AssertionError("nothing needs decoding")

    samples = samples_of(WithTargets(), "train")
    assert samples.labels() is not None
    part = samples.subset(np.array([4, 1])).labels()
    assert part is not None
    assert part.tolist() == [1, 1]


def test_float64_becomes_float32() -> None:
    samples = samples_of((X.double().numpy(), Y.numpy()), "train")
    assert isinstance(samples, TensorSamples)
    assert samples.x.dtype == torch.float32


def test_bytes_are_scaled_batch_by_batch() -> None:
    x = torch.arange(0, 240, dtype=torch.uint8).reshape(10, 2, 3, 4)
    scaling = Scaling(
        torch.tensor([1 / 255, 2 / 255]).reshape(1, 2, 1, 1), torch.tensor([0.5, 1.0]).reshape(1, 2, 1, 1)
    )
    samples = TensorSamples(x, torch.arange(10), scaling)
    wanted = torch.stack([x[:, 0] / 255 - 0.5, x[:, 1] / 127.5 - 1.0], dim=1)
    assert torch.allclose(torch.cat([b for b, _ in samples.in_order(4)]), wanted, atol=1e-6)
    assert torch.allclose(samples.subset(np.array([3, 1])).inputs(slice(None)), wanted[[3, 1]], atol=1e-6)
    placed = samples.head(6).placed(torch.device("cpu"), channels_last=True)
    b, y = next(placed.shuffled(6, torch.Generator().manual_seed(2)))
    assert torch.allclose(b, wanted[y], atol=1e-6)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ((X[:0], Y[:0]), "the train part of the data is empty"),
        ((X, Y[:-1]), r"X of shape \(33, 2\) and y of shape \(32,\)"),
        ((torch.tensor(1.0), torch.tensor(1)), r"X of shape \(\)"),
        (None, "train part is a NoneType"),
        ([1, 2], "train part is a list"),
        ("train.csv", "train part is a str"),
        (Stream(), "train part is a Stream"),
    ],
)
def test_nothing_usable_is_named(given: Any, why: str) -> None:
    with pytest.raises(Failure, match=why) as caught:
        samples_of(given, "train")
    assert caught.value.kind == "data"
