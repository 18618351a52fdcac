"""From a failing scenario to a small one that still fails: fewer faults by bisection, then a plainer setting.

Owns the search only. A scenario is failing if any invariant is broken in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.simulation.scenario import Fault, Scenario

Fails = Callable[[Scenario], bool]


def shrink(failing: Scenario, fails: Fails) -> Scenario:
    """A smaller scenario that fails too; the same one if nothing can be left out."""
    smaller = replace(failing, faults=_fewest(failing, fails))
    for plainer in _settings(smaller):
        if fails(plainer(smaller)):
            smaller = plainer(smaller)
    return replace(smaller, faults=_fewest(smaller, fails))


def _fewest(scenario: Scenario, fails: Fails) -> tuple[Fault, ...]:
    """Delta debugging (Zeller): leave out ever smaller pieces until each remaining fault is needed."""
    faults, pieces = list(scenario.faults), 2
    while faults:
        size = max(1, len(faults) // pieces)
        for start in range(0, len(faults), size):
            rest = faults[:start] + faults[start + size:]
            if fails(replace(scenario, faults=tuple(rest))):
                faults, pieces = rest, max(pieces - 1, 2)
                break
        else:
            if size == 1:
                break
            pieces = min(2 * pieces, len(faults))
    return tuple(faults)


def _settings(scenario: Scenario) -> Iterator[Callable[[Scenario], Scenario]]:
    yield lambda s: replace(s, skews=())
    yield lambda s: replace(s, slow_txs=0.0)
    yield lambda s: replace(s, mute=0)
    yield lambda s: replace(s, late_s=0.0)
    yield lambda s: replace(s, confirmations=0)
    yield lambda s: replace(s, block_s=0.0)
    yield lambda s: replace(s, rounds=2)
    if all(who < 4 for fault in scenario.faults for who in fault.who):
        yield lambda s: replace(s, workers=3)
    yield lambda s: replace(s, whole_event_path=False)
