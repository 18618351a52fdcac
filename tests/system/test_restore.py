"""Signals, old backups restored, files lost and damaged, with real processes: the same model, all the money.

One run of five rounds, so that it stays cheap: in each, something happens to worker 1 while the others wait for it.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import time
from contextlib import closing
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from agents.cli.configfile import set_values
from agents.control import Refused, ask
from agents.effects.hands import training_seed
from agents.shutdown import SECOND_SIGNAL_EXIT
from bfl_events.schema import ModelCommitted, ModelSubmitted, ScoresCommitted, ScoresSubmitted, WorkerPenalized
from tests.anvil import ACCOUNTS, rpc
from tests.system.participants import KEYS, LONGEST_S, Consortium, Participant, consortium, new_home
from tests.system.stand_in import GENESIS, average, trained

ROUNDS = 5


def expected_model(task: str) -> bytes:
    """What the global model is after all rounds if nobody's update was left out."""
    model = sha256(GENESIS).hexdigest()
    for round in range(1, ROUNDS + 1):
        parts = [(index, sha256(trained(model, training_seed(task, round, ACCOUNTS[index + 1]))).hexdigest())
                 for index in range(3)]
        model = sha256(average(model, parts)).hexdigest()
    return bytes.fromhex(model)


def test_a_signal_while_no_endpoint_answers_ends_the_agent_at_once(tmp_path: Path) -> None:
    home = new_home(tmp_path / "worker", "http://127.0.0.1:1", "0x" + "11" * 20, KEYS[1])
    agent = Participant(home, "0x" + "22" * 20)
    agent.start()
    try:
        end = time.monotonic() + LONGEST_S
        while not agent.said("chain.unreachable"):
            assert time.monotonic() < end
            time.sleep(0.03)
        agent.signal(signal.SIGTERM)
        assert agent.wait() == 0
    finally:
        if agent.process is not None:
            agent.kill()
    assert [line["event"] for line in agent.lines][-2:] == ["agent.draining", "agent.stopped"]


@pytest.mark.timeout(900)          # nine starts of a process, each of them slow on a busy machine
def test_a_home_robbed_in_every_round_ends_with_the_same_model_and_all_its_money(tmp_path: Path) -> None:
    with consortium(tmp_path, ROUNDS) as company:
        victim, other, third = company.workers
        third.release("train")
        _round_1_drained_in_the_middle_of_its_training(company, victim)
        backup = _round_1_drained_twice(company, victim)
        _round_1_without_its_journal(company, victim, other)
        _round_2_restored_to_a_backup_of_round_1(company, victim, other, backup)
        _round_3_drained_to_its_limit(company, victim)
        _round_3_with_its_keys_alone(company, victim, other)
        _round_4_with_damaged_files(company, victim, other)
        for one in company.everybody:
            assert one.wait() == 0, company.told()
        _check_the_end(company)
        _the_requester_with_its_keys_alone(company)


def _round_1_drained_in_the_middle_of_its_training(company: Consortium, victim: Participant) -> None:
    company.until(lambda: victim.said("train.started"), "the first training began")
    victim.signal(signal.SIGTERM)
    company.until(lambda: victim.said("agent.draining"), "it said that it drains")
    status = victim.status()
    assert status["draining"]
    assert not status["ready"]
    assert "starts nothing" in status["troubles"]["agent"]
    with pytest.raises(Refused, match="drains"):
        ask(victim.home.control_socket, "leave", task=company.task.address)
    victim.release("train")
    assert victim.wait() == 0
    assert victim.said("train.completed")
    assert not company.task.call("committed") & 1          # nothing new was started
    victim.start()
    company.until_acted("committed", 1, 1)
    assert len(victim.said("train.started")) == 1          # nor was anything repeated that was finished


def _round_1_drained_twice(company: Consortium, victim: Participant) -> Path:
    """The second signal does not wait for what the first one waits for."""
    victim.kill()
    backup = company.backup(victim)                        # after commitModel, before openModel
    with closing(sqlite3.connect(victim.network / "journal.sqlite")) as database, database:
        database.execute("DELETE FROM outcome WHERE key LIKE 'train:%'")
    victim.hold("train")
    victim.start()
    company.until(lambda: len(victim.said("train.started")) == 2, "the training that was lost began again")
    victim.signal(signal.SIGTERM)
    company.until(lambda: len(victim.said("agent.draining")) == 2, "it drains again")
    victim.signal(signal.SIGTERM)
    assert victim.wait() == SECOND_SIGNAL_EXIT
    victim.release("train")
    return backup


def _round_1_without_its_journal(company: Consortium, victim: Participant, other: Participant) -> None:
    (victim.network / "journal.sqlite").unlink()
    victim.start()
    company.until(lambda: victim.said("home.lost", what="journal"), "the lost journal was named")
    company.until(lambda: victim.said("home.repaired"), "its work of round 1 was done again")
    (memory,) = [loss for loss in victim.status()["lost"] if loss["what"].startswith("memory")]
    assert "its own models of round 1" in memory["sentence"]
    assert memory["repaired"]
    other.hold("score")
    other.release("train")


def _round_2_restored_to_a_backup_of_round_1(
    company: Consortium, victim: Participant, other: Participant, backup: Path
) -> None:
    company.until_acted("scored", 1, 1)
    other.release("score")
    company.until(lambda: company.task.call("core")[1] == 2, "round 2 began")
    other.hold("score")
    company.until_acted("scored", 1, 2)
    victim.kill()
    company.restore(victim, backup)
    set_values(victim.home.config, "run", {"drain_s": 2})
    victim.hold("train")
    victim.start()
    forgotten = "its own models of round 2, its own scores of rounds 1, 2"
    company.until(lambda: _told_lost(victim, forgotten), "the old backup was noticed")
    other.release("score")
    other.hold("train")


def _round_3_drained_to_its_limit(company: Consortium, victim: Participant) -> None:
    company.until(lambda: victim.said("train.started", round=3), "the training of round 3 began")
    victim.signal(signal.SIGTERM)
    assert victim.wait() == 0
    told, ended = (_moment(victim.said(event)[-1]) for event in ("agent.draining", "agent.stopped"))
    assert 2 <= ended - told < 20, "its limit, and no more than a busy machine adds"
    assert not victim.said("train.completed", round=3)
    victim.release("train")
    victim.start()


def _round_3_with_its_keys_alone(company: Consortium, victim: Participant, other: Participant) -> None:
    company.until_acted("committed", 1, 3)
    assert victim.said("home.lost", what="transactions")   # those between the backup and its return
    victim.kill()
    company.make_again(victim)
    victim.start()
    company.until(lambda: _told_lost(victim, "that it has a seat at all, its own models of rounds 1, 2, 3"),
                  "the empty home was noticed")
    other.hold("score")
    other.release("train")


def _round_4_with_damaged_files(company: Consortium, victim: Participant, other: Participant) -> None:
    company.until_acted("scored", 1, 3)
    other.release("score")
    company.until(lambda: company.task.call("core")[1] == 4, "round 4 began")
    other.hold("score")
    company.until_acted("scored", 1, 4)
    victim.kill()
    outbox, events = next(victim.home.root.glob("networks/*/outbox.sqlite")), victim.network / "events.sqlite"
    for path in (outbox, events):                          # copied without its -wal, one of them torn
        for beside in path.parent.glob(f"{path.name}-*"):
            beside.unlink()
    outbox.write_bytes(b"SQLite format 3\0" + b"\7" * 5000)
    models = sorted((victim.network / "models").glob("*.safetensors"))
    models[0].write_bytes(b"")
    shutil.rmtree(company.directory / "blobs" / "pins" / ACCOUNTS[1].lower())
    (key,) = victim.home.keystore.glob("UTC--*")
    half = key.with_name(key.name.replace("UTC--", "UTC--1999-"))
    half.write_bytes(key.read_bytes()[:200])
    seen = len(victim.said("home.lost"))
    victim.start()
    company.until(lambda: {"outbox", "events", "models", "blobs"} <= {
        line["what"] for line in victim.said("home.lost")[seen:]}, "every loss was named")
    other.release("score")
    company.until(lambda: company.task.call("core")[1] == 5, "round 5 began")
    assert {path.name.partition(".damaged-")[0] for path in victim.home.root.rglob("*.damaged-*")} >= {
        "outbox.sqlite", models[0].name}


def _the_requester_with_its_keys_alone(company: Consortium) -> None:
    requester, task = company.requester, company.task.address
    model = requester.home.result(task).read_bytes()
    company.make_again(requester)
    assert not requester.home.result(task).exists()
    requester.start()
    assert requester.wait() == 0, company.told()
    assert requester.home.result(task).read_bytes() == model


def _moment(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["ts"]).timestamp()


def _told_lost(victim: Participant, words: str) -> bool:
    return any(words in line["reason"] for line in victim.said("home.lost"))


def _check_the_end(company: Consortium) -> None:
    events = company.events()
    assert [event for event in events if isinstance(event, WorkerPenalized)] == []
    for kind, one in ((ModelCommitted, "commitment"), (ScoresCommitted, "commitment"), (ModelSubmitted, "model_hash"),
                      (ScoresSubmitted, "row")):
        said = [(event.round, event.attempt, getattr(event, one)) for event in events
                if isinstance(event, kind) and event.worker == ACCOUNTS[1]]
        assert len(set(said)) == ROUNDS, kind                # never two different ones, and one of each in every round
    final = expected_model(company.task.address)
    assert company.task.call("finalHash") == final
    assert sha256(company.requester.home.result(company.task.address).read_bytes()).digest() == final
    assert int(rpc(company.anvil.url, "eth_getBalance", company.task.address, "latest"), 16) == 0


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BFL_")]:
        monkeypatch.delenv(name)
