"""Recovery: from the start of a killed agent to its next useful act, over real agents killed at random.

    python -m tests.benchmarks.recovery [--kills 200] [--seed 0] [DIR…]      DIR: what soaks left; else demos are run

The limits are 2 s (p50) and 5 s (p99) on a quiet machine of two cores, torch's import not counted: the first act never
waits for it. For machines that are not quiet, the time without waiting for a processor that others had is told as well,
and the processor time until the first decision.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agents.demo.recovery import percentiles

LIMITS_S = {"p50": 2.0, "p99": 5.0}
FIGURES = {"useful_s": "next useful act", "quiet_s": "without waiting for a processor", "resumed_s": "first decision",
           "cpu_s": "processor time until then"}
SECONDS_A_KILL = 3.0      # of agents, by the plan of faults


def soak(directory: Path, seed: int, kills: int) -> None:
    minutes = max(0.5, kills * SECONDS_A_KILL / 60)
    program = [sys.executable, "-c", "from agents.cli import main; main()", "demo", "--chaos", "kill"]
    command = [*program, "--seed", str(seed), "--minutes", f"{minutes:.1f}", "--rounds", "10", "--keep", str(directory)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def back(directory: Path) -> Iterator[dict[str, Any]]:
    """Every start after a kill whose agent lived to act, while it could reach the chain."""
    faults = json.loads((directory / "result.json").read_text("utf-8"))["faults"]
    yield from (one for one in faults["recoveries"] if one["useful_s"] is not None and not one["troubled"])


def shown(found: list[dict[str, Any]], name: str, share: str) -> str:
    value = percentiles(one[name] for one in found)[share]
    return "unknown" if value is None else f"{value:.2f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("soaks", nargs="*", type=Path)
    given = parser.parse_args()
    found = [one for directory in given.soaks for one in back(directory)]
    seed = given.seed
    while not given.soaks and len(found) < given.kills:
        with tempfile.TemporaryDirectory() as scratch:
            soak(Path(scratch) / "soak", seed, given.kills - len(found))
            found += back(Path(scratch) / "soak")
        seed += 1
    told = [f"{words} {', '.join(f'{share} {shown(found, name, share)}' for share in LIMITS_S)}"
            for name, words in FIGURES.items()]
    limits = " and ".join(f"{share} {limit:g} s" for share, limit in LIMITS_S.items())
    sys.stdout.write(f"recovery: {len(found)} kills; {'; '.join(told)} (limits on a quiet machine: {limits})\n")


if __name__ == "__main__":
    main()
