"""An agent's start on a long log: the daemon's own loop in a process of its own, judged by CPU time, loosely."""

from __future__ import annotations

from tests.benchmarks.start import MEMBER, start


def test_a_long_log_starts_an_agent_within_its_budget() -> None:
    """The aim is 3 s for 100,000 events on a quiet machine, imports included, which is 20 us an event; here 60 pass."""
    (cost,) = start(10_000, [MEMBER])
    assert (cost.folded, cost.wanted) == (10_000, 1), "it takes part in the last task, which still runs"
    assert cost.log_s < 10_000 * 60e-6
