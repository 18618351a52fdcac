"""The demo while its parts are killed, frozen and interrupted: same proof, or a clean end."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.demo.processes import command_line
from bfl_events import schema as ev
from bfl_events.rules import Fault
from tests.system.demo_process import RunningDemo, alive, children, kill, running_demo
from tests.system.small_mnist import write_mnist

pytestmark = pytest.mark.demo
EVERYBODY = ("requester", "worker-1", "worker-2", "worker-3")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "demo"


def proven(demo: RunningDemo) -> None:
    """It says so, and the log shows no loss: one attempt a round, no wei taken, nobody absent, one base for all.

    A low score in the first round (fault 5, 0 wei) is what the luck of an untrained model's dice may bring.
    """
    assert demo.wait() == 0, demo.told()
    result = demo.result()
    assert result["ok"] is True, result["proof"]
    assert not demo.processes(), "somebody was left running"
    events = [record.event for record in demo.records()]
    assert not [event for event in events if isinstance(event, ev.DeadlineMissed)]
    fines = [event for event in events if isinstance(event, ev.WorkerPenalized)]
    assert not [fine for fine in fines if fine.amount or fine.reason != Fault.LOW]
    commits = [event for event in events if isinstance(event, ev.ModelCommitted)]
    for number in range(1, len(result["rounds"]) + 1):
        assert len({event.base_hash for event in commits if event.round == number}) == 1
        assert len({event.worker for event in commits if event.round == number}) == 3


def test_any_process_may_be_killed_in_the_middle_of_a_round(directory: Path) -> None:
    with running_demo(directory, "--rounds", "4") as demo:
        demo.until(lambda: demo.seen("worker-1", "train.started", round=1), "training began")
        kill(demo.agent("worker-1"))
        demo.until(lambda: demo.seen("worker-2", "train.started", round=2), "round 2 began")
        (child,) = children(demo.agent("worker-2"))
        kill(child)
        kill(demo.agent("requester"))
        demo.until(lambda: demo.seen("worker-3", "score.started", round=3), "scoring began in round 3")
        for pid in [demo.agent(name) for name in EVERYBODY]:
            kill(pid)
        proven(demo)
        restarts = {one["name"]: one["restarts"] for one in demo.result()["participants"]}
        assert restarts == {"requester": 2, "worker-1": 2, "worker-2": 1, "worker-3": 1}
        assert demo.result()["restarts"] == 6
        assert ", 6 restarts.\n" in demo.stdout.read_text()
        for line in ("requester died and was started again (2)", "worker-3 died and was started again (1)"):
            assert demo.stderr.read_text().count(line) == 1


def test_the_task_ends_while_the_supervisor_is_frozen(directory: Path, tmp_path: Path) -> None:
    """A task of `--task mnist --data-dir DIR`, whose network is forty times as large as the digits'."""
    write_mnist(tmp_path / "mnist")
    with running_demo(directory, "--rounds", "1", "--task", "mnist", "--data-dir", str(tmp_path / "mnist")) as demo:
        demo.until(lambda: all(demo.seen(name, "agent.started") for name in EVERYBODY), "all agents ran")
        demo.process.send_signal(signal.SIGSTOP)
        demo.until(lambda: all(demo.seen(name, "agent.stopped") for name in EVERYBODY), "the task ended without it")
        assert len(list((directory / "requester" / "results").glob("*.safetensors"))) == 1
        assert not (directory / "result.json").exists()
        demo.process.send_signal(signal.SIGCONT)
        proven(demo)
        result = demo.result()
        assert result["restarts"] == 0
        assert result["task"] == "mnist"
        assert result["final"]["accuracy"] > 0.2, "twice as good as guessing"
        model = (directory / "model.safetensors").read_bytes()
        header = json.loads(model[8:8 + int.from_bytes(model[:8], "little")])
        assert sum(math.prod(tensor["shape"]) for tensor in header.values()) == 1_663_370


@pytest.fixture
def interrupted_in_round_1(directory: Path) -> Iterator[RunningDemo]:
    with running_demo(directory) as demo:
        demo.until(lambda: demo.seen("worker-3", "train.started", round=1), "training began")
        yield demo


def stopped(demo: RunningDemo, everybody: list[int]) -> None:
    """It ends soon, says so, and nobody outlives it."""
    assert demo.wait(15) == 130
    assert demo.stderr.read_text().endswith("\nStopped by SIGINT. Nothing is left running.\n")
    assert "Traceback" not in demo.stderr.read_text()
    assert not [pid for pid in everybody if alive(pid)]
    assert not demo.processes()


def test_ctrl_c_in_the_middle_of_a_round_leaves_nothing_running(interrupted_in_round_1: RunningDemo) -> None:
    demo = interrupted_in_round_1
    everybody = demo.everybody()
    assert len(everybody) >= 1 + 1 + 4 + 3, "the supervisor, the chain, four agents, three learning children"
    demo.process.send_signal(signal.SIGINT)
    stopped(demo, everybody)
    assert demo.seen("worker-1", "agent.stopped"), "agents were asked to end, not killed"


def test_ctrl_c_during_the_set_up_leaves_nothing_running(directory: Path) -> None:
    with running_demo(directory) as demo:
        demo.until((directory / "worker-3" / "config.toml").exists, "homes were made")
        everybody = demo.everybody()
        demo.process.send_signal(signal.SIGINT)
        stopped(demo, everybody)


def test_an_agent_that_fails_for_good_ends_the_demo_and_is_named(directory: Path) -> None:
    with running_demo(directory) as demo:
        demo.until(lambda: all(demo.seen(name, "agent.started") for name in EVERYBODY), "all agents ran")
        everybody = demo.everybody()
        with (directory / "worker-2" / "config.toml").open("a") as file:
            file.write("this is no setting\n")
        kill(demo.agent("worker-2"))
        assert demo.wait() == 23
        told = demo.stderr.read_text()
        assert "✗ worker-2 ended with exit code 10, and starting it again does not help.\n" in told
        assert "worker-2 died and was started again (2)" not in told, "it would not help"
        assert "config.toml cannot be read" in told, "why it failed"
        assert str(directory / "worker-2" / "logs") in told, "where to look"
        assert demo.stdout.read_text() == "", "there is no result"
        demo.gone(everybody)
        assert not demo.processes()
        assert (directory / "worker-2" / "logs" / "agent.log").exists(), "the files are kept"


def test_ctrl_c_while_the_result_is_checked_leaves_nothing_running(directory: Path) -> None:
    """The examiner's learning child hangs from the first round on, so that there is something left to check."""
    with running_demo(directory, "--rounds", "1") as demo:
        demo.until(lambda: demo.seen("worker-1", "train.started", round=1), "training began")
        (examiner,) = [pid for pid in children(demo.process.pid) if "agents.learning.child" in command_line(pid)]
        kill(examiner, signal.SIGSTOP)
        demo.until(lambda: demo.stderr.read_text().endswith("all agents have ended; checking\n"), "it checks")
        everybody = demo.everybody()
        demo.process.send_signal(signal.SIGINT)
        stopped(demo, everybody)
        assert not alive(examiner)
        assert not (directory / "result.json").exists()


def test_nothing_outlives_a_killed_supervisor(directory: Path) -> None:
    with running_demo(directory) as demo:
        demo.until(lambda: all(demo.seen(name, "agent.started") for name in EVERYBODY), "all agents ran")
        everybody = demo.everybody()
        demo.process.kill()
        demo.process.wait()
        demo.gone(everybody)
