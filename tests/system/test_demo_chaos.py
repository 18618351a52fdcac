"""A soak with every kind of fault, by real processes, on a chain and a store that misbehave: proven all the same."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.demo.chaos import Chaos, Kind, What, faults
from bfl_events import schema as ev
from bfl_events.verify import verify
from tests.system.demo_process import RunningDemo, running_demo

pytestmark = [pytest.mark.demo, pytest.mark.timeout(600)]
SEED, MINUTES = 11, 0.5       # a plan in which the requester dies for ever, and every kind comes within half a minute
FREEZES_FIRST = 3
WORKERS = ("worker-1", "worker-2", "worker-3")


def test_ctrl_c_while_the_chain_is_frozen_leaves_nothing_running(tmp_path: Path) -> None:
    with running_demo(tmp_path / "demo", "--chaos", "rpc", "--seed", str(FREEZES_FIRST), "--minutes", "1") as demo:
        demo.until(lambda: any(frozen(pid) for pid in demo.everybody()), "the chain was frozen")
        everybody = demo.everybody()
        assert len(everybody) >= 1 + 1 + 4, "the supervisor, the chain, four agents"
        demo.process.send_signal(signal.SIGINT)
        assert demo.wait(30) == 130
        assert "Traceback" not in demo.told()
        demo.gone(everybody)


def frozen(pid: int) -> bool:
    """Whether a process is stopped by SIGSTOP."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


@pytest.fixture(scope="module")
def soaked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    options = ("--chaos", "kill,rpc,store,reorg", "--seed", str(SEED), "--minutes", str(MINUTES), "--rounds", "2")
    with running_demo(tmp_path_factory.mktemp("chaos") / "demo", *options) as demo:
        assert demo.wait(500) == 0, demo.told()
        assert not demo.processes(), "somebody was left running"
        yield demo


def test_the_task_is_proven_though_every_kind_of_fault_happened(soaked: RunningDemo) -> None:
    result = soaked.result()
    assert result["ok"] is True, result["proof"]
    assert len(result["rounds"]) == 2
    assert result["contract"]["balance_wei_after"] == "0"
    told = result["faults"]
    assert told["seed"] == SEED
    for kind in ("kills", "rpc", "store", "reorgs"):
        assert told[kind] > 0, f"no {kind} in {told['what']}"
    assert told["what"][What.FOR_EVER] == 1


def test_what_happened_is_what_the_seed_had_planned(soaked: RunningDemo) -> None:
    """So that the number alone replays it."""
    chaos = Chaos(frozenset(Kind), SEED, MINUTES)
    planned = [json.loads(json.dumps(fault.document())) for fault, _ in
               zip(faults(chaos, 0, "requester", WORKERS), range(100), strict=False)]
    happened = [{name: one[name] for name in planned[0]} for one in soaked.result()["faults"]["happened"]]
    within = [fault for fault in planned if fault["at"] < 60 * MINUTES]
    assert sorted(happened, key=lambda one: (one["at"], one["what"])) == \
        sorted(within, key=lambda one: (one["at"], one["what"]))


def test_a_requester_that_is_gone_for_ever_still_gets_the_attested_model_by_a_command(soaked: RunningDemo) -> None:
    (accepted,) = soaked.events(ev.FinalModelAccepted)
    model = (soaked.directory / "model.safetensors").read_bytes()
    assert hashlib.sha256(model).digest() == accepted.final_hash
    assert not list((soaked.directory / "requester" / "results").glob("*.safetensors"))
    assert not soaked.seen("requester", "agent.stopped")
    assert verify(soaked.records(), chain_id=31337) == []


def test_recovery_times_are_told_for_every_kill_that_was_survived(soaked: RunningDemo) -> None:
    told = soaked.result()["faults"]
    restarts = sum(one["restarts"] for one in soaked.result()["participants"])
    assert len(told["recoveries"]) == restarts > 0
    for one in told["recoveries"]:
        if one["useful_s"] is not None and one["resumed_s"] is not None:
            assert 0 < one["cpu_s"] < one["resumed_s"]
    assert told["epochs_repeated"] <= 1, "a kill in training costs one epoch at most"
    for name in ("recovery_s", "resumed_s"):
        assert 0 < told[name]["all"]["p50"] <= told[name]["all"]["p99"]
