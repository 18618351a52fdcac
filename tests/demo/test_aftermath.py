"""What chaos must not cause is seen when it happens, and nothing else is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from agents.demo.aftermath import LIVENESS, contradictions, double_acts, harm, losses, nonce_trouble
from agents.effects.fees import Fee
from agents.effects.slots import Attempt, Ending, Landing, Payload, Slot
from bfl_events import schema as ev
from bfl_events.rules import Fault
from bfl_events.schema import Event, Record

TASK = "0x" + "aa" * 20
HONEST, CHEAT = "0x" + "01" * 20, "0x" + "02" * 20


def records(*events: Event) -> list[Record]:
    return [Record(number, bytes(32), 1_000 + number, 0, bytes(32), TASK, event)
            for number, event in enumerate(events)]


def fined(worker: str, reason: int, amount: int) -> Event:
    return ev.WorkerPenalized(1, worker, reason, amount, 10**18 - amount, 0)


def opened(attempt: int, worker: str = HONEST) -> Event:
    return ev.ModelSubmitted(1, worker, attempt, b"m" * 32, b"s" * 32, 10, b"cid")


def committed(attempt: int) -> Event:
    return ev.ModelCommitted(1, HONEST, attempt, bytes(32), bytes(32))


def slot(nonce: int, key: str, data: bytes, **more: Any) -> Slot:
    signed = Attempt(bytes(32), b"raw", Fee(2, 1), void=False, signed_at=0.0, head=1)
    return replace(Slot(nonce, key, Payload(TASK, data, 0, 100_000), (signed,)), **more)


@pytest.mark.parametrize("reason", list(Fault))
def test_only_fees_for_being_away_are_no_loss(reason: Fault) -> None:
    found = list(losses(records(fined(HONEST, reason, 5)), {HONEST}))
    assert bool(found) == (reason not in LIVENESS)


def test_a_fine_of_nothing_and_a_cheats_fine_are_no_loss_of_an_honest_worker() -> None:
    assert not list(losses(records(fined(HONEST, Fault.LOW, 0), fined(CHEAT, Fault.INVALID, 5)), {HONEST}))


def test_each_act_counts_once_in_an_attempt_and_a_commitment_may_be_replaced_once() -> None:
    fine = records(opened(1), opened(2), opened(1, CHEAT), committed(1), committed(1))
    assert not list(double_acts(fine))
    assert list(double_acts([*fine, *records(opened(2))])) == [
        "2 times ModelSubmitted by 0x0101…0101 in attempt 2"]
    assert list(double_acts([*fine, *records(committed(1))])) == [
        "3 times ModelCommitted by 0x0101…0101 in attempt 1"]


def test_two_openings_that_differ_are_a_contradiction_on_whatever_fork_they_stood() -> None:
    twice = [slot(3, f"open-model:{TASK}:1:1", b"one"), slot(5, f"open-model:{TASK}:1:1", b"one")]
    assert not list(contradictions("worker-1", twice))
    assert list(contradictions("worker-1", [*twice, slot(6, f"open-model:{TASK}:1:1", b"another")]))
    assert not list(contradictions("worker-1", [*twice, slot(6, f"open-model:{TASK}:1:2", b"another")]))
    replaced = [slot(1, f"commit-model:{TASK}:1:1", b"one"), slot(2, f"commit-model:{TASK}:1:1", b"another")]
    assert not list(contradictions("worker-1", replaced)), "a commitment may be replaced"


def test_a_nonce_that_was_left_out_or_lost_is_told() -> None:
    signed = [slot(0, "a", b""), slot(1, "b", b""), slot(2, "c", b"")]
    assert not list(nonce_trouble("worker-1", signed, used=3))
    assert not list(nonce_trouble("worker-1", signed, used=2)), "one is still on its way"
    assert list(nonce_trouble("worker-1", signed, used=4)) == ["worker-1 did not sign its nonces [3]"]
    lost = [*signed[:2], slot(2, "c", b"", landing=Landing(Ending.LOST))]
    assert list(nonce_trouble("worker-1", lost, used=3)) == ["worker-1 lost nonce 2 to a stranger"]


def test_harm_is_all_of_it() -> None:
    signed: dict[str, Sequence[Slot]] = {"worker-1": [slot(1, "a", b"")]}
    assert len(harm(records(opened(1), opened(1)), signed, {"worker-1": 2})) == 2
