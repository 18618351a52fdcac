"""Aggregating five models of 1,663,370 parameters, from files to a file, beside plain numpy in memory.

    python -m tests.benchmarks.aggregation

Judged is the median ratio of neighbouring runs: at most 2.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.learning import weights
from agents.learning.aggregate import aggregate
from tests.benchmarks.limits import Figure, judge

SHAPES = {
    "conv1.weight": (32, 1, 5, 5),
    "conv1.bias": (32,),
    "conv2.weight": (64, 32, 5, 5),
    "conv2.bias": (64,),
    "fc1.weight": (512, 3136),
    "fc1.bias": (512,),
    "fc2.weight": (10, 512),
    "fc2.bias": (10,),
}

Model = dict[str, NDArray[Any]]


def clipped_mean(base: Model, models: Sequence[Model]) -> Model:
    """The same rule as one would write it, all in memory, with numpy's own sums."""
    steps = [{name: model[name].astype(np.float64) - base[name] for name in base} for model in models]
    norms = [float(np.sqrt(sum((part * part).sum() for part in step.values()))) for step in steps]
    limit = 2.0 * sorted(norms)[(len(norms) - 1) // 2]
    made: Model = {}
    for name, ground in base.items():
        total = np.zeros(ground.shape)
        for step, norm in zip(steps, norms, strict=True):
            total += step[name] if norm <= limit else step[name] * (limit / norm)
        made[name] = (ground + total / len(steps)).astype(np.float32)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args(arguments)
    rng = np.random.RandomState(0)
    base: Model = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
    models: list[Model] = [
        {name: value + 0.01 * rng.standard_normal(value.shape).astype(np.float32) for name, value in base.items()}
        for _ in range(options.models)
    ]
    ours: list[float] = []
    plain: list[float] = []
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        weights.write_arrays(folder / "base", base)
        files = {index: folder / str(index) for index in range(len(models))}
        for index, model in enumerate(models):
            weights.write_arrays(files[index], model)
        for _ in range(options.rounds + 1):
            start = time.perf_counter()
            clipped_mean(base, models)
            middle = time.perf_counter()
            aggregate(folder / "base", files, folder / "out", "clipped-mean")
            plain.append(middle - start)
            ours.append(time.perf_counter() - middle)
    ratio = statistics.median(mine / theirs for mine, theirs in zip(ours[1:], plain[1:], strict=True))
    return judge(
        "aggregation",
        [Figure("ratio", ratio, 2)],
        f"{statistics.median(ours[1:]) * 1e3:.0f} ms for {options.models} models, files, checks and hash included; "
        f"plain numpy {statistics.median(plain[1:]) * 1e3:.0f} ms",
    )


if __name__ == "__main__":
    raise SystemExit(main())
