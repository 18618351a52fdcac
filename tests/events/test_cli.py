"""`bfl-events` as people and scripts use it: data on stdout, sentences on stderr, documented exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bfl_events.cli import app
from bfl_events.export import ExportHeader, write_export, write_records
from bfl_events.fold import fold
from bfl_events.lineage import Ref
from bfl_events.log import EventLog, Identity
from bfl_events.schema import Record, RewardsDistributed, RoundAdvanced, Wei
from tests.anvil import ACCOUNTS, create_task, deploy, join, start_anvil
from tests.events.logs import all_logs, honest_log
from tests.events.test_verify import UNPINNED, changed, other_values
from tests.simulation.play import FACTORY

ROOT = Path(__file__).resolve().parents[2]
RECORDS = honest_log()
END = Ref(RECORDS[-1].block + 3, b"e" * 32)
TASK = RECORDS[1].emitter


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", "from bfl_events.cli import main; main()", *map(str, arguments)]


ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("BFL_")}
ENVIRONMENT["PYTHONPATH"] = str(ROOT)


def bfl_events(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=60, env=ENVIRONMENT, check=False)


def export(path: Path, records: Sequence[Record] = RECORDS, end: Ref = END, **header: Any) -> Path:
    fields = {"chain_id": 31337, "factory": FACTORY, "follow": "every task", "start": Ref(0, b"s" * 32), "end": end}
    with path.open("wb") as out:
        write_records(records, out, ExportHeader(**{**fields, **header}))
    return path


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return export(tmp_path / "events.jsonl")


def error_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert "Traceback" not in done.stderr
    document: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])["error"]
    assert document["exit"] == done.returncode
    return document


def test_replay_prints_the_state_at_the_end(good: Path) -> None:
    done = bfl_events("replay", good)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Task {TASK}" in done.stdout
    assert "phase Completed" in done.stdout


def test_replay_stops_at_any_event_block_or_name(good: Path) -> None:
    wanted = [n for n, record in enumerate(RECORDS) if isinstance(record.event, RoundAdvanced)][1]
    state = fold(RECORDS[:wanted + 1])
    for until in (str(wanted + 1), "RoundAdvanced:2", f"line:{wanted + 2}"):
        document = json.loads(bfl_events("replay", good, "--until", until, "--json").stdout)
        assert (document["events"], document["line"]) == (wanted + 1, wanted + 2)
        task = document["tasks"][TASK]
        assert (task["phase"], task["round"], task["reward_left"]) == ("Train", 2, str(state.reward_left))
        assert document["last"]["event"] == "RoundAdvanced"
    block = RECORDS[wanted].block
    document = json.loads(bfl_events("replay", good, "--until", f"block:{block}", "--json").stdout)
    assert document["events"] == sum(record.block <= block for record in RECORDS)


def test_a_settlement_has_no_deadline(good: Path) -> None:
    assert "phase Settle, round 1 of 3, attempt 1, no deadline" in bfl_events(
        "replay", good, "--until", "RoundScored").stdout


@pytest.mark.parametrize(("until", "words"), [
    ("yesterday", "no place to stop at"), ("RoundAdvanced:99", "comes 3 times"), ("100000", "only"),
    ("block:x", "no place"), ("line:-1", "no place"), ("Nonsense:1", "no place"),
])
def test_replay_explains_a_place_that_does_not_exist(good: Path, until: str, words: str) -> None:
    done = bfl_events("replay", good, "--until", until, "--json")
    assert done.returncode == 2
    assert words in " ".join(map(str, error_of(done).values()))


def test_replay_names_the_line_that_cannot_follow(tmp_path: Path) -> None:
    done = bfl_events("replay", export(tmp_path / "x.jsonl", [*RECORDS[:10], *RECORDS[11:]]), "--json")
    assert done.returncode == 22
    assert "Line " in error_of(done)["what"]


def test_replay_reads_an_agents_own_log_too(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    with EventLog(path, Identity(31337, FACTORY, 0)) as log:
        log.anchor(Ref(0, b"s" * 32))
        log.append(RECORDS, END)
        done = bfl_events("replay", path, "--json")
    assert json.loads(done.stdout)["events"] == len(RECORDS)


def test_verify_finds_nothing_wrong_with_a_true_history(good: Path) -> None:
    done = bfl_events("verify", good)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{len(RECORDS)} events" in done.stdout
    document = json.loads(bfl_events("verify", good, "--json").stdout)
    assert document == {"ok": True, "events": len(RECORDS), "findings": []}


def test_verify_names_the_line_of_a_wrong_payout_though_the_seal_is_whole(tmp_path: Path) -> None:
    place = next(n for n, record in enumerate(RECORDS) if isinstance(record.event, RewardsDistributed))
    event = RECORDS[place].event
    assert isinstance(event, RewardsDistributed)
    wrong = replace(RECORDS[place], event=replace(event, per_top=Wei(event.per_top + 1)))
    done = bfl_events("verify", export(tmp_path / "x.jsonl", [*RECORDS[:place], wrong, *RECORDS[place + 1:]]))
    assert done.returncode == 22
    assert f"line {place + 2}: RewardsDistributed: per_top" in done.stdout


def test_verify_names_the_line_whose_seal_is_broken_and_looks_on(good: Path) -> None:
    lines = good.read_bytes().splitlines(keepends=True)
    place = next(n for n, record in enumerate(RECORDS) if isinstance(record.event, RewardsDistributed)) + 1
    lines[place] = lines[place].replace(b'"per_top":"', b'"per_top":"9')
    good.write_bytes(b"".join(lines))
    document = json.loads(bfl_events("verify", good, "--json").stdout)
    assert not document["ok"]
    assert [finding["line"] for finding in document["findings"]][:2] == [place + 1, place + 1]


@pytest.mark.parametrize(("kind", "field"), sorted(UNPINNED))
def test_verify_names_the_line_of_a_change_that_no_rule_shows(tmp_path: Path, kind: str, field: str) -> None:
    """Nothing else in a history proves these fields; the file's hash chain does."""
    log = next(log for log in all_logs() if any(type(record.event).__name__ == kind for record in log))
    at = next(at for at, record in enumerate(log) if type(record.event).__name__ == kind)
    value = next(other_values(getattr(log[at].event, field)))
    end = Ref(log[-1].block + 3, b"e" * 32)
    true, forged = (export(tmp_path / name, records, end).read_bytes().splitlines(keepends=True)
                    for name, records in (("true", log), ("forged", changed(log, at, **{field: value}))))
    line = at + 1                                                       # counted from 0, after the header
    seal = true[line].index(b',"chain":"')
    assert true[line][:seal] != forged[line][:seal]
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"".join([*true[:line], forged[line][:seal] + true[line][seal:], *true[line + 1:]]))
    done = CliRunner().invoke(app, ["verify", str(file), "--json"])
    assert (done.exit_code, json.loads(done.stdout)["findings"][0]["line"]) == (22, line + 1)


@pytest.mark.parametrize("name", ["replay", "verify", "diff"])
def test_a_damaged_export_is_named_with_its_line(good: Path, name: str) -> None:
    good.write_bytes(good.read_bytes()[:2000])
    done = bfl_events(name, good, *([good] if name == "diff" else []))
    assert done.returncode == 22
    assert "line " in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_diff_finds_the_first_difference(good: Path, tmp_path: Path) -> None:
    assert bfl_events("diff", good, good).returncode == 0
    moved = replace(RECORDS[20], tx=b"x" * 32)
    other = export(tmp_path / "other.jsonl", [*RECORDS[:20], moved, *RECORDS[21:]])
    done = bfl_events("diff", good, other)
    assert done.returncode == 22
    assert f"after 20 equal events: {type(moved.event).__name__} in block {moved.block}: tx 0x" in done.stdout
    document = json.loads(bfl_events("diff", good, other, "--json").stdout)
    assert (document["equal"], document["events"], document["difference"]["b"]["line"]) == (False, 20, 22)


def test_diff_of_a_longer_and_a_shorter_history_is_none(good: Path, tmp_path: Path) -> None:
    end = RECORDS[30]
    part = [record for record in RECORDS if record.block <= end.block]
    shorter = export(tmp_path / "shorter.jsonl", part, Ref(end.block, end.block_hash))
    done = bfl_events("diff", shorter, good)
    assert done.returncode == 0
    assert f"Equal: {len(part)} events up to block {end.block}" in done.stdout
    assert f"goes on to block {END.number}" in done.stderr


def test_diff_notices_missing_events_other_chains_and_other_ends(good: Path, tmp_path: Path) -> None:
    last = [record for record in RECORDS if record.block < RECORDS[-1].block]
    for other, words in (
        (export(tmp_path / "a.jsonl", last), "only A has"),
        (export(tmp_path / "b.jsonl", chain_id=5), "chain id"),
        (export(tmp_path / "c.jsonl", end=Ref(END.number, b"f" * 32)), "two hashes"),
    ):
        done = bfl_events("diff", good, other)
        assert done.returncode == 22
        assert words in done.stdout


def test_export_writes_a_log_and_says_so(tmp_path: Path) -> None:
    path, out = tmp_path / "events.sqlite", tmp_path / "out.jsonl"
    with EventLog(path, Identity(31337, FACTORY, 0)) as log:
        log.anchor(Ref(0, b"s" * 32))
        log.append(RECORDS, END)
        done = bfl_events("export", "--log", path, "-o", out)
        assert (done.returncode, done.stdout) == (0, "")
        write_export(tmp_path / "mine.jsonl", log)
        assert out.read_bytes() == (tmp_path / "mine.jsonl").read_bytes()
        assert bfl_events("export", "--log", path).stdout.encode() == out.read_bytes()


@pytest.mark.parametrize(("arguments", "code"), [
    (["replay", "/nowhere/events.jsonl"], 2), (["export"], 2), (["export", "--log", "/nowhere/x.sqlite"], 2),
    (["export", "--rpc", "http://127.0.0.1:1"], 2), (["tail"], 2), (["nonsense"], 2), (["verify"], 2),
    (["tail", "--rpc", "http://127.0.0.1:1", "--factory", FACTORY], 13),
    (["tail", "--rpc", "ftp://127.0.0.1", "--factory", FACTORY], 2),
    (["tail", "--rpc", "http://127.0.0.1:1", "--factory", "0x1234"], 2),
    (["tail", "--rpc", "http://127.0.0.1:1", "--factory", "0x5fbDB2315678afecb367f032d93F642f64180aa3"], 2),
])
def test_what_cannot_be_done_is_said_without_a_traceback(arguments: list[str], code: int) -> None:
    done = bfl_events(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_ends_the_command_quietly(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    with EventLog(path, Identity(31337, FACTORY, 0)) as log:
        log.anchor(Ref(0, b"s" * 32))
        log.append(RECORDS, END)
    with subprocess.Popen(command("export", "--log", path), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=ENVIRONMENT) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        said = running.stderr.read()
        assert (running.wait(20), said) == (0, b"")


def test_help_is_there_at_once_without_heavy_libraries() -> None:
    code = ("import sys; from bfl_events.cli import app; import typer\n"
            "try: app(['--help'])\nexcept SystemExit: pass\n"
            "heavy = {'web3', 'aiohttp', 'eth_abi', 'sqlite3', 'websockets', 'torch'} & set(sys.modules)\n"
            "assert not heavy, heavy")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_tail_export_and_verify_of_a_real_chain(tmp_path: Path) -> None:
    with start_anvil(tmp_path) as anvil:
        deployed = deploy(anvil.url)
        task = create_task(anvil.url, deployed.factory)
        for worker in ACCOUNTS[1:4]:
            join(task, worker)
        chain = ("--rpc", anvil.url, "--factory", deployed.factory.lower(), "--from", deployed.block)
        done = bfl_events("tail", *chain, "--once", "--json")
        names = [json.loads(line)["event"] for line in done.stdout.splitlines()]
        assert names == ["TaskCreated", "TaskInitialized", *["WorkerJoined"] * 3]
        assert "WorkerJoined" in bfl_events("tail", *chain, "--once").stdout
        out = tmp_path / "events.jsonl"
        assert bfl_events("export", *chain, "-o", out).returncode == 0
        done = bfl_events("verify", out, "--implementation", deployed.implementation)
        assert (done.returncode, done.stderr) == (0, "")
        assert bfl_events("tail", *chain, "--chain-id", "1").returncode == 14
        assert bfl_events("tail", "--rpc", anvil.url, "--factory", ACCOUNTS[0]).returncode == 14


def test_tail_follows_until_a_signal_ends_it_cleanly(tmp_path: Path) -> None:
    with start_anvil(tmp_path) as anvil:
        deployed = deploy(anvil.url)
        arguments = command("tail", "--rpc", anvil.url, "--factory", deployed.factory, "--json")
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env=ENVIRONMENT) as running:
            assert running.stdout is not None
            for _ in range(2):
                create_task(anvil.url, deployed.factory)
                for name in ("TaskCreated", "TaskInitialized"):
                    assert json.loads(running.stdout.readline())["event"] == name
            began = time.monotonic()
            running.send_signal(signal.SIGTERM)
            assert running.wait(10) == 0
            assert time.monotonic() - began < 5
