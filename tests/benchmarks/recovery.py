"""Recovery: from the start of a killed agent to its next useful act, over real agents killed at random.

    python -m tests.benchmarks.recovery [--kills 200] [--seed 0] [DIR…]      DIR: what soaks left; else demos are run

What counts is a life after a kill that reached its next useful act: the first work that begins or transaction that is
sent. An idle life, with nothing due at its first decision, counts with that decision, for there was nothing more useful
to do; the percentiles are told, and judged, once with and once without these. Left out are lives that were killed again
before their act, and those with the chain out of reach for a part of it ("troubled"; only soaks with more than kills
have them). Soaks run until so many lives count.

Judged on a quiet machine of two cores: at most 2 s (p50) and 5 s (p99), torch's import not counted, since the first act
never waits for it; no training does more than one epoch again. For machines that are not quiet, the time without
waiting for a processor that others had is told as well, and the processor time until the first decision.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from math import nan
from pathlib import Path
from typing import Any

from agents.demo.recovery import percentiles
from tests.benchmarks.limits import Figure, judge

Life = Mapping[str, Any]

LIMITS_S = {"p50": 2.0, "p99": 5.0}
TOLD = {"quiet_s": "next useful act without waiting for a processor", "resumed_s": "first decision",
        "cpu_s": "processor time until then"}
SECONDS_A_KILL = 3.0      # of agents, by the plan of faults


def soak(directory: Path, seed: int, kills: int) -> None:
    minutes = max(0.5, kills * SECONDS_A_KILL / 60)
    program = [sys.executable, "-c", "from agents.cli import main; main()", "demo", "--chaos", "kill"]
    command = [*program, "--seed", str(seed), "--minutes", f"{minutes:.1f}", "--rounds", "10", "--keep", str(directory)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@dataclass(frozen=True)
class Lives:
    """Those after kills, as soaks wrote them down, and the most epochs that one training did again."""

    every: tuple[Life, ...] = ()
    epochs_repeated: int = 0

    def and_of(self, directory: Path) -> Lives:
        """Those of another soak too."""
        faults = json.loads((directory / "result.json").read_text("utf-8"))["faults"]
        return Lives((*self.every, *faults["recoveries"]), max(self.epochs_repeated, faults["epochs_repeated"]))

    @property
    def counted(self) -> list[Life]:
        return [life for life in self.every if life["useful_s"] is not None and not life["troubled"]]

    @property
    def busy(self) -> list[Life]:
        return [life for life in self.counted if not life["idle"]]

    def told(self) -> Iterator[str]:
        troubled = sum(1 for life in self.every if life["troubled"])
        counted, idle = len(self.counted), len(self.counted) - len(self.busy)
        again = len(self.every) - counted - troubled
        yield (f"{len(self.every)} lives after kills: {counted} count, {idle} of them idle; left out: {again} killed "
               f"again before their act, {troubled} with the chain out of reach")
        for name, words in TOLD.items():
            shares = percentiles(life[name] for life in self.counted)
            yield f"{words}: " + ", ".join(f"{share} {_seconds(shares[share])}" for share in LIMITS_S)

    def figures(self) -> Iterator[Figure]:
        for words, lives in (("next useful act", self.counted), ("the same without idle lives", self.busy)):
            shares = percentiles(life["useful_s"] for life in lives)
            for share, limit in LIMITS_S.items():
                found = shares[share]
                yield Figure(f"{words}, {share} of {len(lives)}", nan if found is None else found, limit, "s")
        yield Figure("epochs that a training did again", self.epochs_repeated, 1)


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f} s"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("soaks", nargs="*", type=Path)
    given = parser.parse_args()
    lives, seed = reduce(Lives.and_of, given.soaks, Lives()), given.seed
    while not given.soaks and len(lives.counted) < given.kills:
        with tempfile.TemporaryDirectory() as scratch:
            soak(Path(scratch) / "soak", seed, given.kills - len(lives.counted))
            lives = lives.and_of(Path(scratch) / "soak")
        seed += 1
    return judge("recovery", list(lives.figures()), *lives.told())


if __name__ == "__main__":
    raise SystemExit(main())
