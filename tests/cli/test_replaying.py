"""`bfl-agent run --replay`: for people and programs, with a home and without, and with its hands tied."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from agents.core.intents import ModelReady
from agents.effects.journal import Journal
from agents.home import Home
from bfl_events.compare import task_of
from bfl_events.export import ExportHeader, write_records
from bfl_events.lineage import Ref
from bfl_events.log import EventLog, Identity
from bfl_events.schema import ModelSubmitted, Phase
from tests.benchmarks.fold import honest_log
from tests.benchmarks.start import copies
from tests.cli.command import Answer, Operator
from tests.simulation.deciders import Federation
from tests.simulation.play import FACTORY, REQUESTER, account

FIRST, DEAD = account(1), account(2)
START = Ref(0, b"s" * 32)


@pytest.fixture(scope="module")
def federation() -> Federation:
    """Of four workers, the second dies in round 2."""
    federation = Federation(4)
    federation.run(60, lambda: federation.task.state.round == 2 and federation.task.state.phase == Phase.OPEN)
    federation.workers[1].alive = False
    federation.run(3000)
    return federation


@pytest.fixture(scope="module")
def history(federation: Federation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("history") / "events.jsonl"
    records = federation.chain.records
    end = Ref(records[-1].block, records[-1].block_hash)
    with path.open("wb") as out:
        write_records(records, out, ExportHeader(31337, FACTORY, "every task", START, end))
    return path


@pytest.fixture(autouse=True)
def tied_hands(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        pytest.fail("a socket was opened")

    monkeypatch.setattr(socket, "socket", refused)


def looks(answer: Answer) -> list[dict[str, Any]]:
    assert answer.code == 0, answer.err
    return [json.loads(line) for line in answer.out.splitlines()]


def summary(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = looks(answer)[-1]["summary"]
    return found


def test_any_account_is_replayed_without_a_home(newcomer: Operator, history: Path, federation: Federation) -> None:
    answer = newcomer("run", "--replay", str(history), "--as", FIRST, "--json")
    *steps, _ = looks(answer)
    found = summary(answer)
    assert (found["missed"], found["open"], found["unforeseen"]) == (0, [], [])
    assert [event["line"] for step in steps for event in step["events"]] == list(
        range(2, len(federation.chain.records) + 2))
    wanted = [intent for step in steps for intent in step["wanted"]]
    opened = [record.event for record in federation.chain.records
              if isinstance(record.event, ModelSubmitted) and record.event.worker == FIRST]
    assert [one["round"] for one in wanted if one["intent"] == "OpenModel"] == [event.round for event in opened]
    assert not newcomer.home.exists(), "nothing was created"


def test_a_dead_worker_is_told_what_it_missed(newcomer: Operator, history: Path) -> None:
    answer = newcomer("run", "--replay", str(history), "--as", DEAD)
    assert answer.code == 0, answer.err
    assert "✓ open model" in answer.out
    last = answer.out.splitlines()
    assert any(line.startswith("missed by line") and "open model" in line and "round 2" in line for line in last)
    assert any(line.startswith("missed by line") and "commit to a" not in line and "round 3" in line for line in last)
    assert "unforeseen" not in answer.out


def test_the_requester_is_replayed_in_its_role(newcomer: Operator, history: Path) -> None:
    answer = newcomer("--role", "requester", "--replay", str(history), "--as", REQUESTER, "--json")
    worked = [one["intent"] for step in looks(answer)[:-1] for one in step["worked"]]
    assert worked[0] == "LoadTerms"
    assert "DeliverFinal" in worked


@pytest.mark.parametrize(("until", "last"), [("5", 6), ("line:5", 5), ("TaskStarted", None), ("RoundAdvanced:2", None)])
def test_it_stops_where_it_is_told_to(
    newcomer: Operator, history: Path, federation: Federation, until: str, last: int | None
) -> None:
    answer = newcomer("run", "--replay", str(history), "--as", FIRST, "--until", until, "--json")
    final = [event for step in looks(answer)[:-1] for event in step["events"]][-1]
    assert final["line"] == last if last is not None else final["event"] == until.partition(":")[0]


def test_the_homes_own_account_policy_and_journal_are_used(operator: Operator, history: Path) -> None:
    """A home whose account never joined: its policy says why. The journal is read beside a lock that is held."""
    network = Home(operator.home).network(31337, FACTORY).create()
    journal = Journal(network.journal)
    journal.record("train:nothing", ModelReady(b"m" * 32))
    journal.close()
    Home(operator.home).password.unlink()
    with FileLock(network.lock):
        before = operator.files()
        answer = operator("run", "--replay", str(history), "--json")
        assert operator.files() == before
    declined = [one["reason"] for step in looks(answer)[:-1] for one in step["declined"]]
    assert any("policy.max_collateral_wei" in reason for reason in declined)
    assert summary(answer)["wanted"] == 0


def test_an_agents_own_log_is_replayed_like_its_export(
    newcomer: Operator, history: Path, federation: Federation, tmp_path: Path
) -> None:
    path, records = tmp_path / "events.sqlite", federation.chain.records
    with EventLog(path, Identity(31337, FACTORY, 0)) as log:
        log.anchor(START)
        log.append(records, Ref(records[-1].block, records[-1].block_hash))
    both = [newcomer("run", "--replay", str(file), "--as", FIRST, "--json") for file in (history, path)]
    assert summary(both[0]) == summary(both[1])


def test_with_no_memory_only_what_needs_none_is_wanted(newcomer: Operator, history: Path) -> None:
    answer = newcomer("run", "--replay", str(history), "--as", FIRST, "--memory", "none", "--json")
    wanted = {one["intent"] for step in looks(answer)[:-1] for one in step["wanted"]}
    assert wanted == {"LoadTerms", "Withdraw"}


def test_one_task_of_many_is_looked_at_alone(newcomer: Operator, tmp_path: Path) -> None:
    log = list(islice(copies(honest_log(workers=3, rounds=1), 100), 100))
    path, tasks = tmp_path / "events.jsonl", sorted({record.emitter for record in log} - {FACTORY})
    end = Ref(log[-1].block, log[-1].block_hash)
    with path.open("wb") as out:
        write_records(log, out, ExportHeader(31337, FACTORY, "every task", START, end))
    assert len(tasks) > 2
    answer = newcomer("run", "--replay", str(path), "--as", FIRST, "--task", tasks[1].lower(), "--json")
    seen = [event for step in looks(answer)[:-1] for event in step["events"]]
    assert {event["emitter"] for event in seen} == {FACTORY, tasks[1]}
    assert [event["line"] for event in seen] == [
        line for line, record in enumerate(log, start=2) if task_of(record) == tasks[1]]


MISTAKES = [
    (["--as", FIRST, "--task", REQUESTER], 2, "not in this history"),
    (["--as", FIRST, "--memory", "perfect"], 2, "perfect"), (["--as", FIRST, "--until", "noon"], 2, "noon"),
    (["--as", FIRST, "--until", "RoundAdvanced:99"], 2, "not 99"), (["--as", "0x1234"], 2, "0x1234"),
    (["--as", FIRST, "--memory", "journal"], 2, "journal"), (["--as", FIRST, "--role", "king"], 2, "king"),
    (["--memory", "journal"], 10, "does not exist"),
]


@pytest.mark.parametrize(("options", "code", "words"), MISTAKES)
def test_what_cannot_be_replayed_is_said(
    operator: Operator, history: Path, options: list[str], code: int, words: str
) -> None:
    answer = operator("run", "--replay", str(history), *options, "--json")
    assert (answer.code, answer.out) == (code, "")
    assert words in " ".join(map(str, answer.error.values()))


def test_a_damaged_history_is_named_with_its_line(newcomer: Operator, history: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(b"".join(history.read_bytes().splitlines(keepends=True)[:9]))
    answer = newcomer("run", "--replay", str(cut), "--as", FIRST, "--json")
    assert answer.code == 22
    assert "line 10" in answer.error["what"]


def test_options_that_look_back_need_a_history(newcomer: Operator) -> None:
    answer = newcomer("run", "--until", "5", "--json")
    assert answer.code == 2
    assert "--replay FILE" in answer.error["do"]


def test_looking_back_loads_nothing_that_could_reach_out(operator: Operator, history: Path) -> None:
    code = (
        "import sys; from agents.cli.app import invoke\n"
        f"code = invoke(['run', '--replay', {str(history)!r}, '--home', {str(operator.home)!r}])\n"
        "heavy = {'web3', 'aiohttp', 'websockets', 'eth_account', 'torch', 'uvloop'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
