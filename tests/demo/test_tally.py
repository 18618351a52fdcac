"""A soak's numbers come from what happened, and one broken task breaks the whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.demo import summary
from agents.demo.chaos import Chaos, Fault, Kind, What
from agents.demo.picture import Picture
from agents.demo.recovery import Recovery
from agents.demo.tally import End, Lived, document
from agents.demo.turmoil import Happened
from agents.storage.cid import cid_of_bytes
from bfl_events.state import Attestation
from tests.demo.test_proof import facts

CHAOS = Chaos(frozenset(Kind), 7, 1.5)
CID = cid_of_bytes(b"sealed")
EVERYBODY = ("requester", "worker-1", "worker-2")


def happened(what: What, began: float, ended: float, count: int = 1, who: tuple[str, ...] = EVERYBODY) -> Happened:
    return Happened(Fault(began, what, who), began, ended, count)


def lived(*faults: Happened, recoveries: Sequence[Recovery] = (), **changes: Any) -> Lived:
    found = facts(chaos=True, **changes)
    final = found.task.final_hash
    attested = {index: Attestation(final, CID, one.at) for index, one in found.task.attestations.items()}
    found = replace(found, task=replace(found.task, attestations=attested))
    picture = Picture((), task=found.task, restarts={"worker-1": 2})
    return Lived(Path("task-1"), picture, found, (), {}, {}, faults, recoveries)


def told(*tasks: Lived, left: Sequence[str] = (), chaos: Chaos = CHAOS) -> dict[str, Any]:
    return document(chaos, tasks, End("digits", 12.0, {}, left))


def test_faults_are_counted_by_kind_and_kills_by_process() -> None:
    faults = told(
        lived(happened(What.AGENTS, 1, 1, 2), happened(What.EVERYBODY, 2, 2, 5), happened(What.CHILDREN, 3, 3, 2),
              happened(What.REORG, 4, 4, 6), happened(What.RESTART, 5, 6), happened(What.REORG, 7, 7, 0)),
        lived(happened(What.FOR_EVER, 1, 1), happened(What.STORE_DEAD, 2, 3), happened(What.CUT, 4, 5)),
    )["faults"]
    assert {name: faults[name] for name in ("seed", "kills", "children", "reorgs", "rpc", "store", "minutes")} == {
        "seed": 7, "kills": 8, "children": 2, "reorgs": 1, "rpc": 2, "store": 1, "minutes": 1.5}
    assert faults["what"]["reorganisation"] == 1, "one that the node refused does not count"
    assert [one["task"] for one in faults["happened"]] == [1] * 6 + [2] * 3


def test_what_could_have_happened_and_did_not_is_told_and_how_deep_reorganisations_went() -> None:
    found = told(lived(happened(What.REORG, 1, 1, 6), happened(What.REORG, 2, 2, 0)),
                 lived(happened(What.REORG, 1, 1, 2), happened(What.REORG, 2, 2, 6), happened(What.AGENTS, 3, 3, 0)),
                 chaos=replace(CHAOS, kinds=frozenset({Kind.REORG, Kind.KILL})))
    assert found["faults"]["depths"] == {"2": 1, "6": 2}
    assert found["faults"]["never"] == [
        "everybody killed", "killed", "killed for ever", "learning child killed"]
    assert found["ok"] is True, "nobody asked for all of them"
    text = "\n".join(summary.lines(found, None))
    assert "\n     3  reorganisation\n     0  everybody killed\n     0  killed\n" in text
    assert "Blocks replaced by a reorganisation, and how often: 2 (1), 6 (2)\n" in text


@pytest.mark.parametrize("missing", [None, *What])
def test_whoever_asks_for_every_fault_gets_no_proof_without_one_of_them(missing: What | None) -> None:
    every, half = replace(CHAOS, every=True), len(What) // 2
    faults = [happened(what, 1, 2, count=int(what is not missing)) for what in What]
    found = told(lived(*faults[:half]), lived(*faults[half:]), chaos=every)
    assert found["ok"] is (missing is None)
    assert [task["ok"] for task in found["tasks"]] == [True, True]
    last = "✓ every sort of fault happened: all of them" if missing is None else \
        f"✗ every sort of fault happened: never: {missing}"
    assert last in summary.lines(found, None)


def test_recovery_times_leave_out_starts_during_which_the_chain_was_out_of_reach() -> None:
    free = [Recovery("worker-1", 10.0 * n, 1.0, 1.5, 0.9, 0.5) for n in range(1, 4)]
    cut_off = Recovery("worker-1", 50.0, 8.0, 9.0, 0.9, 0.5)
    died_again = Recovery("worker-1", 70.0)
    cut = happened(What.CUT, 49.0, 57.0, who=("worker-1",))
    elsewhere = happened(What.CUT, 9.0, 32.0, who=("worker-2",))
    faults = told(lived(cut, elsewhere, recoveries=[*free, cut_off, died_again]))["faults"]
    assert faults["recovery_s"] == {"p50": 1.5, "p99": 1.5, "of": 3, "all": {"p50": 1.5, "p99": 9.0, "of": 4}}
    assert faults["resumed_s"] == {"p50": 1.0, "p99": 1.0, "of": 3, "all": {"p50": 1.0, "p99": 8.0, "of": 4}}
    assert [one["troubled"] for one in faults["recoveries"]] == [False, False, False, True, False]
    assert faults["quiet_s"] == {"p50": 1.0, "p99": 1.0}
    assert faults["cpu_s"] == {"p50": 0.9, "p99": 0.9}


def test_one_task_that_is_not_proven_breaks_the_soak() -> None:
    assert told(lived(), lived())["ok"] is True
    result = told(lived(losses=["worker-1 lost 5 wei"]), lived())
    assert result["ok"] is False
    assert [task["ok"] for task in result["tasks"]] == [False, True]
    assert told(lived(), left=["an agent"])["ok"] is False


def test_the_document_is_that_of_a_demo_and_more() -> None:
    result = told(lived(happened(What.FREEZE, 1, 2)), lived())
    assert json.loads(json.dumps(result)) == result
    assert {"ok", "task", "wall_s", "restarts", "rounds", "final", "contract", "participants", "gas", "proof",
            "tasks", "faults"} == result.keys()
    assert result["restarts"] == 4


@pytest.mark.parametrize(("changes", "words"), [
    ({}, "proven"), ({"losses": ["worker-1 lost 5 wei"]}, "NOT proven: an honest worker lost"),
    ({"fetched": True}, "the requester dead since round 1: proven"),
])
def test_people_are_told_what_happened_and_what_became_of_it(changes: dict[str, Any], words: str) -> None:
    back = Recovery("worker-1", 10.0, 1.0, 1.5, 0.9, 0.5)
    told_lines = list(summary.lines(told(lived(happened(What.AGENTS, 9, 9), recoveries=[back], **changes)), None))
    text = "\n".join(told_lines)
    assert "Faults of seed 7 in 1 task:" in text
    assert "Agents killed: 1; working again after 1.50 s (p50), 1.50 s (p99), " in text
    assert "without waiting for a processor 1.00 s (p50), 1.00 s (p99)" in text
    assert words in text


def test_a_soak_in_which_nobody_came_back_measures_nothing() -> None:
    assert "nothing measured" in "\n".join(summary.lines(told(lived()), None))
