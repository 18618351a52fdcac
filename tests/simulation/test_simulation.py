"""Whole federations in virtual time: real agents, faults by seed, and nothing that must not happen ever does.

`BFL_SIMULATION_SEEDS` says how many seeds (default 2000: about 100 s on two cores). A seed that fails is replayed by
`python -m tests.simulation.run --seed S --shrink --trace`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.simulation.bugs import planted
from tests.simulation.run import explain, results
from tests.simulation.scenario import ENDPOINTS, Fault, Scenario, scenario
from tests.simulation.shrink import shrink
from tests.simulation.simulation import Result, run

PROMISED = 2000
SEEDS = int(os.environ.get("BFL_SIMULATION_SEEDS", PROMISED))
PROCESSES = min(os.cpu_count() or 1, 8)
CHUNKS = [range(first, min(first + 100, SEEDS)) for first in range(0, SEEDS, 100)]
LONGEST_WINDOW_S = 20
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Played:
    """What broke, seed by seed; how often an honest worker was called to act, and how often without any excuse."""

    broken: list[str]
    called: int
    strictly: int


def play(seeds: range) -> Played:
    broken, called, strictly = list[str](), 0, 0
    for result in results(seeds):
        broken += [explain(result)] if result.broken else []
        called += result.counts.get("called", 0)
        strictly += result.counts.get("called without excuse", 0)
    return Played(broken, called, strictly)


@pytest.fixture(scope="module")
def played() -> Iterator[dict[range, Future[Played]]]:
    """All seeds, on all cores."""
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        yield {seeds: pool.submit(play, seeds) for seeds in CHUNKS}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("seeds", CHUNKS, ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
def test_whatever_goes_wrong_every_promise_is_kept(seeds: range, played: dict[range, Future[Played]]) -> None:
    broken = played[seeds].result().broken
    assert not broken, "\n".join(broken)


def test_most_absences_would_have_no_excuse(played: dict[range, Future[Played]]) -> None:
    """Whatever goes wrong, an honest worker that did not act would be convicted, in two of three cases at least."""
    parts = [one.result() for one in played.values()]
    assert 3 * sum(part.strictly for part in parts) > 2 * sum(part.called for part in parts) > 0


@pytest.mark.parametrize("workers", [3, 5])
@pytest.mark.parametrize("block_s", [0.0, 1.0])
def test_a_quiet_run_costs_nobody_anything(workers: int, block_s: float) -> None:
    """No fault, so nothing is refused, reverted, tried twice or fined, on whichever kind of chain."""
    result = run(Scenario(1, workers, block_s=block_s, slow_txs=0.0))
    assert result.broken == []
    assert result.phase == "COMPLETED"
    assert not {"failed", "reverted", "vanished", "replaced", "void", "rewound"} & result.counts.keys()
    assert result.counts["signed"] == result.counts["mined"]


def test_a_seed_replays_to_the_byte() -> None:
    """In other processes with other hash seeds, whose sets iterate in another order, and after other runs."""
    script = "import sys; from tests.simulation.test_simulation import traced; print(traced(sys.argv[1:])[-1])"
    runs = [
        subprocess.run([sys.executable, "-c", script, *seeds], cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": dice},
                       capture_output=True, text=True, check=True, timeout=120).stdout
        for dice, seeds in (("1", ["20"]), ("2", ["16", "17", "18", "19", "20"]))
    ]
    assert runs[0] == runs[1]
    assert len(runs[0].strip()) == 64


def traced(seeds: Iterable[str]) -> list[str]:
    """For each seed, a digest of everything that happens in it."""
    return [sha256("\n".join(run(scenario(int(seed)), trace=True).trace).encode()).hexdigest() for seed in seeds]


def test_the_scenarios_cover_every_kind_of_fault() -> None:
    kinds = {fault.kind for seed in range(500) for fault in scenario(seed).faults}
    assert kinds >= {"kill", "kill-at", "forget", "dead", "cut", "slow", "child", "reorg", "fork", "fork-base",
                     "censor", "pool", "fee", "down", "hung", "lag", "forgetful", "liar", "swallow", "mute", "stale",
                     "store-down", "store-slow", "store-corrupt", "store-hidden", "store-lost"}
    assert any(max(scenario(seed).skews) < -LONGEST_WINDOW_S for seed in range(500)), "the chain's clock is ahead"
    assert any(min(scenario(seed).skews) > LONGEST_WINDOW_S for seed in range(500)), "and behind"


def test_an_endpoint_that_drops_all_it_takes_costs_nobody_anything() -> None:
    """For ever, and for whoever asks it first: without the other endpoint nine of ten such tasks find no workers."""
    for seed in range(10):
        dropping = Fault(0.1, "swallow", (seed % ENDPOINTS,), 1000.0)
        result = run(Scenario(seed, whole_event_path=False, slow_txs=0.0, faults=(dropping,)))
        assert (result.broken, result.phase) == ([], "COMPLETED")


def test_shrinking_leaves_what_is_needed() -> None:
    """Nobody takes out the money of the dead: one death is enough to show it, whatever else went wrong."""
    noise = (Fault(1.0, "kill", (1,), 0.3), Fault(4.0, "lag", (0,), 2.0, 2), Fault(9.0, "store-slow", (), 2.0, 1.0))
    failing = Scenario(1, skews=(0.5,) * 4, slow_txs=0.2, faults=(*noise, Fault(6.0, "dead", (2,))))
    with planted("nobody_helps_the_dead"):
        assert _broken(failing).broken
        smallest = shrink(failing, lambda smaller: bool(_broken(smaller).broken))
    assert [fault.kind for fault in smallest.faults] == ["dead"]
    assert smallest == replace(smallest, skews=(), slow_txs=0.0)


def _broken(case: Scenario) -> Result:
    return run(case)
