"""What the judge excuses, and that it is excused nowhere else: each excuse beside a run that comes close to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from bfl_events.source import Advance
from tests.simulation.faults import Disturbance, Loss
from tests.simulation.host import Host
from tests.simulation.judge import Judge
from tests.simulation.network import UNTOUCHABLE, Pooled
from tests.simulation.scenario import Scenario
from tests.simulation.simulation import run
from tests.simulation.transactions import Tx

QUIET = Scenario(1, rounds=1, slow_txs=0.0, whole_event_path=False)
TASK = "0x" + "00" * 20
FROM_THE_START = ["worker 1 cut its log at block 1, but blocks [2, 3, 4, 5] stand as it knew them"]


# ---- a log that is read again because its owner doubts it -----------------------------------------------------------


def seen_at_block_5(monkeypatch: pytest.MonkeyPatch, act: Callable[[Judge, Host, Advance], None]) -> list[str]:
    """What breaks first in a quiet run in which this happens as soon as the first worker has read block 5."""
    original, done = Judge.advanced, list[Host]()

    def advanced(self: Judge, host: Host, advance: Advance) -> None:
        original(self, host, advance)
        if host.name == "worker 1" and advance.head.number == 5 and not done:
            done.append(host)
            act(self, host, advance)

    monkeypatch.setattr(Judge, "advanced", advanced)
    broken = run(QUIET).broken
    assert done
    return broken[:1]       # a run that broke something ends there, unfinished


def cut(judge: Judge, host: Host, advance: Advance, to: int) -> None:
    """As if this host's log had been cut there."""
    judge.advanced(host, Advance(advance.head, (), to))


def test_a_log_that_is_doubted_is_read_again_and_that_is_excused(monkeypatch: pytest.MonkeyPatch) -> None:
    def doubt(judge: Judge, host: Host, advance: Advance) -> None:
        assert host._source is not None
        host._source.distrust(TASK, "a log is missing")

    assert seen_at_block_5(monkeypatch, doubt) == []
    monkeypatch.undo()
    monkeypatch.setattr(Judge, "_doubt", lambda *_: None)
    assert seen_at_block_5(monkeypatch, doubt) == FROM_THE_START


def test_a_log_that_nobody_doubted_may_not_be_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    def act(judge: Judge, host: Host, advance: Advance) -> None:
        cut(judge, host, advance, UNTOUCHABLE)

    assert seen_at_block_5(monkeypatch, act) == FROM_THE_START


def test_a_doubted_log_is_read_again_from_where_its_task_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rewind to a later block is another one's, and has to have another reason."""
    def act(judge: Judge, host: Host, advance: Advance) -> None:
        judge.told(host, "distrusted", "a log is missing")
        cut(judge, host, advance, 4)

    assert seen_at_block_5(monkeypatch, act) == [
        "worker 1 cut its log at block 4, but blocks [5] stand as it knew them"]


def test_a_doubt_excuses_one_rewind(monkeypatch: pytest.MonkeyPatch) -> None:
    def act(judge: Judge, host: Host, advance: Advance) -> None:
        judge.told(host, "distrusted", "a log is missing")
        cut(judge, host, advance, UNTOUCHABLE)
        assert judge.broken == []
        cut(judge, host, advance, UNTOUCHABLE)

    assert seen_at_block_5(monkeypatch, act) == [
        "worker 1 cut its log at block 1, but blocks [5] stand as it knew them"]


def test_a_doubt_excuses_nobody_else_and_dies_with_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def anothers(judge: Judge, host: Host, advance: Advance) -> None:
        judge.told(judge.hosts[2], "distrusted", "a log is missing")
        cut(judge, host, advance, UNTOUCHABLE)

    def of_an_earlier_life(judge: Judge, host: Host, advance: Advance) -> None:
        def live_again() -> None:
            host.start()
            cut(judge, host, advance, UNTOUCHABLE)

        judge.told(host, "distrusted", "a log is missing")
        host.kill()
        asyncio.get_running_loop().call_later(0.1, live_again)

    for act in (anothers, of_an_earlier_life):
        assert seen_at_block_5(monkeypatch, act) == FROM_THE_START
        monkeypatch.undo()


# ---- a gap below the nonces that an outbox still knows ---------------------------------------------------------------


def with_a_gap(monkeypatch: pytest.MonkeyPatch, *, forgot: bool, after: Disturbance | None) -> list[str]:
    """A quiet run at whose end the first worker has a transaction in the pool that waits for another one. `forgot`: it
    lost its outbox; `after` has happened before, with times in seconds from that end."""
    original = Judge.finish

    def finish(self: Judge, *, over: bool) -> None:
        network, host = self.network, self.hosts[1]
        nonce = network.head.state.nonces[host.address] + 1
        network.pool[host.address, nonce] = Pooled(Tx(b"", host.address, nonce, TASK, b"", 0, 0, 0, 0), 0.0)
        if forgot:
            self.faults.losses.append(Loss(1, "outbox", 0.0, 0.0))
        if after is not None:
            end = network.now() - network.epoch
            self.faults.disturbances.append(replace(after, since=end + after.since, until=end + after.until))
        original(self, over=over)

    monkeypatch.setattr(Judge, "finish", finish)
    return run(QUIET).broken


def undone(seconds_ago: float) -> Disturbance:
    return Disturbance(None, -seconds_ago - 5, -seconds_ago, "undone")


def test_an_outbox_that_was_lost_may_leave_a_gap_for_eighteen_seconds_after_a_reorg(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert with_a_gap(monkeypatch, forgot=True, after=undone(17)) == []


@pytest.mark.parametrize(("forgot", "after"), [
    pytest.param(True, undone(19), id="the-reorg-is-too-long-ago"),
    pytest.param(True, None, id="there-was-no-reorg"),
    pytest.param(True, Disturbance(None, -5, -1, "pool"), id="something-else-happened"),
    pytest.param(False, undone(1), id="nothing-was-lost"),
])
def test_any_other_gap_is_noticed(monkeypatch: pytest.MonkeyPatch, *, forgot: bool, after: Disturbance | None) -> None:
    [sentence] = with_a_gap(monkeypatch, forgot=forgot, after=after)
    assert sentence.startswith("worker 1 has nonces")
    assert sentence.endswith("is missing")
