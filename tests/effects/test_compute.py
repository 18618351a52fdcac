"""The hands on the learning child, with a child of a few lines in its place: asked, killed, cancelled, misled."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agents.effects import child_process, compute
from agents.effects.compute import ChildLearner, learning_command
from agents.effects.ports import LearnerFailed, Transient

CHILD = r'''
import json, os, signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
def say(**message):
    sys.stdout.write(json.dumps(message) + "\n"); sys.stdout.flush()
ready = None
for line in sys.stdin:
    r = json.loads(line); i, op = r["id"], r["op"]
    if op == "setup":
        if r.get("slow"): time.sleep(60)
        if r.get("bad"): say(id=i, error={"kind": "data", "message": "no data", "do": "find some"}); continue
        ready = r; say(id=i, ok={"warnings": ["mind the step"]})
    elif ready is None: say(id=i, error={"kind": "internal", "message": "setup first", "do": ""})
    elif op == "echo": say(id=i, ok={"said": r["text"], "pid": os.getpid(), "setup": ready["name"]})
    elif op == "count":
        for n in range(r["to"]): say(id=i, progress={"n": n})
        say(id=i, ok={})
    elif op == "fail": say(id=i, error={"kind": "task", "message": "it is broken", "do": "mend it"})
    elif op == "die": print("out of ideas", file=sys.stderr, flush=True); os._exit(3)
    elif op == "train":
        told = []; signal.signal(signal.SIGTERM, lambda *_: told.append(1)); say(id=i, progress={"started": True})
        while not told: time.sleep(0.01)
        say(id=i, error={"kind": "stopped", "message": "stopped after epoch 1 of 3", "do": "it goes on"})
    elif op == "hang": say(id=i, progress={"started": True}); time.sleep(60)
    elif op == "nearly": say(id=i, progress={"started": True}); time.sleep(r["s"]); say(id=i, ok={})
    elif op == "garbage": print(r["text"], flush=True); time.sleep(60)
    elif op == "flood":
        while True: sys.stdout.write("x" * 65536)
    elif op == "chatter":
        say(id=i, ok={})
        while True: say(id=i, progress={})
    elif op == "close": os.close(1); time.sleep(60)
    elif op == "noise":
        for _ in range(r["kb"]): sys.stderr.write("y" * 1023 + "\n")
        sys.stderr.flush(); say(id=i, ok={})
    elif op == "spawn": say(id=i, ok={"pid": subprocess.Popen(["sleep", "60"]).pid})
    elif op == "environment": say(id=i, ok=dict(os.environ, nice=os.nice(0), sid=os.getsid(0), cwd=os.getcwd()))
'''


@pytest.fixture
def command(tmp_path: Path) -> tuple[str, ...]:
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    return (sys.executable, str(script))


@pytest.fixture
async def learner(command: tuple[str, ...], tmp_path: Path) -> AsyncIterator[ChildLearner]:
    learner = ChildLearner({"name": "digits"}, tmp_path / "work", command=command, grace_s=0.3)
    yield learner
    await learner.aclose()


async def echo(learner: ChildLearner, text: str = "hi") -> dict[str, Any]:
    return dict(await learner.request("echo", {"text": text}))


def gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def until_gone(pid: int) -> None:
    async with asyncio.timeout(10):
        while not gone(pid):
            await asyncio.sleep(0.01)          # a process is polled; there is nothing else to wait on


# ---- asking


async def test_the_child_starts_with_the_first_request_and_is_set_up_once(learner: ChildLearner) -> None:
    assert learner.pid is None
    first, second = await echo(learner), await echo(learner, "again")
    assert first["pid"] == second["pid"] == learner.pid
    assert (second["said"], second["setup"]) == ("again", "digits")
    assert learner.warnings == ("mind the step",)


async def test_progress_arrives_in_order_before_the_answer(learner: ChildLearner) -> None:
    heard: list[Any] = []
    await learner.request("count", {"to": 500}, lambda values: heard.append(values["n"]))
    assert heard == list(range(500))


async def test_requests_of_several_callers_are_answered_one_after_the_other(learner: ChildLearner) -> None:
    said = await asyncio.gather(*(echo(learner, str(n)) for n in range(20)))
    assert [answer["said"] for answer in said] == [str(n) for n in range(20)]


async def test_a_reported_error_keeps_the_child(learner: ChildLearner) -> None:
    with pytest.raises(LearnerFailed, match="it is broken") as failed:
        await learner.request("fail", {})
    assert (failed.value.kind, failed.value.advice) == ("task", "mend it")
    pid = learner.pid
    assert (await echo(learner))["pid"] == pid


async def test_a_failed_setup_is_reported_and_tried_again_in_a_new_child(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    learner = ChildLearner({"name": "x", "bad": True}, tmp_path, command=command, grace_s=0.3)
    for _ in range(2):
        with pytest.raises(LearnerFailed, match="no data"):
            await echo(learner)
    learner._setup.pop("bad")
    assert (await echo(learner))["said"] == "hi"
    await learner.aclose()


# ---- dying


async def test_a_dead_child_is_transient_says_how_and_is_replaced(learner: ChildLearner) -> None:
    with pytest.raises(Transient, match=r"died in die: it ended with status 3; its last words: out of ideas"):
        await learner.request("die", {})
    assert (await echo(learner))["setup"] == "digits"


async def test_a_killed_child_is_transient_and_is_replaced(learner: ChildLearner) -> None:
    pid = (await echo(learner))["pid"]
    with pytest.raises(Transient, match="killed by signal 9"):
        await learner.request("hang", {}, lambda _: os.kill(pid, signal.SIGKILL))
    assert (await echo(learner))["pid"] != pid


async def test_a_child_killed_while_idle_is_replaced_without_a_word(learner: ChildLearner) -> None:
    pid = (await echo(learner))["pid"]
    os.kill(pid, signal.SIGKILL)
    await until_gone(pid)
    for _ in range(2):
        with suppress(Transient):              # the death may be noticed only by writing
            assert (await echo(learner))["pid"] != pid
            return
    pytest.fail("not replaced")


async def test_a_child_that_closes_its_answers_is_replaced(learner: ChildLearner) -> None:
    with pytest.raises(Transient):
        await learner.request("close", {})
    assert await echo(learner)


@pytest.mark.parametrize("text", [
    "Epoch 1/5", "[]", "17", '{"id": 999, "ok": {}}', '{"id": 3}', '{"id": 3, "ok": []}', "[" * 200_000, '{"id": 3, "o',
])
async def test_garbage_on_its_stdout_is_transient_and_costs_the_child_its_life(
    learner: ChildLearner, text: str
) -> None:
    pid = (await echo(learner))["pid"]
    with pytest.raises(Transient, match="was killed|died"):
        await learner.request("garbage", {"text": text})
    await until_gone(pid)
    assert await echo(learner)


async def test_a_line_without_end_is_refused_before_it_fills_the_memory(
    learner: ChildLearner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "MAX_LINE_BYTES", 1 << 20)
    with pytest.raises(Transient, match="line of more than 1 MiB"):
        await learner.request("flood", {})
    assert await echo(learner)


async def test_answers_that_nobody_asked_for_are_refused(
    learner: ChildLearner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "MAX_WAITING_LINES", 100)
    pid = (await echo(learner))["pid"]
    with suppress(Transient):                  # the flood may arrive together with the answer
        await learner.request("chatter", {})
    await until_gone(pid)
    assert (await echo(learner))["pid"] != pid


async def test_a_command_that_does_not_exist_is_transient_with_its_name(tmp_path: Path) -> None:
    learner = ChildLearner({}, tmp_path, command=("/nowhere/python",))
    with pytest.raises(Transient, match="cannot be started.*nowhere"):
        await echo(learner)
    await learner.aclose()


async def test_a_setup_that_hangs_is_given_up(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute, "_SETUP_S", 0.2)
    learner = ChildLearner({"name": "x", "slow": True}, tmp_path, command=command, grace_s=0.1)
    with pytest.raises(Transient, match="not ready"):
        await echo(learner)
    await learner.aclose()


# ---- no longer wanted


async def cancelled_in(learner: ChildLearner, operation: str, **fields: Any) -> int:
    """Cancel a request once it runs; the child's pid."""
    running = asyncio.Event()
    task = asyncio.create_task(learner.request(operation, fields, lambda _: running.set()))
    await asyncio.wait_for(running.wait(), 20)
    pid = learner.pid
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pid is not None
    return pid


async def test_a_cancelled_request_costs_the_child_its_life_after_the_grace(learner: ChildLearner) -> None:
    pid = await cancelled_in(learner, "hang")
    assert not gone(pid)
    await until_gone(pid)
    assert (await echo(learner))["pid"] != pid


async def test_a_cancelled_request_that_ends_in_time_keeps_the_child(learner: ChildLearner) -> None:
    pid = await cancelled_in(learner, "nearly", s=0.05)
    assert (await echo(learner, "next"))["said"] == "next"
    assert learner.pid == pid


async def test_a_setup_cancelled_and_failed_leaves_no_half_ready_child(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    learner = ChildLearner({"name": "x", "slow": True}, tmp_path, command=command, grace_s=0.1)
    task = asyncio.create_task(echo(learner))
    async with asyncio.timeout(10):
        while learner.pid is None:
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    learner._setup.pop("slow")
    assert (await echo(learner))["said"] == "hi"
    await learner.aclose()


async def test_restart_ends_the_running_request_at_once(learner: ChildLearner) -> None:
    running = asyncio.Event()
    task = asyncio.create_task(learner.request("hang", {}, lambda _: running.set()))
    await asyncio.wait_for(running.wait(), 20)
    pid = learner.pid
    await learner.restart()
    with pytest.raises(Transient):
        await task
    assert (await echo(learner))["pid"] != pid
    await learner.restart()
    assert (await echo(learner))["said"] == "hi"


async def test_winding_up_ends_a_training_at_its_checkpoint_and_keeps_the_child(learner: ChildLearner) -> None:
    learner.wind_up()                          # there is no child yet: nothing to do
    running = asyncio.Event()
    task = asyncio.create_task(learner.request("train", {}, lambda _: running.set()))
    await asyncio.wait_for(running.wait(), 20)
    pid = learner.pid
    learner.wind_up()
    with pytest.raises(LearnerFailed, match="stopped after epoch 1 of 3") as stopped:
        await asyncio.wait_for(task, 20)
    assert stopped.value.kind == "stopped"
    assert (await echo(learner))["pid"] == pid


async def test_a_progress_function_that_raises_does_not_leave_the_child_talking(learner: ChildLearner) -> None:
    def raises(_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await learner.request("count", {"to": 50}, raises)
    assert (await echo(learner, "after"))["said"] == "after"


# ---- its end, and its place


async def test_aclose_leaves_no_process_even_of_the_childs_own(learner: ChildLearner) -> None:
    grandchild = (await learner.request("spawn", {}))["pid"]
    pid = learner.pid
    await learner.aclose()
    assert pid is not None
    await until_gone(pid)
    await until_gone(grandchild)
    with pytest.raises(Transient, match="closed"):
        await echo(learner)


async def test_the_child_has_a_session_of_its_own_no_secrets_and_its_niceness(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BFL_ACCOUNT__PASSWORD", "secret")
    learner = ChildLearner({"name": "x"}, tmp_path / "work", command=command, nice=5)
    seen = await learner.request("environment", {})
    assert not [name for name in seen if name.startswith("BFL_")]
    assert (seen["sid"], seen["nice"], seen["cwd"]) == (learner.pid, os.nice(0) + 5, str(tmp_path / "work"))
    await learner.aclose()


async def test_its_log_is_bounded_and_keeps_the_end(
    learner: ChildLearner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "MAX_LOG_BYTES", 200_000)
    await learner.request("noise", {"kb": 2_000})
    await learner.aclose()
    sizes = [path.stat().st_size for path in (tmp_path / "work").glob("learner.log*")]
    assert len(sizes) == 2
    assert 0 < sum(sizes) <= 400_000


def test_a_child_does_not_outlive_an_agent_that_is_killed(command: tuple[str, ...], tmp_path: Path) -> None:
    script = f"""
import asyncio
from pathlib import Path
from agents.effects.compute import ChildLearner
async def main():
    learner = ChildLearner({{"name": "x"}}, Path({str(tmp_path)!r}), command={command!r})
    print((await learner.request("echo", {{"text": ""}}))["pid"], flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    root = Path(compute.__file__).resolve().parents[2]
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=root) as agent:
        assert agent.stdout is not None
        pid = int(agent.stdout.readline())
        agent.kill()
    end = time.monotonic() + 10
    while not gone(pid) and time.monotonic() < end:
        pass
    assert gone(pid)


async def test_the_real_child_answers_through_the_same_hands(tmp_path: Path) -> None:
    """Without torch: a setup that names no data is refused by name."""
    learner = ChildLearner({"nonsense": 1}, tmp_path / "work", command=learning_command())
    with pytest.raises(LearnerFailed):
        await learner.request("describe", {})
    await learner.aclose()
