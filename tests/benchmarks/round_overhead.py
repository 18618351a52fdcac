"""Round overhead: RoundAdvanced(r) to RoundAdvanced(r + 1), less the slowest training and the slowest scoring.

    python -m tests.benchmarks.round_overhead [DIR]       DIR: what `bfl-agent demo --keep DIR` left

Without DIR a demo is run: on MNIST where $MNIST_DIR names its files, else on the digits. Times are the agents' own log
lines, in milliseconds. The limit is 0.5 s in the median.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from statistics import median

LIMIT_S = 0.5


def lines(directory: Path) -> Iterator[tuple[str, dict[str, object]]]:
    for path in sorted(directory.glob("worker-*/logs/agent.log")):
        for line in path.read_text("utf-8").splitlines():
            yield path.parent.parent.name, json.loads(line)


def overheads(directory: Path) -> list[float]:
    """Seconds, one for each round that another followed."""
    opened: dict[int, float] = {}
    slowest: dict[tuple[int, str], float] = {}
    for _, line in lines(directory):
        number = line.get("round")
        if line["event"] == "round.opened" and isinstance(number, int):
            moment = datetime.fromisoformat(str(line["ts"])).timestamp()
            opened[number] = min(moment, opened.get(number, moment))
        if line["event"] in ("train.completed", "score.completed") and isinstance(number, int):
            key = (number, str(line["event"]))
            slowest[key] = max(slowest.get(key, 0.0), float(str(line["seconds"])))
    return [
        opened[number + 1] - opened[number] - slowest[number, "train.completed"] - slowest[number, "score.completed"]
        for number in sorted(opened) if number + 1 in opened
    ]


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch) / "demo"
        if len(sys.argv) == 1:
            command = [str(Path(sys.executable).with_name("bfl-agent")), "demo", "--keep", str(directory)]
            if data_dir := os.environ.get("MNIST_DIR"):
                command += ["--task", "mnist", "--data-dir", data_dir]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        found = overheads(directory)
    shown = ", ".join(f"{seconds:.2f}" for seconds in found)
    sys.stdout.write(f"round overhead: median {median(found):.2f} s (limit {LIMIT_S} s); rounds: {shown}\n")


if __name__ == "__main__":
    main()
