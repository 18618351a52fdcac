"""What an agent says of its losses: a marker with a sentence, and the same sentence in `status`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from agents.core.intents import Candidate, ModelReady, RowReady, ScoreModels, TrainModel
from agents.health import Health
from agents.metrics import Metrics
from agents.narrator import Narrator
from agents.telemetry import open_log
from bfl_events.schema import Bitmap, DeadlineMissed, Phase, Record


class Bench:
    def __init__(self, folder: Path) -> None:
        self.file, self.health = folder / "agent.log", Health()
        log = open_log(self.file, console=None).log
        self.narrator = Narrator(log, Metrics(CollectorRegistry()), self.health, "0x" + "11" * 20)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text().splitlines()]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_loss_is_told_with_its_sentence_and_its_repair_with_its_name(bench: Bench) -> None:
    bench.narrator.lost("journal", "journal.sqlite is gone")
    bench.narrator.lost("journal", "journal.sqlite is gone", repaired=True)
    assert [(line["event"], line["what"]) for line in bench.lines()] == [
        ("home.lost", "journal"), ("home.repaired", "journal")]
    assert bench.lines()[0]["reason"] == "journal.sqlite is gone"
    assert bench.health.report()["lost"] == [
        {"what": "journal", "sentence": "journal.sqlite is gone", "repaired": True}]


def test_transactions_that_the_outbox_does_not_know_are_a_loss(bench: Bench) -> None:
    bench.narrator.outbox("forgotten", {"first": 3, "count": 6})
    (loss,) = bench.health.report()["lost"]
    assert "6 transactions of this account, from nonce 3 on" in loss["sentence"]
    assert bench.lines()[0]["event"] == "home.lost"


def test_an_empty_account_is_not_told_as_a_price_above_the_limit(bench: Bench) -> None:
    for step in ("funds", "capped"):
        bench.narrator.outbox(step, {"key": "open:0xT:2"})
    assert [line["event"] for line in bench.lines()] == ["tx.unfunded", "tx.fee.capped"]


def test_who_missed_a_deadline_is_told_by_index(bench: Bench) -> None:
    missed = DeadlineMissed(2, 3, Phase.OPEN, Bitmap(0b101), Bitmap(0), Bitmap(0b111), 1)
    bench.narrator.records((Record(7, bytes(32), 1000, 0, bytes(32), "0xT", missed),))
    (line,) = bench.lines()
    assert (line["event"], line["phase"], line["round"], line["absent"]) == ("round.deadline.missed", "open", 2, [0, 2])


def test_a_checkpoint_that_is_not_used_is_named(bench: Bench) -> None:
    train = TrainModel("0xT", 2, bytes(32))
    bench.narrator.progress(train, {"checkpoint_ignored": "written by torch 1.0.0; training begins again"})
    (line,) = bench.lines()
    assert (line["event"], line["level"]) == ("train.checkpoint.ignored", "warning")
    assert "training begins again" in line["reason"]


def test_a_training_is_told_with_the_times_of_its_steps(bench: Bench) -> None:
    """Where none is known, as of a training that went on after its last epoch, the line has none."""
    train = TrainModel("0xT", 2, bytes(32))
    bench.narrator.report(train, "finished", ModelReady(b"m" * 32, 2.5, 1700000000.25, 1700000002.125))
    bench.narrator.report(train, "finished", ModelReady(b"m" * 32, 0.5))
    stepped, stood = bench.lines()
    assert {line["event"] for line in (stepped, stood)} == {"train.completed"}
    assert (stepped["digest"], stepped["seconds"]) == ((b"m" * 32).hex(), 2.5)
    assert (stepped["first_step_at"], stepped["last_step_at"]) == (1700000000.25, 1700000002.125)
    assert stood["seconds"] == 0.5
    assert not {"first_step_at", "last_step_at"} & stood.keys()


def test_a_model_that_scores_0_is_told_with_who_published_it(bench: Bench) -> None:
    """What could not be opened was told when it was fetched."""
    models = (Candidate(0, "0xA", b"a"), Candidate(1, "0xB", b"b"), Candidate(2, "0xC", None))
    score = ScoreModels("0xT", 2, 3, bytes(32), bytes(32), 0, 5, True, None, models)
    reasons = ((1, "V4: w holds a value that is not finite"), (2, "V1-V3: no model could be opened"))
    bench.narrator.report(score, "finished", RowReady((), reasons))
    rejected, completed = bench.lines()
    assert (rejected["event"], rejected["level"], rejected["sender"]) == ("update.rejected", "warning", "0xB")
    assert (rejected["round"], rejected["attempt"], rejected["reason"]) == (2, 3, reasons[0][1])
    assert completed["zeros"] == [f"{index}: {reason}" for index, reason in reasons]
