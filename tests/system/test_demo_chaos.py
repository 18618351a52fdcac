"""A soak with every kind of fault, by real processes, on a chain and a store that misbehave: proven all the same."""

from __future__ import annotations

import hashlib
import json
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agents.core.reduce import fold
from agents.core.state import Now, World
from agents.core.worker import settled_enough
from agents.demo.chaos import CONFIRMATIONS, DEEPEST_REORG, Chaos, Kind, What, faults
from bfl_events import schema as ev
from bfl_events.cli import app as bfl_events
from bfl_events.export import read_export
from bfl_events.verify import verify
from tests.cli.command import Operator
from tests.core.tasks import me
from tests.system.demo_process import RunningDemo, running_demo

pytestmark = [pytest.mark.demo, pytest.mark.timeout(600)]
SEED, MINUTES = 351617, 0.5   # a plan with all of PROMISED within half a minute
PROMISED = {What.FREEZE, What.RESTART, What.REORG, What.CUT, What.EVERYBODY, What.FOR_EVER, What.STORE_CORRUPT}
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


def test_the_task_is_proven_though_every_promised_fault_happened(soaked: RunningDemo) -> None:
    result = soaked.result()
    assert result["ok"] is True, result["proof"]
    assert len(result["rounds"]) == 2
    assert result["contract"]["balance_wei_after"] == "0"
    told = result["faults"]
    assert told["seed"] == SEED
    for kind in ("kills", "rpc", "store", "reorgs"):
        assert told[kind] > 0, f"no {kind} in {told['what']}"
    assert {what for what, count in told["what"].items() if count} >= PROMISED
    assert set(told["never"]) == set(What) - told["what"].keys()
    assert told["what"][What.FOR_EVER] == 1


def test_reorganisations_are_told_by_their_depth(soaked: RunningDemo) -> None:
    told = soaked.result()["faults"]
    happened = [one["count"] for one in told["happened"] if one["what"] == What.REORG and one["count"]]
    assert happened
    assert told["depths"] == {str(depth): happened.count(depth) for depth in sorted(set(happened))}
    assert all(1 <= depth <= DEEPEST_REORG for depth in happened)


def test_people_see_each_fault_when_it_happens_and_all_of_them_in_the_end(soaked: RunningDemo) -> None:
    progress, told = soaked.stderr.read_text(), soaked.stdout.read_text()
    assert f"kill,rpc,store,reorg for {MINUTES} minutes, seed {SEED}\n" in progress
    for what, count in soaked.result()["faults"]["what"].items():
        assert what in progress
        assert f"\n  {count:4}  {what}\n" in told
    assert "requester dead for ever" in progress


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


@pytest.fixture(scope="module")
def own_exports(soaked: RunningDemo) -> dict[str, Path]:
    """Each worker's own log, exported by the command."""
    found = {name: soaked.directory / name / "events.jsonl" for name in WORKERS}
    for name, path in found.items():
        (log,) = (soaked.directory / name).glob("networks/*/events.sqlite")
        events("export", "--log", log, "-o", path)
    return found


def events(*words: object) -> str:
    """What a command of `bfl-events` prints; it must succeed."""
    answer = CliRunner().invoke(bfl_events, [str(word) for word in words])
    assert answer.exit_code == 0, answer.output
    return answer.output


def test_every_log_is_verified_and_they_are_equal_although_blocks_were_taken_back(
    soaked: RunningDemo, own_exports: dict[str, Path]
) -> None:
    for path in (soaked.directory / "events.jsonl", *own_exports.values()):
        assert "events: every number follows from the lines before it." in events("verify", path)
    first, *others = own_exports.values()
    until_paid = [isinstance(record.event, ev.Withdrawn) for record in soaked.records()].index(True)
    for other in others:
        (equal,) = re.findall(r"^Equal: (\d+) events up to block ", events("diff", first, other))
        assert int(equal) > until_paid, "an agent ends when it has withdrawn, and need not see the others do so"


@pytest.mark.parametrize("name", WORKERS)
def test_looking_back_nobody_did_what_it_would_not_have_decided_whatever_happened_to_it(
    soaked: RunningDemo, own_exports: dict[str, Path], name: str
) -> None:
    (told,) = [one for one in soaked.result()["participants"] if one["name"] == name]
    assert told["restarts"] > 0
    answer = Operator(soaked.directory / name)(
        "run", "--role", "worker", "--replay", str(own_exports[name]), "--memory", "journal", "--json")
    assert answer.code == 0, answer.err
    *looks, last = [json.loads(line) for line in answer.out.splitlines()]
    lines = own_exports[name].read_text().splitlines()
    unforeseen = {json.loads(lines[number - 1])["event"] for number in last["summary"]["unforeseen"]}
    assert unforeseen <= {"Notice"}, "it asks for a model that does not come, by a time that a reorganisation moves"
    done = Counter(gone["intent"] for look in looks for gone in look["gone"] if gone["end"] == "done")
    due = openings_due(own_exports[name], told["address"])
    assert done["OpenModel"] == due.count(True), "what was due before it was mined was seen to wait"
    opened = sum(told["address"] == event.worker for event in soaked.events(ev.ModelSubmitted))
    assert len(due) == opened > 0


def openings_due(export: Path, account: str) -> list[bool]:
    """For each of a worker's openings, whether the log shows it due in the block before: a reorganisation may have
    left it fewer confirmations than it had waited for."""
    found, world = list[bool](), World()
    for record in read_export(export):
        if isinstance(record.event, ev.ModelSubmitted) and record.event.worker == account:
            then = Now(float(record.time), record.block - 1)
            found.append(settled_enough(world.tasks[record.emitter], me(confirmations=CONFIRMATIONS), then))
        world = fold(world, (record,))
    return found


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
