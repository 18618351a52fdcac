"""Small models from integers alone, so that no generator's version moves a golden hash, and the usual setup request."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from agents.learning import weights

SHAPES: Mapping[str, tuple[int, ...]] = {"conv.weight": (4, 1, 3, 3), "fc.bias": (7,), "fc.weight": (7, 36)}

Arrays = dict[str, NDArray[Any]]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Threads that wait for each other on a busy machine make small tests slow."""
    torch.set_num_threads(1)


def pseudo_random(seed: int, count: int) -> NDArray[np.float64]:
    """Values in −0.5 … 0.5 with 32 bits each: Knuth's multiplicative hash, exact in every numpy."""
    index = np.arange(1, count + 1, dtype=np.uint64) + np.uint64(seed) * np.uint64(1_000_003)
    mixed = index * np.uint64(2654435761) % np.uint64(2**32)
    mixed = (mixed ^ (mixed >> np.uint64(15))) * np.uint64(2246822519) % np.uint64(2**32)
    return mixed.astype(np.float64) / 2.0**32 - 0.5


def arrays(seed: int, scale: float = 1.0, shapes: Mapping[str, tuple[int, ...]] = SHAPES) -> Arrays:
    made: Arrays = {}
    for number, (name, shape) in enumerate(shapes.items()):
        values = pseudo_random(seed * 100 + number, int(np.prod(shape)))
        made[name] = (values * scale).astype(np.float32).reshape(shape)
    made["steps"] = np.array(seed * 10, dtype=np.int64)
    return made


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Path]:
    """make_model(name, seed, scale, around=None) writes a model's file; `around` is added to it."""

    def make(name: str, seed: int, scale: float = 1.0, around: Arrays | None = None) -> Path:
        made = arrays(seed, scale)
        if around is not None:
            made = {k: (v + around[k] if k != "steps" else v) for k, v in made.items()}
        weights.write_arrays(tmp_path / name, made)
        return tmp_path / name

    return make


@pytest.fixture
def request_of() -> Callable[..., dict[str, Any]]:
    """A setup request for digits; keywords replace top-level keys."""

    def build(index: int = 0, of: int = 3, **changes: Any) -> dict[str, Any]:
        request: dict[str, Any] = {
            "task": {"id": "digits", "config": {}, "path": None, "sha256": None},
            "data": {"dir": None, "options": {}, "partition": {"kind": "iid", "index": index, "of": of, "seed": 1}},
            "training": {
                "local_epochs": 3,
                "batch_size": 16,
                "optimizer": {"name": "sgd", "learning_rate": "0.05", "momentum": "0.9", "weight_decay": "0"},
            },
            "scoring": {
                "data": "own",
                "weights": {"accuracy": 4, "precision": 2, "recall": 2, "consistency": 2},
                "common_path": None,
                "probe": None,
            },
            "aggregation": {"rule": "clipped-mean", "trim": 1},
            "classes": 10,
            "device": "cpu",
            "threads": 1,
        }
        return request | changes

    return build
