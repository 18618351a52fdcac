"""Round overhead: RoundAdvanced(r) to RoundAdvanced(r + 1), less the slowest training and the slowest scoring.

    python -m tests.benchmarks.round_overhead [DIR]       DIR: what `bfl-agent demo --keep DIR` left

Without DIR a demo is run: on MNIST where $MNIST_DIR names its files, else on the digits. Times are the agents' own log
lines, in milliseconds. A training counts from the beginning of its first to the end of its last optimiser step: reading
and building the model, writing and hashing the result are overhead; a scoring counts as a whole. The limit is 0.5 s in
the median.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from agents.demo.telltale import Line, read_log, seconds_of
from tests.benchmarks.limits import Figure, judge


def lines(directory: Path) -> Iterator[Line]:
    """What all workers of a demo wrote down."""
    for path in sorted(directory.glob("worker-*/logs/agent.log")):
        yield from read_log(path)


def round_seconds(directory: Path) -> dict[int, float]:
    """From each `RoundAdvanced` to the next, as the first worker that saw it wrote them down, by round."""
    opened: dict[int, float] = {}
    for line in lines(directory):
        if line["event"] == "round.opened":
            opened[line["round"]] = min(seconds_of(line), opened.get(line["round"], math.inf))
    return {number: opened[number + 1] - opened[number] for number in sorted(opened) if number + 1 in opened}


def overheads(directory: Path) -> list[float]:
    """Seconds, one for each round that another followed."""
    training: dict[int, float] = {}
    scoring: dict[int, float] = {}
    for line in lines(directory):
        if line["event"] == "train.completed":
            took = line["last_step_at"] - line["first_step_at"]
            training[line["round"]] = max(took, training.get(line["round"], 0.0))
        if line["event"] == "score.completed":
            scoring[line["round"]] = max(line["seconds"], scoring.get(line["round"], 0.0))
    return [took - training[number] - scoring[number] for number, took in round_seconds(directory).items()]


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch) / "demo"
        if len(sys.argv) == 1:
            command = [str(Path(sys.executable).with_name("bfl-agent")), "demo", "--keep", str(directory)]
            if data_dir := os.environ.get("MNIST_DIR"):
                command += ["--task", "mnist", "--data-dir", data_dir]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        found = overheads(directory)
    shown = ", ".join(f"{seconds:.2f}" for seconds in found)
    return judge("round overhead", [Figure("median", median(found), 0.5, "s")], f"by round: {shown}")


if __name__ == "__main__":
    raise SystemExit(main())
