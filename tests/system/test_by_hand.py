"""A new reader's first hour: the README's commands by hand, on a chain of their own, end with a trained model."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from bfl_events import schema as ev
from bfl_events.export import read_export
from tests.anvil import rpc, start_anvil
from tests.system.by_hand import Terminals, blocks, play_by_hand, terminals

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


def test_the_section_has_the_terminals_that_this_test_plays() -> None:
    environment, chain, requester, worker, result = blocks()
    assert [line.split("=")[0] for line in environment] == ["export PATH", "export BFL_PROFILE"]
    assert chain == ["anvil --silent"]
    for lines in (requester, worker):
        assert lines[-1].startswith("bfl-agent --role")
    assert result[0].startswith("bfl-agent task wait")


def test_the_readme_by_hand_ends_with_a_paid_and_attested_model(tmp_path: Path) -> None:
    with start_anvil(tmp_path, chain_id=31337) as anvil, terminals(tmp_path, anvil.url) as hand:
        factory = play_by_hand(hand, ROUNDS)
        check_the_result(hand)
        assert rpc(anvil.url, "eth_getCode", factory, "latest") != "0x"
