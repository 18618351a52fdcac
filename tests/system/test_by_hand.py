"""A new reader's first hours: the README's commands by hand, on a chain of their own, end with a trained model; the
runbooks' commands do what they say, in the middle and at the end of it; then a model of the reader's own is trained.
"""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from bfl_events import schema as ev
from bfl_events.export import read_export
from tests.anvil import rpc, start_anvil
from tests.system.by_hand import Terminals, blocks, play_by_hand, play_own_model, play_runbook, runbook, terminals

pytestmark = [pytest.mark.demo, pytest.mark.timeout(900)]
ROUNDS = 2


def check_the_result(hand: Terminals) -> None:
    """The model is the attested one, everybody was paid, and the contract is empty."""
    records = list(read_export(hand.directory / "events.jsonl"))
    events = [record.event for record in records]
    (accepted,) = [event for event in events if isinstance(event, ev.FinalModelAccepted)]
    assert hashlib.sha256((hand.directory / "model.safetensors").read_bytes()).digest() == accepted.final_hash
    assert len([event for event in events if isinstance(event, ev.RoundScored)]) == ROUNDS
    assert not [event for event in events if isinstance(event, ev.DeadlineMissed)]
    (ended,) = [record for record in records if isinstance(record.event, ev.TaskEnded)]
    hand.until(f"test $(cast balance {ended.emitter}) = 0")
    hand.type("bfl-agent models verify model.safetensors --home demo-requester")
    earned = []
    for number in (1, 2, 3):
        home = f"demo-worker-{number}"
        shown = json.loads(hand.type(f"bfl-agent ledger show --home {home} --json"))
        (row,) = shown["tasks"]
        assert (row["missed"], row["penalised_wei"], row["withdrawable_wei"]) == (0, "0", "0")
        earned.append(int(row["earned_wei"]))
    assert sum(one > 0 for one in earned) > 1, "after two rounds luck may still leave one worker unpaid"
    hand.type("bfl-agent task wait --home demo-requester --for ended")


def test_the_sections_have_the_terminals_that_this_test_plays() -> None:
    environment, chain, *terminals_by_hand = blocks("The same by hand")
    assert [line.split("=")[0] for line in environment] == ["export PATH", "export BFL_PROFILE"]
    assert chain == ["anvil --silent"]
    for requester, worker, result in (terminals_by_hand, blocks("Bring your own model and data")):
        for lines in (requester, worker):
            assert lines[0].startswith("bfl-agent init")
            assert lines[-1].startswith("bfl-agent --role")
        assert result[0].startswith("bfl-agent task wait")


@dataclass(frozen=True)
class Played:
    """The section "The same by hand", with a machine that was lost in the middle; the agents still run."""

    hand: Terminals
    known: dict[str, str]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    folder = tmp_path_factory.mktemp("by-hand")
    with start_anvil(folder, chain_id=31337) as anvil, terminals(folder, anvil.url) as hand:
        yield Played(hand, play_by_hand(hand, ROUNDS, lambda known: lose_the_machine(hand, known)))


def lose_the_machine(hand: Terminals, known: dict[str, str]) -> None:
    """Runbook lost-worker, on the first worker, which has joined. Only its keys and password are left."""
    home, kept = hand.directory / "demo-worker-1", hand.directory / "kept"
    hand.until(f"grep -qs 'task.joined.*{known['ADDRESS']}' demo-worker-1/logs/agent.log")
    hand.running[-1].kill()
    hand.running.pop().wait()
    home.rename(kept)
    (restore,) = runbook("lost-worker")
    words = {"HOME": home.name, "BACKUP": kept.name, "FACTORY": known["FACTORY"], "URL": hand.rpc,
             "STORE": f"local:{hand.directory}/demo-blobs"}
    hand.play([f"{line} --part 0/3" if "init" in line else line for line in restore], "restored.log", words)


def test_the_readme_by_hand_ends_with_a_paid_and_attested_model(played: Played) -> None:
    check_the_result(played.hand)
    assert rpc(played.hand.rpc, "eth_getCode", played.known["FACTORY"], "latest") != "0x"


def test_the_commands_of_the_runbooks_work_as_they_are_written(played: Played) -> None:
    """On the finished task, its agents still running. Each page's commands succeed, whatever the others did before."""
    hand, requester = played.hand, played.hand.running[0]
    (paid, *_) = [record for record in read_export(hand.directory / "events.jsonl")
                  if isinstance(record.event, ev.RewardsDistributed)]
    words = {"HOME": "demo-worker-1", "TASK": played.known["TASK"], "TX": f"0x{paid.tx.hex()}", "OTHER": "other",
             "RoundAdvanced:3": f"RoundAdvanced:{ROUNDS}"}
    hand.type("bfl-events export --log demo-worker-2/networks/*/events.sqlite -o other.jsonl")
    play_runbook(hand, "stuck-round", words)
    play_runbook(hand, "withdraw", words)
    requester.send_signal(signal.SIGTERM)
    assert requester.wait(60) == 0
    (second,) = (hand.directory / "demo-worker-2" / "keystore").glob("UTC--*")
    words |= {"LOST-ADDRESS": played.known["ADDRESS"], "ANOTHER-HOME": "demo-requester", "FILE": str(second),
              "ITS-PASSWORD-FILE": "demo-worker-2/secrets/password"}
    play_runbook(hand, "lost-key", words)
    accounts = json.loads(hand.type("bfl-agent account list --home demo-worker-1 --json"))
    keys = json.loads(hand.type("bfl-agent keys show --home demo-worker-1 --json"))
    assert (len(accounts["accounts"]), len(keys["keys"])) == (2, 2)


def test_a_model_of_ones_own_is_trained_from_the_template_to_the_requesters_file(tmp_path: Path) -> None:
    with start_anvil(tmp_path, chain_id=31337) as anvil, terminals(tmp_path, anvil.url) as hand:
        task = play_own_model(hand, rounds=1)["TASK"]
        shown = json.loads(hand.type("bfl-agent models verify my-model.safetensors --home my-requester --json"))
    assert shown["matches"] == [{"task": task, "model": "final model, attested by a majority"}]
    model = load_file(tmp_path / "my-model.safetensors")
    assert {name: part.shape for name, part in model.items()} == {
        "0.weight": (32, 16), "0.bias": (32,), "2.weight": (2, 32), "2.bias": (2,)}, "the template's build_model"
    assert accuracy(model) > 0.8


def accuracy(model: dict[str, Any]) -> float:
    """Of the template's network, on fresh samples like those of its load_data; an untrained one has about a half."""
    x = np.random.default_rng(1).standard_normal((2000, 16)).astype("f4")
    hidden = np.maximum(x @ model["0.weight"].T + model["0.bias"], 0)
    said = (hidden @ model["2.weight"].T + model["2.bias"]).argmax(axis=1)
    return float((said == (x.sum(axis=1) > 0)).mean())
