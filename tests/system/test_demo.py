"""The main job on real input: `bfl-agent demo` with real processes, its proof checked without believing it."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from typer.testing import CliRunner

from agents.cli.arguments import arrange
from agents.crypto.keys import load_encryption_keys
from agents.crypto.keystore import read_password
from agents.demo.telltale import seconds_of
from agents.storage.cid import to_text
from bfl_events import schema as ev
from bfl_events.archive import open_archive
from bfl_events.cli import app as bfl_events
from bfl_events.compare import compare
from bfl_events.verify import verify
from tests.cli.command import Operator
from tests.cli.test_pages import PROGRAMS, understood
from tests.system.demo_process import RunningDemo, running_demo
from tests.system.recompute import blob, clipped_mean, opened_by, sha256
from tests.system.secret_forms import secret_forms, written

pytestmark = pytest.mark.demo
ROUNDS, WORKERS = 5, 3


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    """The demo as `make demo` runs it, kept."""
    with running_demo(tmp_path_factory.mktemp("honest") / "demo") as demo:
        assert demo.wait() == 0, demo.told()
        assert not demo.processes(), "somebody was left running"
        yield demo


@pytest.fixture(scope="module")
def keys(finished: RunningDemo) -> Mapping[str, Mapping[bytes, RSAPrivateKey]]:
    """Each participant's encryption keys; opening one takes a second, as it should."""
    homes = {one["name"]: finished.directory / one["name"] for one in finished.result()["participants"]}
    return {name: load_encryption_keys(home / "keystore" / "encryption", read_password(home / "secrets" / "password"))
            for name, home in homes.items()}


def test_it_tells_what_everybody_does_while_it_runs(finished: RunningDemo) -> None:
    """On a pipe: lines with the time, each with the phase, what the participants do and the gas so far."""
    lines = [re.fullmatch(r" *(\d+\.\d) s  (.*)", line) for line in finished.stderr.read_text().splitlines()]
    moments, told = zip(*((float(line[1]), line[2]) for line in lines if line is not None), strict=True)
    assert len(told) == len(lines), "every line has its time"
    assert list(moments) == sorted(moments)
    result = finished.result()
    progress = [line for line in told if re.search(r"   gas [\d,]+$", line)]
    for number, settled in enumerate(result["rounds"], 1):
        assert any(line.startswith(f"round {number}/{ROUNDS}: ") for line in progress)
        (accuracy,) = [line[1] for line in map(settling(number).match, told) if line is not None]
        assert float(accuracy) == pytest.approx(settled["accuracy"], abs=0.00051), "to three digits"
    for one in result["participants"]:
        assert any(re.search(rf"[ ,]{one['name']} [a-z]", line) for line in progress), f"no step of {one['name']}"
    gas = [int(line.rpartition(" gas ")[2].replace(",", "")) for line in progress]
    assert gas == sorted(gas)
    assert 0 < gas[0] < gas[-1]
    assert gas[-1] > 0.9 * sum(cost["calls"] * cost["mean"] for cost in result["gas"].values()), "withdrawals follow"


def settling(number: int) -> re.Pattern[str]:
    return re.compile(rf"round {number}/{ROUNDS} settled: accuracy (\S+); averaged worker-\d")


def test_its_last_screen_has_the_result_and_the_proof(finished: RunningDemo) -> None:
    result, told = finished.result(), finished.stdout.read_text()
    for settled in result["rounds"]:
        numbers = (f"{settled[name]:.4f}" for name in ("accuracy", "precision", "recall"))
        assert re.search(rf"^{settled['round']} +{' +'.join(numbers)} ", told, re.MULTILINE)
    for one in result["participants"]:
        assert re.search(rf"^{one['name']} +0x", told, re.MULTILINE)
    for name, cost in result["gas"].items():
        assert re.search(rf"^{name} +{cost['calls']} +{cost['mean']:,} +{cost['max']:,}$", told, re.MULTILINE)
    for check in result["proof"]:
        assert f"✓ {check['claim']}: {check['seen']}\n" in told
    assert f"Proven: {ROUNDS} rounds in {result['wall_s']:.1f} s, nobody died." in told
    assert f"Everything is in {finished.directory} " in told


def test_the_three_commands_to_try_next_exist_and_the_first_proves_the_payouts(finished: RunningDemo) -> None:
    _, _, last = finished.stdout.read_text().partition("\nNext:")
    following = [shlex.split(re.split(" {2,}", line)[1]) for line in last.splitlines()]
    assert len(following) == 3
    for program, *words in following:
        understood(PROGRAMS[program], arrange(words) if program == "bfl-agent" else words)
    told = CliRunner().invoke(bfl_events, following[0][1:])
    assert told.exit_code == 0, told.output
    assert f"{len(finished.records())} events: every number follows" in told.output


def test_no_key_and_no_password_is_in_anything_it_told_or_logged(
    finished: RunningDemo, keys: Mapping[str, Mapping[bytes, RSAPrivateKey]]
) -> None:
    """Nor in what it exported: nowhere but in keystores and, the password, in its file."""
    told = written(finished.directory) | {path.name: path.read_bytes() for path in (finished.stdout, finished.stderr)}
    assert len([name for name in told if name.endswith(".log")]) >= 1 + 2 * (1 + WORKERS), "the chain's, two of each"
    for name, encryption in keys.items():
        forms = secret_forms(finished.directory / name, encryption)
        assert len(forms) > 50, "a password, an account's key, an encryption key's numbers and lines"
        for what, form in forms.items():
            assert [path for path, text in told.items() if form in text] == [], f"{what} of {name}"


def test_the_result_has_the_promised_shape_and_says_ok(finished: RunningDemo) -> None:
    result = finished.result()
    assert result["ok"] is True
    assert result["task"] == "digits"
    assert result["restarts"] == 0
    assert [one["round"] for one in result["rounds"]] == list(range(1, ROUNDS + 1))
    workers = {one["address"] for one in result["participants"] if one["role"] == "worker"}
    assert len(workers) == WORKERS
    for one in result["rounds"]:
        assert one["attempts"] == 1
        assert one["penalties"] == []
        assert set(one["accepted"]) <= workers
        assert set(one["top"]) <= set(one["accepted"])
        assert one["seconds"].keys() == workers
        for spent in one["seconds"].values():
            assert spent.keys() == {"train", "score", "exchange", "chain", "wait"}
            assert spent["train"] > 0
            assert spent["score"] > 0
            assert spent["exchange"] > 0
        for name in ("accuracy", "precision", "recall"):
            assert 0 < one[name] <= 1
    final = result["final"]
    assert final["cid"] in {to_text(event.cid) for event in finished.events(ev.FinalAttested)}
    assert final["accuracy"] >= 0.95
    assert (final["accuracy"], final["precision"], final["recall"]) == tuple(
        result["rounds"][-1][name] for name in ("accuracy", "precision", "recall"))
    assert result["contract"]["balance_wei_after"] == "0"
    commits = finished.events(ev.ModelCommitted)
    for one in result["participants"]:
        assert one["malicious"] is None
        assert one["slashed_wei"] == "0"
        assert one["peak_rss_mib"] > 20
        assert one["base_hashes"] == [event.base_hash.hex() for event in commits if event.worker == one["address"]]
        assert len(one["base_hashes"]) == (ROUNDS if one["role"] == "worker" else 0)
    assert all(isinstance(wei, str) and wei.isdecimal() for wei in amounts(result))
    assert len(list(amounts(result))) == 1 + 2 * (1 + WORKERS)
    assert {"createTask", "joinTask", "commitModel", "openModel", "commitScores", "submitScore", "nextRound",
            "attestFinal", "withdraw"} <= result["gas"].keys()
    assert result["gas"]["commitModel"]["calls"] == ROUNDS * WORKERS
    assert all(21_000 < cost["mean"] <= cost["max"] for cost in result["gas"].values())


def amounts(document: Any) -> Iterator[Any]:
    """Whatever stands under a name with `wei` in it, however deep."""
    if isinstance(document, list):
        for one in document:
            yield from amounts(one)
    elif isinstance(document, dict):
        for name, value in document.items():
            yield from [value] if "wei" in name.split("_") else amounts(value)


def test_every_worker_reported_the_same_base_in_every_round(finished: RunningDemo) -> None:
    reported: dict[int, set[bytes]] = {}
    for event in finished.events(ev.ModelCommitted):
        reported.setdefault(event.round, set()).add(event.base_hash)
    assert reported.keys() == set(range(1, ROUNDS + 1))
    assert all(len(bases) == 1 for bases in reported.values())
    told = {one["round"]: {bytes.fromhex(one["base_hash"])} for one in finished.result()["rounds"]}
    assert told == reported


def test_the_requesters_file_is_the_attested_model(finished: RunningDemo) -> None:
    (accepted,) = finished.events(ev.FinalModelAccepted)
    model = (finished.directory / "model.safetensors").read_bytes()
    assert hashlib.sha256(model).digest() == accepted.final_hash
    assert finished.result()["final"]["model_hash"] == accepted.final_hash.hex()
    assert {event.final_hash for event in finished.events(ev.FinalAttested)} == {accepted.final_hash}
    (own_copy,) = (finished.directory / "requester" / "results").glob("*.safetensors")
    assert own_copy.read_bytes() == model


def test_what_was_paid_in_was_paid_out(finished: RunningDemo) -> None:
    (created,) = finished.events(ev.TaskInitialized)
    paid_in = created.reward + sum(event.collateral for event in finished.events(ev.WorkerJoined))
    out = sum(event.amount for kind in (ev.Withdrawn, ev.Refunded, ev.Burned) for event in finished.events(kind))
    assert out == paid_in
    workers = [one for one in finished.result()["participants"] if one["role"] == "worker"]
    expected = {one["address"]: created.params.collateral + int(one["earned_wei"]) for one in workers}
    assert {event.worker: event.amount for event in finished.events(ev.Withdrawn)} == expected


def test_the_log_alone_proves_every_number(finished: RunningDemo) -> None:
    assert verify(finished.records(), chain_id=31337) == []


def test_every_global_model_follows_from_the_blobs_and_the_agents_keys(
    finished: RunningDemo, keys: Mapping[str, Mapping[bytes, RSAPrivateKey]]
) -> None:
    """Each worker's view on its own: what it can decrypt, averaged by PROTOCOL 5, is what everybody reported."""
    joined = {event.worker: event.index for event in finished.events(ev.WorkerJoined)}
    (terms,) = finished.events(ev.TaskInitialized)
    bases = {event.round: event.base_hash for event in finished.events(ev.ModelCommitted)}
    (final,) = finished.events(ev.FinalModelAccepted)
    workers = {one["name"]: one["address"] for one in finished.result()["participants"] if one["role"] == "worker"}
    for name, address in workers.items():
        current = blob(finished.directory / "blobs", terms.model_cid)
        assert sha256(current) == terms.params.model_hash == bases[1]
        for scored in finished.events(ev.RoundScored):
            published = [event for event in finished.events(ev.ModelSubmitted) if event.round == scored.round]
            models = {joined[worker]: model
                      for worker, model in opened_by(finished.directory, address, keys[name], published).items()}
            assert len(models) == WORKERS
            accepted = [models[index] for index in sorted(models) if scored.accepted >> index & 1]
            current = clipped_mean(current, accepted)
            expected = bases[scored.round + 1] if scored.round < ROUNDS else final.final_hash
            assert sha256(current) == expected, f"{name}, round {scored.round}"


def test_each_worker_opened_everybody_elses_model_in_every_round(finished: RunningDemo) -> None:
    for number in range(1, WORKERS + 1):
        fetched = {(line["round"], line["sender"]) for line in finished.log(f"worker-{number}")
                   if line["event"] == "round.model.fetched" and line.get("kind") == 0}
        assert len(fetched) == ROUNDS * (WORKERS - 1)


def test_each_training_is_logged_with_the_times_of_its_steps(finished: RunningDemo) -> None:
    for number in range(1, WORKERS + 1):
        lines = finished.log(f"worker-{number}")
        began = {line["round"]: seconds_of(line) for line in lines if line["event"] == "train.started"}
        trained = {line["round"]: line for line in lines if line["event"] == "train.completed"}
        assert trained.keys() == set(range(1, ROUNDS + 1))
        for one in trained.values():
            first, last = one["first_step_at"], one["last_step_at"]
            assert began[one["round"]] <= first < last <= seconds_of(one)
            assert last - first < one["seconds"] <= one["duration_s"]


def test_every_agent_logged_the_same(finished: RunningDemo) -> None:
    exported = open_archive(finished.directory / "events.jsonl")
    for name in ("worker-1", "worker-2", "worker-3", "requester"):
        (own,) = (finished.directory / name).glob("networks/*/events.sqlite")
        found = compare(exported, open_archive(own))
        assert found.difference is None
        assert found.events > 15 * ROUNDS


@pytest.mark.parametrize("memory", ["journal", "ideal"])
@pytest.mark.parametrize("name", ["worker-1", "worker-2", "worker-3", "requester"])
def test_looking_back_finds_the_decisions_that_were_made(finished: RunningDemo, name: str, memory: str) -> None:
    """With the agent's own journal, and with a memory made from the log: its acts, all of them and no others."""
    home, role = finished.directory / name, "requester" if name == "requester" else "worker"
    answer = Operator(home)("run", "--role", role, "--replay", str(finished.directory / "events.jsonl"),
                            "--memory", memory, "--json")
    assert answer.code == 0, answer.err
    *looks, last = [json.loads(line) for line in answer.out.splitlines()]
    summary = last["summary"]
    assert (summary["missed"], summary["open"], summary["unforeseen"]) == (0, [], [])
    done = Counter(gone["intent"] for look in looks for gone in look["gone"] if gone["end"] == "done")
    each = ("CommitModel", "OpenModel", "CommitScores", "SubmitScore")
    once = ("JoinTask", "AttestFinal")
    acts = dict.fromkeys(each, ROUNDS) | dict.fromkeys(once, 1) if role == "worker" else {}
    assert {kind: done[kind] for kind in (*each, *once) if done[kind]} == acts


def test_everything_it_wrote_lies_in_its_directory(finished: RunningDemo) -> None:
    names = {path.name for path in finished.directory.iterdir()}
    assert {"result.json", "events.jsonl", "model.safetensors", "blobs", "requester", "worker-1", "worker-2",
            "worker-3"} <= names
    for name in ("requester", "worker-1"):
        assert (finished.directory / name / "logs" / "agent.log").exists()
        assert (finished.directory / name / "keystore").stat().st_mode & 0o077 == 0
