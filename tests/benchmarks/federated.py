"""A round of `bfl-agent demo --task mnist` beside a round of plain federated averaging of the same training.

    python -m tests.benchmarks.federated [--data-dir DIR] [--rounds 10]       DIR: MNIST's files; else $MNIST_DIR

Plain: three processes train bare loops from the mean of their last models, and the parent averages; no scoring, no
chain, no store. Half of its rounds run before the demo, half after it. Judged: a round of the demo, scoring included,
takes at most 1.15 times as long; its model is right on at least 98.5 % of the test images after round 1, and on 99.2 %
after round 10 if there are so many.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agents.learning import datasets
from agents.learning.models import McMahanCNN
from agents.learning.partition import HoldOut, Partition, hold_out, parts
from agents.learning.placement import Placement, choose
from agents.learning.samples import Scaling
from tests.benchmarks.limits import Figure, judge
from tests.benchmarks.round_overhead import round_seconds
from tests.benchmarks.training import bare_epoch

WORKERS, EPOCHS = 3, 3
LEAST_RIGHT = {1: 98.5, 10: 99.2}       # percent of the test images, by round


@dataclass(frozen=True)
class Site:
    """One worker's share of MNIST, as the demo deals it."""

    data_dir: Path
    index: int


def bare_share(site: Site) -> tuple[McMahanCNN, Tensor, Tensor, Placement]:
    """A model, this worker's training images and labels, and where they lie: without anything of ours around them."""
    torch.set_num_threads(1)
    found = datasets.load("mnist", site.data_dir, download=False)
    plan = Partition("iid", site.index, WORKERS, 0)
    own, _ = hold_out(parts(found.y[found.pool], plan)[site.index], HoldOut(), 0)
    chosen = found.pool[own]
    model = McMahanCNN()
    placement = choose(model, "cpu")
    placement.put(model)
    scaling = Scaling(torch.from_numpy(found.factor), torch.from_numpy(found.shift))
    x = placement.inputs(scaling.of(torch.from_numpy(found.x[chosen])))
    return model, x, torch.from_numpy(found.y[chosen]), placement


def train_for_ever(site: Site, pipe: Connection) -> None:
    """Answers every model with one trained from it; ends with the pipe."""
    model, x, y, placement = bare_share(site)
    pipe.send(len(y))
    while (state := pipe.recv()) is not None:
        model.load_state_dict(state)
        for _ in range(EPOCHS):
            bare_epoch(model, x, y, placement)
        pipe.send({name: value.clone() for name, value in model.state_dict().items()})


class PlainFedAvg:
    """Three training processes and the mean of what they send."""

    def __init__(self, data_dir: Path) -> None:
        context = get_context("spawn")
        ends = [context.Pipe() for _ in range(WORKERS)]
        self._pipes = [mine for mine, _ in ends]
        self._processes = [
            context.Process(target=train_for_ever, args=(Site(data_dir, index), theirs), daemon=True)
            for index, (_, theirs) in enumerate(ends)
        ]
        for process in self._processes:
            process.start()
        self.samples = [pipe.recv() for pipe in self._pipes]
        self._model: dict[str, Tensor] = McMahanCNN().state_dict()

    def round_s(self) -> float:
        """Seconds of one round."""
        began = time.perf_counter()
        for pipe in self._pipes:
            pipe.send(self._model)
        trained: list[dict[str, Tensor]] = [pipe.recv() for pipe in self._pipes]
        self._model = {name: torch.stack([state[name] for state in trained]).mean(0) for name in self._model}
        return time.perf_counter() - began

    def close(self) -> None:
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.send(None)
            process.join()


def plain_rounds(data_dir: Path, rounds: int) -> list[float]:
    plain = PlainFedAvg(data_dir)
    try:
        return [plain.round_s() for _ in range(rounds)]
    finally:
        plain.close()


def demo(data_dir: Path, rounds: int, keep: Path) -> dict[str, Any]:
    """`result.json` of a demo that was proven. Raises CalledProcessError."""
    command = [str(Path(sys.executable).with_name("bfl-agent")), "demo", "--task", "mnist", "--data-dir", str(data_dir),
               "--workers", str(WORKERS), "--rounds", str(rounds), "--keep", str(keep)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    result: dict[str, Any] = json.loads((keep / "result.json").read_text("utf-8"))
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("MNIST_DIR"))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--plain", type=int, default=2, help="plain rounds before the demo, and as many after it")
    options = parser.parse_args(arguments)
    if options.data_dir is None:
        sys.stdout.write("federated: not measured, for want of MNIST's files: name their directory in MNIST_DIR\n")
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        keep = Path(scratch) / "demo"
        plain = plain_rounds(options.data_dir, options.plain)
        result = demo(options.data_dir, options.rounds, keep)
        ours = list(round_seconds(keep).values())
        plain += plain_rounds(options.data_dir, options.plain)
    mine, theirs = statistics.median(ours), statistics.median(plain)
    accuracies = {entry["round"]: 100 * entry["accuracy"] for entry in result["rounds"]}
    right = [Figure(f"right after round {number}", accuracies[number], least, "%", at_least=True)
             for number, least in LEAST_RIGHT.items() if number in accuracies]
    told = f"{mine:.1f} s a round, plain federated averaging {theirs:.1f} s"
    return judge("federated", [Figure("ratio", mine / theirs, 1.15), *right], told)


if __name__ == "__main__":
    raise SystemExit(main())
