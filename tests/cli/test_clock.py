"""Deadlines pass by the chain's clock: `doctor` compares this machine's with it, and commands go by it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from agents.cli.checks import State
from agents.cli.checks_chain import _clock
from bfl_events.rpc import ClientReport
from tests.anvil import create_task, deploy, start_anvil
from tests.cli.command import Operator

NOW = 1_700_000_000


def node(head_time: int, clock: int | None) -> ClientReport:
    """One whose newest block and whose next block have these times, in seconds from now."""
    return ClientReport("node", "", 1, 9, NOW + head_time, None if clock is None else NOW + clock)


@pytest.mark.parametrize(("nodes", "state", "words"), [
    ([node(-600, -1)], State.OK, "agrees with the chain's"),
    ([node(-600, None)], State.OK, "not behind the chain's"),
    ([node(0, 0), ClientReport("dead", trouble="dead")], State.OK, "agrees"),
    ([node(90, 91)], State.WARN, "91 s ahead of this machine's"),
    ([node(90, None)], State.WARN, "90 s ahead of this machine's"),
    ([node(-600, -90)], State.WARN, "90 s behind this machine's"),
    ([node(-600, 0), node(-600, -90)], State.WARN, "90 s behind this machine's"),
    ([node(3600, 0)], State.WARN, "blocks 3600 s older than its newest one"),
])
def test_a_clock_that_is_off_is_told_in_both_directions(
    nodes: list[ClientReport], state: State, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)
    found = _clock(nodes)
    assert (found.state, words in found.result) == (state, True), found
    assert bool(found.fix) == (state is State.WARN)


def test_a_node_tells_its_clock_while_it_makes_no_blocks_and_commands_go_by_it(tmp_path: Path) -> None:
    """Two hours behind this machine's, by which the hour for joining would be over."""
    operator = Operator(tmp_path / "home")
    with start_anvil(tmp_path, timestamp=int(time.time()) - 7200) as anvil:
        factory = deploy(anvil.url).factory
        task = create_task(anvil.url, factory, collateral=10**15)
        operator.ok("init", "--profile", "development", "--rpc", anvil.url, "--factory", factory)
        (found,) = [check for check in operator("doctor", "--json").json["checks"] if check["part"] == "clock"]
        assert operator.ok("task", "join", task.address, "--dry-run")["acceptable"]
    assert found["state"] == "WARN"
    assert "s behind this machine's" in found["result"]
