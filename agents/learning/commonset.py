"""The specification's common validation set as a file: canonical bytes with `x` (F32, as the network takes
it) and `y` (I64).

The requester's bytes are hostile as well: nothing is read before layout and values were checked.
"""

from pathlib import Path

import torch

from agents.learning import weights
from agents.learning.failure import Failure
from agents.learning.layout import read_layout
from agents.learning.samples import Samples, TensorSamples
from agents.learning.userdata import samples_of


def common_samples(path: Path, like: Samples) -> Samples:
    """The specification's common validation set: canonical bytes with `x` (F32, as the network takes it) and
    `y` (I64)."""
    layout = read_layout(path)
    if {t.name: t.dtype for t in layout.tensors} != {"x": "F32", "y": "I64"}:
        raise Failure(
            "data",
            "the common validation set does not hold exactly x (F32) and y (I64)",
            "the requester must publish another",
        )
    arrays = weights.demand(path, layout).arrays()
    x, y = torch.from_numpy(arrays["x"].copy()), torch.from_numpy(arrays["y"].copy())
    if isinstance(like, TensorSamples) and x.shape[1:] != like.x.shape[1:]:
        raise Failure(
            "data",
            f"the common validation set has samples of shape {tuple(x.shape[1:])}, mine {tuple(like.x.shape[1:])}",
            "the requester must publish another",
        )
    return samples_of((x, y), "common validation")


def write_common_set(samples: Samples, out: Path, count: int | None) -> tuple[str, int, int]:
    """Writes the first `count` samples of a fixed shuffle (all without it) as a common validation set;
    returns (SHA-256, bytes, samples)."""
    if not isinstance(samples, TensorSamples):
        raise Failure(
            "data",
            "only data given as tensors can be published as a common validation set",
            "return (X, y) tensors",
        )
    order = torch.randperm(samples.size, generator=torch.Generator().manual_seed(0))[:count]
    digest, size = weights.write_arrays(
        out, {"x": samples.inputs(order).float().cpu().numpy(), "y": samples.y[order].long().cpu().numpy()}
    )
    return digest, size, len(order)
