"""Between a torch module and its canonical bytes. Owns names, types and copying; what is in a file was judged
by `weights` before."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agents.learning import weights
from agents.learning.failure import Failure
from agents.learning.layout import Layout, layout_of

_TYPES = {torch.int64: "I64", torch.float32: "F32", torch.uint8: "U8", torch.bool: "BOOL"}


def layout(model: nn.Module) -> Layout:
    """The canonical layout of the module's state. Raises `Failure("task")` if a tensor's name or type is not
    allowed."""
    specs: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise _unfit(f"{name!r} in its state_dict is a {type(value).__name__}, not a tensor")
        specs[name] = (_TYPES.get(value.dtype, str(value.dtype).removeprefix("torch.")), tuple(value.shape))
    if not any(dtype == "F32" for dtype, _ in specs.values()):
        raise _unfit("it has no float32 tensor to train")
    try:
        return layout_of(specs)
    except ValueError as error:
        raise _unfit(str(error)) from error


def _unfit(why: str) -> Failure:
    return Failure(
        "task",
        f"build_model gave a network that cannot be exchanged: {why}",
        "use float32 parameters and plain names",
    )


def save(model: nn.Module, path: Path) -> tuple[str, int]:
    """Writes the module's state in canonical form; returns (SHA-256 as hex, bytes). Raises `Failure("task")`
    for a value that is not finite."""
    place, values = layout(model), model.state_dict()
    arrays = {tensor.name: _array(values[tensor.name]) for tensor in place.tensors}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise Failure(
                "task",
                f"training diverged: {name} holds a value that is not finite",
                "lower the learning rate",
            )
    return weights.write(path, place, (arrays[tensor.name] for tensor in place.tensors))


def _array(tensor: Tensor) -> NDArray[Any]:
    return np.ascontiguousarray(tensor.detach().cpu().contiguous().numpy())


def load(model: nn.Module, path: Path) -> None:
    """Copies a file into the module. Raises `Failure("model")` unless V4 holds against the module's own
    layout."""
    place = layout(model)
    arrays = weights.demand(path, place).arrays()
    model.load_state_dict({tensor.name: torch.from_numpy(np.array(arrays[tensor.name])) for tensor in place.tensors})
