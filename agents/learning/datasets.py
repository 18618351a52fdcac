"""The built-in data sets as arrays: read from the operator's directory, downloaded by torchvision if they are
not there.

Owns finding, reading, checking and scaling; who gets which samples is `partition`'s.
"""

import fcntl
import gzip
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.learning import partition
from agents.learning.failure import Failure
from agents.learning.partition import Indices

CLASSES = 10
_DIGITS_TEST_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Images:
    """Images as stored, `x` [N, C, H, W], labels `y` [N] int64, and the test part that no worker trains on:
    `pool` and `test` are disjoint indices into both. A network is fed (x / top − mean) / std per channel,
    which is x·factor − shift."""

    x: NDArray[Any]
    y: NDArray[np.int64]
    pool: Indices
    test: Indices
    top: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def factor(self) -> NDArray[np.float32]:
        return np.array([1.0 / (self.top * s) for s in self.std], dtype=np.float32).reshape(1, -1, 1, 1)

    @property
    def shift(self) -> NDArray[np.float32]:
        return np.array([m / s for m, s in zip(self.mean, self.std, strict=True)], dtype=np.float32).reshape(
            1, -1, 1, 1
        )


def load(identifier: str, directory: Path | None, download: bool) -> Images:
    """Reads a built-in data set. Raises `Failure("data")` with what is missing or wrong and what to do."""
    images = READERS[identifier](directory, download)
    if len(images.x) != len(images.y) or len(images.y) == 0:
        raise _broken(identifier, f"it has {len(images.x)} images and {len(images.y)} labels")
    if images.y.min() < 0 or images.y.max() >= CLASSES:
        raise _broken(
            identifier,
            f"it has labels from {images.y.min()} to {images.y.max()}, where 0 to {CLASSES - 1} belong",
        )
    return images


def _broken(identifier: str, why: str) -> Failure:
    return Failure(
        "data",
        f"the data set {identifier} is not usable: {why}",
        "put the original files there, or give another --data-dir",
    )


def _digits(_directory: Path | None, _download: bool) -> Images:
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    bunch = load_digits()
    pool, test = partition.test_part(len(bunch.target), _DIGITS_TEST_SHARE)
    return Images(
        bunch.images[:, None].astype(np.uint8),
        bunch.target.astype(np.int64),
        pool,
        test,
        16.0,
        (0.0,),
        (1.0,),
    )


_IDX = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def _idx_images(identifier: str, folder: str, mean: float, std: float) -> Callable[[Path | None, bool], Images]:
    def read(directory: Path | None, download: bool) -> Images:
        root = _root(identifier, directory)
        places = (root, root / identifier, root / folder / "raw")
        found = _complete(places)
        if found is None:
            _fetch(identifier, root, download, [name for name in _IDX if not _either(places, name)], folder)
            found = _complete(places)
        if found is None:
            raise _broken(identifier, f"some of {', '.join(_IDX)} (.gz or not) are missing in {root}")
        train_x, train_y, test_x, test_y = (_read_idx(identifier, path) for path in found)
        if train_x.shape[1:] != (28, 28) or test_x.shape[1:] != (28, 28) or train_y.ndim != 1 or test_y.ndim != 1:
            raise _broken(identifier, f"its images are {train_x.shape[1:]} and {test_x.shape[1:]}, not 28 × 28")
        if len(train_x) != len(train_y) or len(test_x) != len(test_y):
            raise _broken(
                identifier,
                f"{len(train_x)} and {len(test_x)} images have {len(train_y)} and {len(test_y)} labels",
            )
        x, y = np.concatenate([train_x, test_x])[:, None], np.concatenate([train_y, test_y]).astype(np.int64)
        return Images(x, y, np.arange(len(train_y)), np.arange(len(train_y), len(y)), 255.0, (mean,), (std,))

    return read


def _root(identifier: str, directory: Path | None) -> Path:
    if directory is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bfl-agent" / "data"
        cache.mkdir(parents=True, exist_ok=True)
        return cache
    if not directory.is_dir():
        raise Failure("data", f"the data directory {directory} for {identifier} does not exist", "check --data-dir")
    return directory


def _either(places: Sequence[Path], name: str) -> Path | None:
    return next((p for place in places for p in (place / f"{name}.gz", place / name) if p.is_file()), None)


def _complete(places: Sequence[Path]) -> list[Path] | None:
    """All four files from one directory, since two data sets use the same names."""
    for place in places:
        found = [path for name in _IDX if (path := _either([place], name))]
        if len(found) == len(_IDX):
            return found
    return None


def _read_idx(identifier: str, path: Path) -> NDArray[np.uint8]:
    """An idx file: big-endian magic 0x0000080n, n dimensions of 4 bytes each, then uint8 values."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise _broken(identifier, f"{path} cannot be read: {error}") from error
    rank = data[3] if len(data) > 3 else 0
    if data[:3] != b"\0\0\x08" or rank not in (1, 3) or len(data) < 4 + 4 * rank:
        raise _broken(identifier, f"{path} is not an idx file")
    shape = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
    values = np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * rank)
    if values.size != int(np.prod([int(n) for n in shape], dtype=object)):
        raise _broken(identifier, f"{path} is truncated: {values.size} values for shape {shape}")
    return values.reshape(shape)


def _cifar10(directory: Path | None, download: bool) -> Images:
    root = _root("cifar10", directory)
    root = next((place for place in (root, root / "cifar10") if (place / "cifar-10-batches-py").is_dir()), root)
    if not (root / "cifar-10-batches-py").is_dir():
        _fetch("cifar10", root, download, ["cifar-10-batches-py"], "CIFAR10")
    from torchvision.datasets import CIFAR10  # type: ignore[import-untyped]

    try:
        train, test = CIFAR10(str(root), train=True), CIFAR10(str(root), train=False)
    except RuntimeError as error:
        raise _broken("cifar10", f"{root / 'cifar-10-batches-py'}: {error}") from error
    x = np.concatenate([train.data, test.data]).transpose(0, 3, 1, 2)
    y = np.array([*train.targets, *test.targets], dtype=np.int64)
    pool, held = np.arange(len(train.data)), np.arange(len(train.data), len(y))
    return Images(x, y, pool, held, 255.0, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


def _fetch(identifier: str, root: Path, download: bool, missing: Sequence[str], name: str) -> None:
    """torchvision's own download, by one process at a time; it checks the published checksums."""
    if not download:
        raise Failure(
            "data",
            f"the data set {identifier} is not in {root}: {', '.join(missing)} missing",
            "put the files there, or allow the download",
        )
    from torchvision import datasets  # type: ignore[import-untyped]

    with _locked(root / ".download.lock"):
        try:
            getattr(datasets, name)(str(root), download=True)
        except (OSError, RuntimeError) as error:
            raise Failure(
                "data",
                f"the data set {identifier} is not in {root} and could not be downloaded: {error}",
                "give the directory that holds its files with --data-dir, or repair the network",
            ) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


READERS: Mapping[str, Callable[[Path | None, bool], Images]] = {
    "digits": _digits,
    "mnist": _idx_images("mnist", "MNIST", 0.1307, 0.3081),
    "fashion-mnist": _idx_images("fashion-mnist", "FashionMNIST", 0.2860, 0.3530),
    "cifar10": _cifar10,
}
