"""Around the run: whatever comes of it, the exit code, what people are told and what is kept fit to it."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.cli.exits import Exit
from agents.cli.failures import Failure
from agents.demo import entry
from agents.demo.chaos import Chaos
from agents.demo.display import Display
from agents.demo.plan import Plan
from tests.cli.command import Answer, Operator
from tests.demo.test_summary import result

Run = Callable[[Plan, Display], Awaitable[dict[str, Any]]]


@pytest.fixture(autouse=True)
def _temporary_files_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run: Run, *options: str) -> Answer:
    """The command, with another run in place of the real one."""
    monkeypatch.setattr(entry, "perform", run)
    return Operator(tmp_path / "home")("demo", *options)


def ending(found: dict[str, Any]) -> Run:
    async def run(plan: Plan, display: Display) -> dict[str, Any]:
        (plan.directory / "result.json").write_text(json.dumps(found))
        return found
    return run


def kept(tmp_path: Path) -> list[Path]:
    return list(tmp_path.glob("bfl-demo-*"))


BROKEN = result(ok=False, proof=[{"claim": "the contract holds nothing any more", "holds": False, "seen": "5 wei"}])


def test_a_proven_run_exits_0_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answer = demo(monkeypatch, tmp_path, ending(result()))
    assert answer.code == Exit.OK
    assert "Proven: " in answer.out
    assert kept(tmp_path) == []


def test_a_proof_that_fails_says_which_claim_exits_23_and_keeps_the_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answer = demo(monkeypatch, tmp_path, ending(BROKEN))
    assert answer.code == Exit.ENDED_BADLY == 23
    assert "✗ the contract holds nothing any more: 5 wei" in answer.out
    assert "NOT proven: " in answer.out
    (directory,) = kept(tmp_path)
    assert f"The run's files are kept in {directory}." in answer.err
    assert json.loads((directory / "result.json").read_text()) == BROKEN


def test_a_program_is_told_of_a_failed_proof_by_the_code_and_the_document(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answer = demo(monkeypatch, tmp_path, ending(BROKEN), "--json", "--keep", str(tmp_path / "results"))
    assert answer.code == 23
    assert answer.json == BROKEN
    assert (tmp_path / "results" / "result.json").exists()


def test_a_run_that_cannot_go_on_keeps_its_files_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def run(plan: Plan, display: Display) -> dict[str, Any]:
        raise Failure("The local chain ended.", "It was killed.", "Start the demo again.", Exit.NO_RPC)

    answer = demo(monkeypatch, tmp_path, run)
    assert answer.code == Exit.NO_RPC
    assert "✗ The local chain ended.\n  Why  It was killed.\n" in answer.err
    (directory,) = kept(tmp_path)
    assert f"The run's files are kept in {directory}." in answer.err


Soak = tuple[Plan, Chaos]


def soaks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *options: str) -> tuple[Soak, Answer]:
    """What a soak that fails was asked to do, and what was said of it."""
    asked: list[Soak] = []

    async def fail(plan: Plan, chaos: Chaos, display: Display) -> dict[str, Any]:
        asked.append((replace(plan, directory=tmp_path), chaos))
        raise Failure("The task does not end.", exit=Exit.ENDED_BADLY)

    monkeypatch.setattr(entry, "endure", fail)
    answer = Operator(tmp_path / "home")("demo", *options)
    assert answer.code == 23
    return asked[0], answer


@pytest.mark.parametrize("options", [
    "--chaos kill", "--chaos rpc,store --seed 0 --minutes 0.5", "--chaos reorg --workers 5 --rounds 2 --every-fault",
    "--chaos kill --malicious 2 --attack noise,lazy --minutes 1.2345678", "--chaos kill --task mnist --data-dir .",
])
@pytest.mark.parametrize("as_json", [False, True])
def test_a_soak_that_fails_tells_the_command_that_repeats_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: str, *, as_json: bool
) -> None:
    asked, answer = soaks(monkeypatch, tmp_path, *options.split(), *(["--json"] if as_json else []))
    lines = answer.err.splitlines()
    (told,) = [json.loads(line)["again"] for line in lines if line.startswith('{"again":')] if as_json else \
        [line.removeprefix("again: ") for line in lines if line.startswith("again: ")]
    program, command, *words = shlex.split(told)
    assert (program, command) == ("bfl-agent", "demo")
    assert "--seed" in words
    assert soaks(monkeypatch, tmp_path, *words)[0] == asked


def test_without_a_seed_the_faults_are_others_every_time_and_the_seed_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = [soaks(monkeypatch, tmp_path, "--chaos", "kill,rpc") for _ in range(5)]
    assert len({chaos.seed for (_, chaos), _ in found}) > 1
    for (plan, chaos), answer in found:
        assert plan.seed == chaos.seed
        assert f" s  kill,rpc for 1 minutes, seed {chaos.seed}\n" in answer.err


def test_a_demo_without_faults_always_has_the_same_data_and_needs_no_command_to_repeat_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seeds = []

    async def run(plan: Plan, display: Display) -> dict[str, Any]:
        seeds.append(plan.seed)
        return BROKEN

    assert "again" not in demo(monkeypatch, tmp_path, run).err
    demo(monkeypatch, tmp_path, run, "--seed", "7")
    assert seeds == [0, 7]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run_in_order_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: signal.Signals
) -> None:
    ended = []

    async def run(plan: Plan, display: Display) -> dict[str, Any]:
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(60)
        finally:
            ended.append(True)
        raise AssertionError("it was not stopped")

    answer = demo(monkeypatch, tmp_path, run)
    assert answer.code == 128 + number
    assert f"Stopped by {number.name}. Nothing is left running." in answer.err
    assert ended == [True]
    assert kept(tmp_path) == []
