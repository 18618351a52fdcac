"""The process: its pipes, its end, and what reaches its parent when something goes wrong."""

import json
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.learning import weights

ROOT = Path(__file__).resolve().parents[2]

CHATTY = """
import os, sys
print("importing")
os.write(1, b"raw bytes on descriptor 1\\n")
import torch
from torch import nn

def build_model(config):
    print("building")
    return nn.Linear(4, 4)

def load_data(config):
    sys.stdout.write("loading\\n")
    assert sys.stdin.read() == ""
    os.system("echo from a subprocess")
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(1))
    return (x[:200], x[:200].argmax(dim=1)), (x[200:], x[200:].argmax(dim=1))
"""


class Child:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "agents.learning.child"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.sent = 0

    def write(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer = json.loads(self.process.stdout.readline())
        assert isinstance(answer, dict)
        return answer

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """The final answer; progress is collected under "seen"."""
        self.sent += 1
        self.write(json.dumps({"id": self.sent, "op": op, **fields}))
        seen = []
        while "progress" in (answer := self.read()):
            assert answer["id"] == self.sent
            seen.append(answer["progress"])
        assert answer["id"] == self.sent
        return {**answer, "seen": seen}

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@pytest.fixture
def child() -> Iterator[Child]:
    made = Child()
    yield made
    made.process.kill()
    made.process.communicate()


@pytest.fixture
def own(tmp_path: Path, request_of: Callable[..., dict[str, Any]]) -> Callable[[str], dict[str, Any]]:
    def make(text: str) -> dict[str, Any]:
        (tmp_path / "task.py").write_text(text)
        task = {"id": "mine", "config": {}, "path": str(tmp_path / "task.py"), "sha256": "0" * 64}
        return request_of(task=task, data={}, classes=4)

    return make


SLOW = CHATTY + '''
import time

class Slow(nn.Linear):
    def forward(self, x):
        time.sleep(0.005)
        return super().forward(x)

def build_model(config):
    return Slow(4, 4)
'''


def test_sigterm_ends_training_at_its_next_checkpoint_and_the_child_stays(
    child: Child, own: Any, tmp_path: Path
) -> None:
    (tmp_path / "checkpoints").mkdir()
    epochs = {"training": own(SLOW)["training"] | {"local_epochs": 40}}
    assert "ok" in child.ask("setup", **own(SLOW) | epochs)
    child.ask("genesis", seed=1, out=str(tmp_path / "g"))
    child.write(json.dumps({"id": 3, "op": "train", "base": str(tmp_path / "g"), "out": str(tmp_path / "m"), "seed": 1,
                            "checkpoint_dir": str(tmp_path / "checkpoints")}))
    assert child.read()["progress"]["epoch"] == 1
    child.process.send_signal(signal.SIGTERM)
    while "progress" in (answer := child.read()):
        pass
    assert answer["error"]["kind"] == "stopped"
    assert (tmp_path / "checkpoints" / "training.ckpt").is_file()
    assert not (tmp_path / "m").exists()
    child.sent = 3
    assert "ok" in child.ask("describe")
    code, out, _ = child.end()
    assert (code, out) == (0, "")


def test_a_users_prints_and_reads_never_touch_the_conversation(child: Child, own: Any, tmp_path: Path) -> None:
    warnings = child.ask("setup", **own(CHATTY))["ok"]["warnings"]
    assert len(warnings) == 1
    assert "compare the two" in warnings[0]
    child.ask("genesis", seed=1, out=str(tmp_path / "g"))
    trained = child.ask("train", base=str(tmp_path / "g"), out=str(tmp_path / "m"), seed=1)
    assert trained["ok"]["hash"] == weights.model_hash(tmp_path / "m")
    assert [p["epoch"] for p in trained["seen"]] == [1, 2, 3]
    code, out, err = child.end()
    assert (code, out) == (0, "")
    for said in ("importing", "raw bytes on descriptor 1", "building", "loading", "from a subprocess"):
        assert said in err


def test_aggregating_and_checking_import_no_torch(child: Child, request_of: Any, tmp_path: Path) -> None:
    child.ask("setup", **request_of())
    for name in ("base", "a", "b"):
        weights.write_arrays(tmp_path / name, {"w": np.full(9, float(len(name)), dtype=np.float32)})
    models = [{"index": i, "path": str(tmp_path / name)} for i, name in enumerate("ab")]
    assert child.ask("check", path=models[0]["path"], genesis=str(tmp_path / "base"))["ok"]["valid"] is True
    assert (
        child.ask("aggregate", base=str(tmp_path / "base"), models=models, out=str(tmp_path / "g"))["ok"]["clipped"]
        == []
    )
    assert child.ask(
        "audit", genesis=str(tmp_path / "a"), base=str(tmp_path / "g"), beta="0.1", out=str(tmp_path / "x")
    )["ok"]
    maps = Path(f"/proc/{child.process.pid}/maps")
    if not maps.exists():
        pytest.skip("loaded libraries are read from /proc")
    assert "libtorch" not in maps.read_text()


def test_errors_are_answered_in_order_and_the_child_goes_on(child: Child, request_of: Any) -> None:
    child.write("this is no JSON")
    child.write("[1, 2]")
    child.write(json.dumps({"id": "x", "op": "describe"}))
    answers = [child.read() for _ in range(3)]
    assert [answer["id"] for answer in answers] == [None, None, "x"]
    assert [answer["error"]["message"][:32] for answer in answers] == [
        "the request is not a JSON object",
        "the request is not a JSON object",
        "the first request must be setup",
    ]
    assert child.ask("setup", **request_of(colour=1))["error"]["kind"] == "task"
    assert child.ask("setup", **request_of(data={"dir": "/nowhere"}, task={"id": "mnist"}))["ok"] == {"warnings": []}
    assert child.ask("setup", **request_of())["error"]["message"] == "setup was done before"
    error = child.ask("describe")["error"]
    assert (error["kind"], error["do"]) == ("data", "check --data-dir")
    assert child.ask("nothing")["error"]["message"] == "unknown operation 'nothing'"
    assert child.end()[0] == 0


def test_a_task_file_that_raises_is_an_error_of_the_task(child: Child, own: Any) -> None:
    child.ask("setup", **own("raise SystemExit('not today')"))
    error = child.ask("warm")["error"]
    assert error["kind"] == "task"
    assert "importing task.py failed: SystemExit: not today" in error["message"]


def test_a_full_disk_is_said_and_leaves_files_as_they_were(child: Child, request_of: Any, tmp_path: Path) -> None:
    child.ask("setup", **request_of())
    child.ask("genesis", seed=1, out=str(tmp_path / "g"))
    before = (tmp_path / "g").read_bytes()
    resource.prlimit(child.process.pid, resource.RLIMIT_FSIZE, (10_000, 10_000))
    for op in ("genesis", "train", "aggregate"):
        error = child.ask(op, seed=2, base=str(tmp_path / "g"), models=[], out=str(tmp_path / "g"))["error"]
        assert error["kind"] == "disk"
        assert "File too large" in error["message"]
    error = child.ask("train", seed=2, base=str(tmp_path / "g"), out=str(tmp_path / "m"), checkpoint_dir=str(tmp_path))[
        "error"
    ]
    assert error["kind"] == "disk"
    assert os.listdir(tmp_path) == ["g"]
    assert (tmp_path / "g").read_bytes() == before


def test_an_error_of_its_own_is_answered_and_ends_it(child: Child, request_of: Any) -> None:
    child.ask("setup", **request_of())
    error = child.ask("aggregate", base="/x", models=7, out="/y")["error"]
    assert error["kind"] == "internal"
    code, _, err = child.end()
    assert code == 1
    assert "Traceback" in err


def test_ctrl_c_is_the_agents_business(child: Child, request_of: Any) -> None:
    child.ask("setup", **request_of())
    child.process.send_signal(signal.SIGINT)
    assert child.ask("nothing")["error"]["kind"] == "internal"


def test_requests_before_the_end_of_file_are_served(request_of: Any, tmp_path: Path) -> None:
    lines = [
        {"id": 1, "op": "setup", **request_of()},
        {"id": 2, "op": "genesis", "seed": 1, "out": str(tmp_path / "g")},
    ]
    done = subprocess.run(
        [sys.executable, "-m", "agents.learning.child"],
        cwd=ROOT,
        input="\n".join(json.dumps(line) for line in lines),
        capture_output=True,
        text=True,
        check=True,
    )
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [1, 2]


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_it_dies_with_its_parent_even_when_its_stdin_stays_open(request_of: Any) -> None:
    """The parent is killed while this process holds the child's stdin open: no end of file is there to end it."""
    reading, writing = os.pipe()
    answers, answering = os.pipe()
    script = "import subprocess, sys; subprocess.run([sys.executable, '-m', 'agents.learning.child'])"
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdin=reading, stdout=answering)
    os.close(reading)
    os.close(answering)
    os.write(writing, (json.dumps({"id": 1, "op": "setup", **request_of()}) + "\n").encode())
    with open(answers) as stream:
        assert "ok" in json.loads(stream.readline())
        parent.kill()
        parent.wait()
        assert select.select([stream], [], [], 20)[0]
        assert stream.readline() == ""  # the child's end of the pipe is closed: it is gone
    os.close(writing)


def test_a_killed_training_is_resumed_by_the_next_child(request_of: Any, tmp_path: Path) -> None:
    training = {"local_epochs": 20, "batch_size": 16, "optimizer": {"learning_rate": "0.01", "momentum": "0.9"}}
    fields = {"base": str(tmp_path / "g"), "seed": 5, "checkpoint_dir": str(tmp_path)}
    first, second = Child(), Child()
    first.ask("setup", **request_of(training=training))
    first.ask("genesis", seed=1, out=str(tmp_path / "g"))
    first.write(json.dumps({"id": 9, "op": "train", **fields, "out": str(tmp_path / "m")}))
    while first.read()["progress"]["epoch"] < 6:
        pass
    first.process.kill()
    first.end()
    assert not (tmp_path / "m").exists()
    second.ask("setup", **request_of(training=training))
    resumed = second.ask("train", **fields, out=str(tmp_path / "m"))
    assert resumed["seen"][0]["epoch"] >= 6
    whole = second.ask("train", base=str(tmp_path / "g"), seed=5, out=str(tmp_path / "w"))
    assert len(whole["seen"]) == 20
    assert whole["ok"]["hash"] == resumed["ok"]["hash"]
    second.process.kill()
    second.end()
