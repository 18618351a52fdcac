"""The judge is strict: what it excuses is excused for its reason alone, and what must not happen is noticed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.core import worker
from bfl_events.schema import ScoresCommitted
from bfl_events.state import TaskState
from tests.simulation import verdicts
from tests.simulation.judge import Judge
from tests.simulation.network import Network
from tests.simulation.scenario import Fault, Scenario
from tests.simulation.simulation import run


def hiding(seconds: float) -> Scenario:
    """One of three models cannot be read from the moment it was published, for so long; scores are due after 13 s."""
    return Scenario(1, rounds=1, block_s=1.0, slow_txs=0.0, whole_event_path=False,
                    faults=(Fault(5.0, "store-hidden", (), seconds),))


def test_a_model_that_nobody_could_read_when_scoring_ended_is_fined_and_that_is_excused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond assumption (iv) of PROTOCOL 1."""
    assert run(hiding(14.0)).broken == []
    monkeypatch.setattr(verdicts, "_hidden", lambda *_: False)
    assert run(hiding(14.0)).broken == ["worker 2, which is honest, is fined for fault 1"]


def test_a_model_that_was_readable_again_in_time_must_not_be_fined(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(hiding(2.0)).broken == []
    monkeypatch.setattr(worker, "score_cut_off", lambda *_: 0.0)
    assert run(hiding(2.0)).broken == ["worker 2, which is honest, is fined for fault 1"]


def test_a_wei_from_nowhere_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Network.mine

    def mine(self: Network) -> None:
        self.head.state.balances["0x" + "77" * 20] += 1
        original(self)

    monkeypatch.setattr(Network, "mine", mine)
    broken = run(Scenario(1, rounds=1, slow_txs=0.0, whole_event_path=False)).broken
    assert any("1 wei more than the one before" in sentence for sentence in broken)


def test_a_second_row_for_the_same_models_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if everybody's scores were logged twice, differently."""
    original = Judge._check_row_commitment

    def twice(self: Judge, task: TaskState, event: ScoresCommitted) -> None:
        original(self, task, event)
        original(self, task, replace(event, commitment=bytes(32)))

    monkeypatch.setattr(Judge, "_check_row_commitment", twice)
    broken = run(Scenario(1, rounds=1, slow_txs=0.0, whole_event_path=False)).broken
    assert "worker 1 commits to other scores in attempt 1" in broken
