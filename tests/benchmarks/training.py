"""The built-in training loop beside a bare one.

    python -m tests.benchmarks.training [--data-dir DIR]      DIR: MNIST's files; else $MNIST_DIR, else random images

Judged is the median ratio of neighbouring epochs: at most 1.1.
"""

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from agents.learning import datasets
from agents.learning.models import McMahanCNN
from agents.learning.placement import Placement, choose
from agents.learning.samples import Scaling, TensorSamples
from agents.learning.settings import Optimizer, Training
from agents.learning.train import Job, train
from tests.benchmarks.limits import Figure, judge

BATCH, RATE, MOMENTUM = 64, 0.02, 0.9


def images(directory: Path | None, count: int) -> TensorSamples:
    """`count` samples as the built-in task stores them."""
    if directory is None:
        generator = torch.Generator().manual_seed(0)
        x = torch.randint(0, 256, (count, 1, 28, 28), generator=generator, dtype=torch.uint8)
        scaling = Scaling(torch.full((1, 1, 1, 1), 1 / 255), torch.full((1, 1, 1, 1), 0.5))
        return TensorSamples(x, torch.randint(0, 10, (count,), generator=generator), scaling)
    found = datasets.load("mnist", directory, download=False)
    chosen = found.pool[:count]
    scaling = Scaling(torch.from_numpy(found.factor), torch.from_numpy(found.shift))
    return TensorSamples(torch.from_numpy(found.x[chosen]), torch.from_numpy(found.y[chosen]), scaling)


def bare_epoch(model: nn.Module, x: Tensor, y: Tensor, placement: Placement) -> None:
    """What one would write by hand for this one network on this one machine."""
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, fused=True)
    model.train()
    for chosen in torch.randperm(len(y)).split(BATCH):
        with torch.autocast("cpu", torch.bfloat16, enabled=placement.bf16):
            loss = functional.cross_entropy(model(x[chosen]), y[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def our_epoch(model: nn.Module, samples: TensorSamples, placement: Placement) -> None:
    terms = Training(1, BATCH, Optimizer("sgd", RATE, MOMENTUM, 0.0))
    train(model, samples, Job(terms, 10, 1, placement), lambda _: None)


def timed(samples: TensorSamples, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds per epoch, ours and bare in turn; the first of each only warms up."""
    ours, bare = McMahanCNN(), McMahanCNN()
    placement = choose(ours, "cpu")
    placement.put(bare)
    x = placement.inputs(samples.inputs(slice(None)))
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 1):
        start = time.perf_counter()
        our_epoch(ours, samples, placement)
        middle = time.perf_counter()
        bare_epoch(bare, x, samples.y, placement)
        took[0].append(middle - start)
        took[1].append(time.perf_counter() - middle)
    return took[0][1:], took[1][1:]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("MNIST_DIR"))
    parser.add_argument("--samples", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    ours, bare = timed(images(options.data_dir, options.samples), options.rounds)
    ratio = statistics.median(mine / theirs for mine, theirs in zip(ours, bare, strict=True))
    told = (f"{statistics.median(ours):.2f} s an epoch of {options.samples} images, bare loop "
            f"{statistics.median(bare):.2f} s")
    return judge("training", [Figure("ratio", ratio, 1.1)], told)


if __name__ == "__main__":
    raise SystemExit(main())
