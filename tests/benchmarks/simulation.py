"""How fast whole federations are simulated: `python -m tests.benchmarks.simulation` prints one line.

The aim is 600 seeds a minute of processor time on one core; exit code 1 if it is missed.
"""

from __future__ import annotations

import sys
from time import process_time

from tests.simulation.run import explain, failures

SEEDS = range(200)
AIM = 600


def main() -> int:
    began = process_time()
    broken = list(failures(SEEDS))
    a_minute = 60 * len(SEEDS) / (process_time() - began)
    for result in broken:
        sys.stderr.write(f"{explain(result)}\n")
    sys.stdout.write(f"simulation: {a_minute:,.0f} seeds a minute of a core, over {len(SEEDS)}; CPU time, aim {AIM}\n")
    return int(bool(broken) or a_minute < AIM)


if __name__ == "__main__":
    sys.exit(main())
