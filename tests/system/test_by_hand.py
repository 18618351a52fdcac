"""A new reader's first hour: the README's commands by hand, on a chain of their own, end with a trained model; then a
model of the reader's own does."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from bfl_events import schema as ev
from bfl_events.export import read_export
from tests.anvil import rpc, start_anvil
from tests.system.by_hand import Terminals, blocks, play_by_hand, play_own_model, terminals

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
    until_empty = f"for i in $(seq 200); do test $(cast balance {ended.emitter}) = 0 && exit; sleep 0.1; done; exit 1"
    hand.type(until_empty)
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


def test_the_readme_by_hand_ends_with_a_paid_and_attested_model(tmp_path: Path) -> None:
    with start_anvil(tmp_path, chain_id=31337) as anvil, terminals(tmp_path, anvil.url) as hand:
        known = play_by_hand(hand, ROUNDS)
        check_the_result(hand)
        assert rpc(anvil.url, "eth_getCode", known["FACTORY"], "latest") != "0x"


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
