"""Cheats among real agents, each in its own process: the demo's proof holds, and only the cheats pay.

One pair by default; the others, a minute each, by `CHAOS=full make test ARGS='-k cheats'`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agents.demo.attack import Attack
from agents.demo.picture import fault_words
from bfl_events.export import read_export
from bfl_events.rules import Fault
from bfl_events.schema import WorkerPenalized
from tests.system.by_hand import play_runbook, terminals
from tests.system.demo_process import running_demo
from tests.thorough import FULL

pytestmark = pytest.mark.demo
DEFAULT = (Attack.LAZY, Attack.CONSTANT_SCORES)
OTHERS = [(attack,) for attack in Attack if attack not in DEFAULT]
FINES = {Attack.LAZY: Fault.INVALID, Attack.COPY: Fault.INVALID, Attack.LABEL_FLIP: Fault.LOW,
         Attack.SIGN_FLIP: Fault.LOW, Attack.NOISE: Fault.LOW, Attack.SCALED: Fault.LOW,
         Attack.LIAR_LOW: Fault.DEVIANT, Attack.CONSTANT_SCORES: Fault.DEVIANT}
NEVER_AVERAGED = {Attack.LAZY, Attack.LABEL_FLIP}


def result_with(directory: Path, attacks: tuple[Attack, ...]) -> dict[str, Any]:
    options = ("--workers", "5", "--rounds", "4", "--malicious", str(len(attacks)), "--attack", ",".join(attacks))
    with running_demo(directory / "demo", "--json", *options) as demo:
        assert demo.wait() == 0, demo.told()
        assert not demo.processes(), "somebody was left running"
        assert json.loads(demo.stdout.read_text()) == demo.result()
        assert demo.stderr.read_text() == "", "a program that asks for JSON gets nothing else"
        return demo.result()


@pytest.mark.parametrize("attacks", [
    DEFAULT,
    *(pytest.param(one, marks=pytest.mark.skipif(
        not FULL, reason="a minute each; CHAOS=full runs them")) for one in OTHERS),
], ids=",".join)
def test_the_proof_holds_and_only_cheats_pay(tmp_path: Path, attacks: tuple[Attack, ...]) -> None:
    result = result_with(tmp_path, attacks)
    assert result["ok"] is True, result["proof"]
    assert result["final"]["accuracy"] >= 0.95
    workers = {one["address"]: one for one in result["participants"] if one["role"] == "worker"}
    honest = [one for one in workers.values() if one["malicious"] is None]
    best = max(int(one["earned_wei"]) for one in honest)
    assert [one["slashed_wei"] for one in honest] == ["0"] * (5 - len(attacks))
    assert all(int(one["earned_wei"]) > 0 for one in honest)
    for one in workers.values():
        fines = [fine["wei"] for number in result["rounds"] for fine in number["penalties"]
                 if fine["worker"] == one["address"]]
        assert one["slashed_wei"] == str(sum(map(int, fines)))
    for cheat in (one for one in workers.values() if one["malicious"] is not None):
        attack = Attack(cheat["malicious"])
        fines = [fine["reason"] for number in result["rounds"] for fine in number["penalties"]
                 if fine["worker"] == cheat["address"]]
        averaged = [number["round"] for number in result["rounds"] if cheat["address"] in number["accepted"]]
        assert set(fines) == ({fault_words(FINES[attack])} if attack in FINES else set()), attack
        assert not (averaged and attack in NEVER_AVERAGED), attack
        assert int(cheat["earned_wei"]) - int(cheat["slashed_wei"]) <= best, attack
    assert {one["malicious"] for one in workers.values()} == {None, *attacks}
    if attacks == DEFAULT:
        played = [one["malicious"] for one in workers.values()]
        look_up_the_fine(tmp_path / "demo", f"worker-{1 + played.index(DEFAULT[1])}", FINES[DEFAULT[1]])


def look_up_the_fine(demo: Path, home: str, fault: Fault) -> None:
    """Runbook fined, in a worker's home whose chain is gone: the log alone says why."""
    events = read_export(demo / "events.jsonl")
    tx = next(one.tx for one in events if isinstance(one.event, WorkerPenalized) and one.event.reason == fault)
    with terminals(demo, "http://127.0.0.1:1") as hand:
        shown = play_runbook(hand, "fined", {"HOME": home, "TX": f"0x{tx.hex()}"})
    assert f"fault {fault.value} ({fault.name.lower()}), {fault_words(fault)}" in shown
    assert "Evidence: " in shown
    assert "every number follows from the lines before it" in shown
