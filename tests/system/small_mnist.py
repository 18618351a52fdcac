"""A small data set in MNIST's files, so that its network is trained in seconds and nothing is downloaded.

It is scikit-learn's handwritten digits, enlarged.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

HELD_BACK = 1_500      # from this one on, nobody trains on them


def write_mnist(folder: Path) -> None:
    """8 x 8 pixels of 0 to 16 become 28 x 28 of 0 to 255. Those to train on come twice, once a bit lower, for
    agents refuse to be judged on too few."""
    digits = load_digits()
    large = np.kron(digits.images, np.ones((3, 3))) / 16 * 255
    middle, low = (np.pad(large, ((0, 0), (above, 4 - above), (2, 2))) for above in (2, 4))
    folder.mkdir()
    write(folder, "train", np.concatenate([middle[:HELD_BACK], low[:HELD_BACK]]), np.tile(digits.target[:HELD_BACK], 2))
    write(folder, "t10k", middle[HELD_BACK:], digits.target[HELD_BACK:])


def write(folder: Path, part: str, images: NDArray[np.float64], labels: NDArray[np.int64]) -> None:
    for name, values in (("images-idx3", images), ("labels-idx1", labels)):
        header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4) for size in values.shape)
        (folder / f"{part}-{name}-ubyte").write_bytes(header + values.astype(np.uint8).tobytes())
