"""How fast logs are folded, by processor time: at least 50,000 events a second.

    python -m tests.benchmarks.fold
"""

from __future__ import annotations

from random import Random
from time import process_time

from bfl_events.fold import fold
from bfl_events.schema import Record
from tests.benchmarks.limits import Figure, judge
from tests.simulation.chain import ChainModel
from tests.simulation.play import Game, default_params


def honest_log(workers: int, rounds: int) -> list[Record]:
    """The logs of a task in which everybody does its duty."""
    terms = default_params(ChainModel().time, rounds=rounds, max_workers=workers, late_join=False)
    game = Game.create(Random(1), terms)
    game.play_honestly(workers)
    return game.model.chain.records


def events_a_second(records: list[Record], repeats: int = 5) -> float:
    """The best of a few runs."""
    best = float("inf")
    for _ in range(repeats):
        began = process_time()
        fold(records)
        best = min(best, process_time() - began)
    return len(records) / best


def main() -> int:
    logs = {workers: honest_log(workers, rounds) for workers, rounds in ((5, 30), (30, 6))}
    return judge("fold", [
        Figure(f"{workers} workers, {len(log):,} events:", events_a_second(log), 50_000, "events/s", at_least=True)
        for workers, log in logs.items()])


if __name__ == "__main__":
    raise SystemExit(main())
