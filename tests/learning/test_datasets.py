"""Built-in data sets: found wherever they lie, refused with a sentence where they are not what they should be."""

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.learning import datasets, task
from agents.learning.failure import Failure
from agents.learning.partition import Partition
from agents.learning.samples import TensorSamples

MNIST = Path(os.environ.get("MNIST_DIR") or Path(__file__).resolve().parents[3] / "shared" / "data" / "mnist")
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx(values: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def write(folder: Path, name: str, data: bytes, packed: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(data) if packed else data)


@pytest.fixture
def mnist_like() -> Callable[..., None]:
    """Writes 400 + 100 tiny images in MNIST's files."""

    def make(folder: Path, packed: bool = True, top: int = 9, **replaced: bytes) -> None:
        rng = np.random.RandomState(0)
        for prefix, count in (("train", 400), ("t10k", 100)):
            images = rng.randint(0, 256, (count, 28, 28)).astype(np.uint8)
            labels = (np.arange(count) % (top + 1)).astype(np.uint8)
            write(folder, f"{prefix}-images-idx3-ubyte", replaced.get(f"{prefix}_images", idx(images)), packed)
            write(folder, f"{prefix}-labels-idx1-ubyte", replaced.get(f"{prefix}_labels", idx(labels)), packed)

    return make


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("identifier", "folder"),
    [("mnist", "."), ("mnist", "mnist"), ("mnist", "MNIST/raw"), ("fashion-mnist", "FashionMNIST/raw")],
)
def test_the_original_files_are_found(
    identifier: str, folder: str, packed: bool, mnist_like: Any, tmp_path: Path
) -> None:
    mnist_like(tmp_path / folder, packed)
    images = datasets.load(identifier, tmp_path, download=False)
    assert images.x.shape == (500, 1, 28, 28)
    assert (len(images.pool), len(images.test)) == (400, 100)
    assert images.y.dtype == np.int64
    raw = images.x[images.pool[:50]]
    fed = raw * images.factor - images.shift
    assert fed.dtype == np.float32
    assert np.allclose(fed, (raw / 255.0 - images.mean[0]) / images.std[0], atol=1e-6)


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="nowhere for mnist does not exist") as caught:
        datasets.load("mnist", tmp_path / "nowhere", download=True)
    assert (caught.value.kind, caught.value.do) == ("data", "check --data-dir")


def test_missing_files_are_named(mnist_like: Any, tmp_path: Path) -> None:
    mnist_like(tmp_path)
    (tmp_path / f"{FILES[1]}.gz").unlink()
    with pytest.raises(Failure, match=r"train-labels-idx1-ubyte missing"):
        datasets.load("mnist", tmp_path, download=False)


def test_a_download_that_fails_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(Failure, match="could not be downloaded") as caught:
        datasets.load("mnist", tmp_path, download=True)
    assert "--data-dir" in caught.value.do


def test_cifar10_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="cifar-10-batches-py missing"):
        datasets.load("cifar10", tmp_path, download=False)


def test_cifar10_that_is_not_whole_is_named(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(Failure, match="the data set cifar10 is not usable"):
        datasets.load("cifar10", tmp_path, download=False)


def test_cifar10_is_read_as_channels_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Double:
        def __init__(self, root: str, train: bool) -> None:
            self.data = np.zeros((30 if train else 10, 32, 32, 3), dtype=np.uint8)
            self.data[..., 0] = 255
            self.targets = [k % 10 for k in range(len(self.data))]

    monkeypatch.setattr("torchvision.datasets.CIFAR10", Double)
    (tmp_path / "cifar-10-batches-py").mkdir()
    images = datasets.load("cifar10", tmp_path, download=False)
    x = images.x[images.pool[:1]] * images.factor - images.shift
    assert x.shape == (1, 3, 32, 32)
    assert x[0, 0, 0, 0] == pytest.approx((1 - 0.4914) / 0.2470)
    assert x[0, 1, 0, 0] == pytest.approx(-0.4822 / 0.2435)


@pytest.mark.parametrize(
    ("replaced", "why"),
    [
        ({"train_labels": idx(np.full(400, 11, dtype=np.uint8))}, "labels from 0 to 11, where 0 to 9 belong"),
        ({"train_labels": idx(np.zeros(399, dtype=np.uint8))}, "400 and 100 images have 399 and 100 labels"),
        ({"train_images": idx(np.zeros((400, 8, 8), dtype=np.uint8))}, "not 28 × 28"),
        ({"train_images": idx(np.zeros((400, 28, 28), dtype=np.uint8))[:-1]}, "is truncated"),
        ({"train_images": b"\x80\x04\x95pickle"}, "is not an idx file"),
        ({"train_images": b""}, "is not an idx file"),
        ({"t10k_labels": idx(np.zeros((100, 1, 1), dtype=np.uint8))}, "is not usable"),
    ],
)
def test_other_data_under_the_same_names_is_refused(
    replaced: dict[str, bytes], why: str, mnist_like: Any, tmp_path: Path
) -> None:
    mnist_like(tmp_path, **replaced)
    with pytest.raises(Failure, match=why):
        datasets.load("mnist", tmp_path, download=False)


def test_a_torn_archive_is_refused(mnist_like: Any, tmp_path: Path) -> None:
    mnist_like(tmp_path)
    path = tmp_path / f"{FILES[0]}.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Failure, match="cannot be read"):
        datasets.load("mnist", tmp_path, download=False)


@pytest.mark.parametrize("kind", ["iid", "dirichlet", "shards", "size"])
def test_no_sample_of_digits_is_in_two_places(kind: Any) -> None:
    """Train and validation of every worker and the test part: each sample in at most one of them."""
    images = datasets.load("digits", None, download=False)
    assert (images.x.shape, len(images.test)) == ((1797, 1, 8, 8), 359)
    places: list[set[bytes]] = []
    digits = task.resolve("digits", {}, None)
    for index in range(3):
        plan = Partition(kind, index, 3, 7, alpha=1.0, labels_per_worker=4)
        parts = digits.load_data(None, {}, plan)
        for samples in (parts.train, parts.validation):
            assert isinstance(samples, TensorSamples)
            places.append({x.numpy().tobytes() for x in samples.x})
    assert parts.test is not None
    test = parts.test()
    assert isinstance(test, TensorSamples)
    places.append({x.numpy().tobytes() for x in test.x})
    assert len(set().union(*places)) == sum(len(place) for place in places) == 1797


@pytest.mark.skipif(not MNIST.is_dir(), reason="MNIST is not here: name the directory of its files in MNIST_DIR")
def test_the_real_mnist_is_read() -> None:
    images = datasets.load("mnist", MNIST, download=False)
    assert (len(images.pool), len(images.test)) == (60_000, 10_000)
    assert np.bincount(images.y[images.test]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
