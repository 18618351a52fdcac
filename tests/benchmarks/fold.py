"""How fast logs are folded: `python -m tests.benchmarks.fold` prints one line. The aim is 50,000 events a second."""

from __future__ import annotations

import sys
from random import Random
from time import process_time

from bfl_events.fold import fold
from bfl_events.schema import Record
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


def main() -> None:
    few, many = honest_log(workers=5, rounds=30), honest_log(workers=30, rounds=6)
    sys.stdout.write(f"fold: {events_a_second(few):,.0f} events/s with 5 workers and {len(few)} logs, "
                     f"{events_a_second(many):,.0f} with 30 and {len(many)}; CPU time, aim 50,000\n")


if __name__ == "__main__":
    main()
