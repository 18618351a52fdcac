"""`python -m tests.simulation.run --seed S --trace`: replay a seed, look at it, shrink it; or run many.

Owns the command line. With `--plant NAME` the product has one of the bugs of `bugs`.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import islice

from tests.simulation.bugs import BUGS, planted
from tests.simulation.scenario import Scenario, scenario
from tests.simulation.shrink import shrink
from tests.simulation.simulation import Result, run

COLLECT_EVERY = 100


def failures(seeds: Iterable[int]) -> Iterator[Result]:
    """Runs the seeds; yields the results of those that broke something."""
    return (result for result in results(seeds) if result.broken)


def results(seeds: Iterable[int]) -> Iterator[Result]:
    """Runs the seeds, one after the other."""
    gc.freeze()       # what was imported stays anyway
    gc.disable()      # a run makes a hundred thousand small objects and keeps most of them until its end
    try:
        for count, seed in enumerate(seeds):
            yield run(scenario(seed))
            if count % COLLECT_EVERY == 0:
                gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()


def explain(result: Result) -> str:
    """What broke, in which scenario, and how to see it again."""
    s = result.scenario
    lines = [f"seed {s.seed} ({s.workers} workers, {s.rounds} rounds, {result.seconds:.0f} s, {result.phase}):"]
    lines += [f"  - {sentence}" for sentence in result.broken[:5]]
    return "\n".join([*lines, f"  again: python -m tests.simulation.run --seed {s.seed} --shrink --trace"])


def main() -> int:
    options = _options()
    guard: AbstractContextManager[None] = planted(options.plant) if options.plant else nullcontext()
    with guard:
        return _one(options) if options.seed is not None else _many(options)


def _one(options: argparse.Namespace) -> int:
    chosen = scenario(options.seed)
    if options.shrink and run(chosen).broken:
        chosen = shrink(chosen, lambda smaller: bool(run(smaller).broken))
    result = run(chosen, trace=options.trace)
    for line in result.trace:
        print(line)  # noqa: T201
    print(_shown(chosen))  # noqa: T201
    print(explain(result) if result.broken else f"nothing broke in {result.seconds:.0f} s, {result.phase}")  # noqa: T201
    return bool(result.broken)


def _many(options: argparse.Namespace) -> int:
    first, _, last = options.seeds.partition(":")
    seeds, broken, began = range(int(first), int(last)), 0, time.process_time()
    for result in islice(failures(seeds), options.most):
        broken += 1
        print(explain(result), flush=True)  # noqa: T201
    seconds = time.process_time() - began
    print(f"{broken} of {len(seeds)} seeds broke something; {60 * len(seeds) / seconds:.0f} seeds a minute of one core")  # noqa: T201
    return bool(broken)


def _shown(chosen: Scenario) -> str:
    setting = replace(chosen, faults=())
    return "\n".join([repr(setting), *map(str, chosen.faults)])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.run", description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seed", type=int, help="run this seed")
    what.add_argument("--seeds", metavar="A:B", help="run the seeds from A up to B")
    parser.add_argument("--trace", action="store_true", help="print everything that happens")
    parser.add_argument("--shrink", action="store_true", help="first leave out all faults that are not needed")
    parser.add_argument("--most", type=int, default=1000, help="stop after so many broken seeds")
    parser.add_argument("--plant", choices=sorted(BUGS), help="run the product with this bug")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
