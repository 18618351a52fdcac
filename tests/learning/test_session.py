"""A whole round as one child does it, in this process: operations on files, for built-in tasks and for a user's own."""

import hashlib
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from agents.learning import weights
from agents.learning.exact import ExactThread
from agents.learning.failure import Failure
from agents.learning.layout import read_layout
from agents.learning.session import Session
from agents.learning.settings import from_request

MNIST = Path(os.environ.get("MNIST_DIR") or Path(__file__).resolve().parents[3] / "shared" / "data" / "mnist")

TASK = """
import torch
from torch import nn

def build_model(config):
    return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Linear(16, config["classes"]))

def load_data(config):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(300, 4, generator=generator)
    y = x.argmax(dim=1)
    return (x[:200], y[:200]), (x[200:], y[200:])
"""

REGRESSION = """
import torch
from torch import nn

def build_model(config):
    return nn.Linear(3, 1)

def load_data(config):
    x = torch.randn(120, 3, generator=torch.Generator().manual_seed(1))
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]])
    return (x[:80], y[:80]), (x[80:], y[80:])

def train(model, data, config):
    x, y = data
    optimizer = torch.optim.SGD(model.parameters(), lr=config["optimizer"]["learning_rate"])
    for _ in range(config["local_epochs"]):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
    print("trained with seed", config["seed"], "on", config["device"])

def evaluate(model, data, config):
    x, y = data
    assert not model.training and not torch.is_grad_enabled()
    if not torch.isfinite(model(x)).all():
        raise ValueError("what is this?")
    return {"score": float(1 / (1 + nn.functional.mse_loss(model(x), y)))}
"""


def quiet(_: Mapping[str, Any]) -> None:
    pass


Ask = Callable[..., dict[str, Any]]


def session(request: dict[str, Any]) -> Ask:
    made = Session(from_request(request), request, ExactThread())
    return lambda op, report=quiet, **fields: made.answer(op, {"op": op, **fields}, report)


@pytest.fixture(scope="module")
def digits() -> list[Ask]:
    """Three workers of the digits task."""
    common: dict[str, Any] = {
        "task": {"id": "digits"},
        "training": {"local_epochs": 5, "batch_size": 16, "optimizer": {"learning_rate": "0.05", "momentum": "0.9"}},
        "classes": 10,
        "device": "cpu",
    }
    return [
        session({**common, "data": {"partition": {"kind": "iid", "index": i, "of": 3, "seed": 1}}}) for i in range(3)
    ]


@pytest.fixture
def own(tmp_path: Path, request_of: Callable[..., dict[str, Any]]) -> Callable[..., Ask]:
    def make(text: str, classes: int = 4, **changes: Any) -> Ask:
        (tmp_path / "task.py").write_text(text)
        task = {"id": "mine", "config": {"classes": classes}, "path": str(tmp_path / "task.py"), "sha256": None}
        return session(request_of(task=task, data={}, classes=classes, **changes))

    return make


def paths(folder: Path, *names: str) -> list[str]:
    return [str(folder / name) for name in names]


def test_five_federated_rounds_reach_95_percent_on_what_nobody_trained_on(digits: list[Ask], tmp_path: Path) -> None:
    genesis, base = paths(tmp_path, "genesis", "genesis")
    done = digits[0]("genesis", seed=1, out=genesis)
    assert digits[1]("genesis", seed=1, out=str(tmp_path / "again")) == done
    for number in range(5):
        models = []
        for index, worker in enumerate(digits):
            out = str(tmp_path / f"m{number}.{index}")
            trained = worker("train", base=base, out=out, seed=number * 3 + index, checkpoint_dir=str(tmp_path))
            assert trained["hash"] == hashlib.sha256(Path(out).read_bytes()).hexdigest()
            models.append({"index": index, "path": out})
        hashes = {
            worker("aggregate", base=base, models=models, out=str(tmp_path / f"g{number}"))["hash"] for worker in digits
        }
        assert len(hashes) == 1
        base = str(tmp_path / f"g{number}")
    found = digits[0]("evaluate", path=base, split="test")
    assert found["samples"] == 359
    assert found["accuracy"] >= 0.95
    assert not (tmp_path / "training.ckpt").exists()


def test_a_worker_knows_its_task(digits: list[Ask]) -> None:
    described = digits[0]("describe")
    assert described == {
        "parameters": 38_282,
        "model_bytes": described["model_bytes"],
        "train_samples": 359,
        "validation_samples": 120,
        "scoring_samples": 120,
        "classes": 10,
        "labels_seen": list(range(10)),
        "reference_sha256": None,
    }


@pytest.fixture(scope="module")
def one_round(digits: list[Ask], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """genesis, base (after two trainings), m0 … m2 trained from base."""
    folder = tmp_path_factory.mktemp("round")
    digits[0]("genesis", seed=3, out=str(folder / "genesis"))
    digits[0]("train", base=str(folder / "genesis"), out=str(folder / "base"), seed=1)
    for index, worker in enumerate(digits):
        worker("train", base=str(folder / "base"), out=str(folder / f"m{index}"), seed=10 + index)
    return folder


def test_scores_cover_all_lanes(digits: list[Ask], one_round: Path) -> None:
    genesis, base, *models = paths(one_round, "genesis", "base", "m0", "m1", "m2")
    seen: list[Any] = []
    entries = [
        {"index": 0, "path": models[0], "hash": "", "own": True},
        {"index": 1, "path": models[1], "hash": "", "compare": [models[0]]},
        {"index": 2, "path": models[2], "hash": "", "compare": models[:2]},
        {"index": 4, "path": None, "hash": ""},
    ]
    scored = digits[0]("score", seen.append, base=base, genesis=genesis, beta="0.2", models=entries)
    lanes = scored["lanes"]
    assert set(lanes) == {"0", "1", "3", "4", "6"}
    assert 1 <= lanes["1"] < lanes["0"] <= 10_000
    assert lanes["6"] == 0
    assert [v["index"] for v in scored["verdicts"]] == [1, 2, 4]
    first = scored["verdicts"][0]
    x = (4 * first["accuracy"] + 2 * first["precision"] + 2 * first["recall"] + 2 * first["consistency"]) / 10
    assert lanes["3"] == first["score"] == int(10_000 * x + 0.5)
    assert first["reason"] is None
    assert [p["scored"] for p in seen] == [1, 2, 3, 4, 5]


def test_without_an_audit_lane_one_repeats_lane_zero(digits: list[Ask], one_round: Path) -> None:
    base = str(one_round / "base")
    lanes = digits[0]("score", base=base, genesis=base, beta=None, models=[])["lanes"]
    assert lanes["0"] == lanes["1"]


def test_lane_one_is_the_audit_model_scored_as_any(digits: list[Ask], one_round: Path, tmp_path: Path) -> None:
    genesis, base = paths(one_round, "genesis", "base")
    digits[0]("audit", genesis=genesis, base=base, beta="0.35", out=str(tmp_path / "audit"))
    lanes = digits[0](
        "score", base=base, genesis=genesis, beta="0.35", models=[{"index": 0, "path": str(tmp_path / "audit")}]
    )["lanes"]
    assert lanes["1"] == lanes["2"]


def test_hostile_models_score_zero_with_a_reason_and_leave_the_others_alone(
    digits: list[Ask], one_round: Path, tmp_path: Path
) -> None:
    genesis, base, good = paths(one_round, "genesis", "base", "m1")
    data = Path(good).read_bytes()
    bad = {
        "pickle": b"\x80\x04cposix\nsystem\n.",
        "nan": data[:-4] + np.float32("nan").tobytes(),
        "short": data[:-1],
        "long": data + b"\0",
        "header": data[:100] + b"\xff" + data[101:],
        "lazy": Path(base).read_bytes(),
        "copy": data[:-4] + bytes([data[-4] ^ 1]) + data[-3:],
    }
    entries = [{"index": 0, "path": good, "hash": ""}, {"index": 9, "path": str(one_round / "m2"), "hash": ""}]
    for number, (name, content) in enumerate(bad.items(), start=1):
        (tmp_path / name).write_bytes(content)
        entries.append({"index": number, "path": str(tmp_path / name), "hash": "", "compare": [good]})  # type: ignore[dict-item]
    alone = digits[0]("score", base=base, genesis=genesis, beta=None, models=entries[:2])["lanes"]
    scored = digits[0]("score", base=base, genesis=genesis, beta=None, models=entries)
    reasons = [verdict["reason"] for verdict in scored["verdicts"]]
    assert [str(reason)[:3] for reason in reasons] == ["Non", "Non", "V4:", "V4:", "V4:", "V4:", "V4:", "V5:", "V6:"]
    assert {k: v for k, v in scored["lanes"].items() if v} == {k: v for k, v in alone.items() if v}


def test_finite_but_absurd_weights_are_merely_bad(digits: list[Ask], one_round: Path, tmp_path: Path) -> None:
    """Their outputs overflow; the norm check is told to look away by making everybody absurd."""
    base = str(one_round / "base")
    absurd = {name: np.full_like(value, 3e38) for name, value in load_file(base).items()}
    weights.write_arrays(tmp_path / "absurd", absurd)
    scored = digits[0](
        "score", base=base, genesis=base, beta=None, models=[{"index": 0, "path": str(tmp_path / "absurd")}]
    )
    assert scored["verdicts"][0]["reason"] is None
    assert 1 <= scored["lanes"]["2"] < 4000


def test_checking_a_model_needs_no_more_than_the_genesis(digits: list[Ask], one_round: Path) -> None:
    genesis, model = paths(one_round, "genesis", "m0")
    assert digits[0]("check", path=model, genesis=genesis) == {"valid": True, "reason": None}
    (one_round / "x").write_bytes(b"x")
    assert digits[0]("check", path=str(one_round / "x"), genesis=genesis)["valid"] is False


def test_a_base_of_another_task_is_refused_before_anything_is_trained(digits: list[Ask], tmp_path: Path) -> None:
    save_file({"w": np.zeros(3, dtype=np.float32)}, tmp_path / "other")
    for op in ("train", "evaluate", "dry_run"):
        with pytest.raises(Failure, match="other is no model of this task") as caught:
            digits[0](
                op,
                base=str(tmp_path / "other"),
                path=str(tmp_path / "other"),
                out=str(tmp_path / "out"),
                seed=1,
                split="test",
            )
        assert caught.value.kind == "model"
    assert not (tmp_path / "out").exists()


def test_a_dry_run_says_that_the_task_is_sound(digits: list[Ask], one_round: Path) -> None:
    genesis = str(one_round / "genesis")
    done = digits[0]("dry_run", base=genesis, earlier=[])
    assert done["valid"] is True
    assert done["score"] >= 1
    assert done["scoring_samples"] == 120
    assert min(done["step_seconds"], done["score_seconds"]) > 0
    assert done["step_seconds"] + done["score_seconds"] < done["seconds"]
    assert sorted(p.name for p in one_round.iterdir() if "part" in p.name) == []


def test_a_task_under_which_nothing_moves_fails_the_dry_run(
    request_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    training = {"local_epochs": 1, "batch_size": 16, "optimizer": {"name": "sgd", "learning_rate": "0"}}
    ask = session(request_of(training=training))
    ask("genesis", seed=1, out=str(tmp_path / "g"))
    done = ask("dry_run", base=str(tmp_path / "g"))
    assert (done["valid"], done["reason"]) == (False, "V5: a training step changes nothing")


def test_scoring_on_the_test_part(request_of: Callable[..., dict[str, Any]]) -> None:
    assert session(request_of(scoring={"data": "test"}))("describe")["scoring_samples"] == 359


def test_a_common_validation_set_goes_from_hand_to_hand(
    digits: list[Ask], request_of: Callable[..., dict[str, Any]], one_round: Path, tmp_path: Path
) -> None:
    made = digits[0]("common_set", out=str(tmp_path / "common"), samples=100)
    assert made["samples"] == 100
    assert digits[1]("common_set", out=str(tmp_path / "again"), samples=100) == made
    scores = []
    for index in range(2):
        ask = session(request_of(index, scoring={"data": "common", "common_path": str(tmp_path / "common")}))
        assert ask("describe")["scoring_samples"] == 100
        scores.append(
            ask("score", base=str(one_round / "base"), genesis=str(one_round / "base"), beta=None, models=[])["lanes"]
        )
    assert scores[0] == scores[1]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"x": np.zeros((9, 1, 8, 8), dtype=np.float32)}, "does not hold exactly x"),
        (
            {"x": np.zeros((9, 1, 9, 9), dtype=np.float32), "y": np.zeros(9, dtype=np.int64)},
            r"samples of shape \(1, 9, 9\), mine \(1, 8, 8\)",
        ),
        (
            {"x": np.zeros((9, 1, 8, 8), dtype=np.float32), "y": np.full(9, 10)},
            "the common part has labels from 10 to 10",
        ),
        ({"x": np.full((9, 1, 8, 8), np.nan, dtype=np.float32), "y": np.zeros(9, dtype=np.int64)}, "not finite"),
        ({"x": np.zeros((9, 1, 8, 8), dtype=np.float32), "y": np.zeros(8, dtype=np.int64)}, r"y of shape \(8,\)"),
        ({"x": np.zeros((0, 1, 8, 8), dtype=np.float32), "y": np.zeros(0, dtype=np.int64)}, "is empty"),
    ],
)
def test_a_common_set_that_is_none_is_refused(
    content: Any, why: str, request_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    weights.write_arrays(tmp_path / "common", content)
    with pytest.raises(Failure, match=why):
        session(request_of(scoring={"data": "common", "common_path": str(tmp_path / "common")}))("describe")


def test_an_own_task_trains_with_the_built_in_loop(own: Callable[..., Ask], tmp_path: Path) -> None:
    ask = own(TASK)
    ask("genesis", seed=1, out=str(tmp_path / "g"))
    ask("train", base=str(tmp_path / "g"), out=str(tmp_path / "m"), seed=1)
    assert ask("evaluate", path=str(tmp_path / "m"), split="validation")["accuracy"] > 0.5
    assert [t.name for t in read_layout(tmp_path / "m").tensors if t.dtype == "I64"] == ["1.num_batches_tracked"]
    assert ask("describe")["reference_sha256"] == hashlib.sha256(TASK.encode()).hexdigest()
    with pytest.raises(Failure, match="this task has no test data"):
        ask("evaluate", path=str(tmp_path / "m"), split="test")


def test_an_own_train_and_evaluate_serve_what_is_no_classification(own: Callable[..., Ask], tmp_path: Path) -> None:
    ask = own(REGRESSION, classes=0)
    genesis, model = paths(tmp_path, "g", "m")
    ask("genesis", seed=1, out=genesis)
    before = ask("evaluate", path=genesis, split="validation")
    done = ask("train", base=genesis, out=model, seed=2**255)
    assert done["first_step_at"] <= done["last_step_at"]
    after = ask("evaluate", path=model, split="validation")
    assert after["score"] > before["score"]
    assert after["points"] == int(10_000 * after["score"] + 0.5)
    assert ask("describe")["labels_seen"] == []
    assert ask("dry_run", base=genesis)["valid"] is True


def test_a_peer_that_breaks_evaluate_is_worth_nothing_and_a_base_that_does_is_an_error(
    own: Callable[..., Ask], tmp_path: Path
) -> None:
    ask = own(REGRESSION, classes=0)
    genesis, bad = paths(tmp_path, "g", "bad")
    ask("genesis", seed=1, out=genesis)
    weights.write_arrays(
        Path(bad), {"weight": np.full((1, 3), 3e38, dtype=np.float32), "bias": np.zeros(1, dtype=np.float32)}
    )
    scored = ask("score", base=genesis, genesis=genesis, beta=None, models=[{"index": 0, "path": bad}])
    assert scored["lanes"]["2"] == 1
    assert "evaluate failed: ValueError: what is this?" in scored["verdicts"][0]["reason"]
    with pytest.raises(Failure, match="evaluate failed: ValueError"):
        ask("score", base=bad, genesis=genesis, beta=None, models=[])


@pytest.mark.parametrize(
    ("text", "classes", "why"),
    [
        (TASK, 0, "a task without classes needs its own train and evaluate"),
        (TASK, 3, "the train part has labels from 0 to 3; the task has classes 0 to 2"),
        (TASK.replace("y = x.argmax(dim=1)", "y = x.max(dim=1).values"), 4, "y must hold one whole number per sample"),
        (TASK.replace("nn.Linear(4, 16)", "nn.Linear(5, 16)"), 4, "mat1 and mat2 shapes cannot be multiplied"),
        (
            TASK.replace("nn.BatchNorm1d(16)", "nn.Identity().double()").replace(
                "nn.Linear(4, 16)", "nn.Linear(4, 16).half()"
            ),
            4,
            "has type float16",
        ),
        (
            TASK.replace(
                "nn.Sequential(", "nn.ModuleDict({'ä': nn.Linear(2, 2)}) and nn.ModuleDict({'ä': nn.Sequential("
            ).replace('"]))', '"]))})'),
            4,
            "is not of the form",
        ),
        (TASK.replace("nn.Sequential(", "nn.Flatten() or nn.Sequential("), 4, "no float32 tensor to train"),
        (
            TASK + "\ndef train(model, data, config):\n    return torch.nn.Linear(2, 2)\n",
            4,
            "other tensors than build_model's",
        ),
        (
            TASK + "\ndef train(model, data, config):\n    model[0].weight.data.fill_(float('nan'))\n",
            4,
            "training diverged: 0.weight",
        ),
        (
            TASK + "\ndef train(model, data, config):\n    raise RuntimeError('out of luck')\n",
            4,
            "train failed: RuntimeError: out of luck",
        ),
    ],
)
def test_what_an_own_task_does_wrong_is_said_and_leaves_no_file(
    text: str, classes: int, why: str, own: Callable[..., Ask], tmp_path: Path
) -> None:
    with pytest.raises(Failure) as caught:
        ask = own(text, classes)
        ask("genesis", seed=1, out=str(tmp_path / "g"))
        ask("train", base=str(tmp_path / "g"), out=str(tmp_path / "m"), seed=1)
    assert why in caught.value.message + caught.value.do
    assert not (tmp_path / "m").exists()


def test_rounding_modes_of_a_users_code_do_not_reach_the_average(own: Callable[..., Ask], tmp_path: Path) -> None:
    """A train that flushes denormals on every thread it has: the aggregate is still the bytes that others get."""
    flushing = (
        TASK
        + """
def train(model, data, config):
    torch.set_flush_denormal(True)
    torch.set_num_threads(2)
    torch.rand(10**6).sum()
"""
    )
    ask = own(flushing)
    tiny = np.full((3, 5), 2.0**-148, dtype=np.float32)
    genesis = str(tmp_path / "g")
    ask("genesis", seed=1, out=genesis)
    weights.write_arrays(tmp_path / "base", {"w": np.zeros((3, 5), dtype=np.float32)})
    weights.write_arrays(tmp_path / "tiny", {"w": tiny})

    def work() -> None:
        ask("train", base=genesis, out=str(tmp_path / "m"), seed=1)
        ask(
            "aggregate",
            base=str(tmp_path / "base"),
            models=[{"index": 0, "path": str(tmp_path / "tiny")}],
            out=str(tmp_path / "o"),
        )

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert (tmp_path / "o").read_bytes() == (tmp_path / "tiny").read_bytes()


@pytest.mark.skipif(not MNIST.is_dir(), reason="MNIST is not here: name the directory of its files in MNIST_DIR")
def test_the_cnn_of_mcmahan_learns_mnist(tmp_path: Path, request_of: Callable[..., dict[str, Any]]) -> None:
    """A fiftieth of the data, one epoch: enough to see that files, network and loop belong together."""
    shares = [0.02, 0.98]
    ask = session(
        request_of(
            task={"id": "mnist"},
            data={
                "dir": str(MNIST),
                "options": {"validation_max": 200},
                "partition": {"kind": "size", "index": 0, "of": 2, "shares": shares},
            },
            training={"local_epochs": 1, "batch_size": 32, "optimizer": {"learning_rate": "0.05", "momentum": "0.9"}},
        )
    )
    described = ask("describe")
    assert (described["parameters"], described["train_samples"], described["validation_samples"]) == (
        1_663_370,
        1000,
        200,
    )
    ask("genesis", seed=1, out=str(tmp_path / "g"))
    ask("train", base=str(tmp_path / "g"), out=str(tmp_path / "m"), seed=1)
    assert ask("evaluate", path=str(tmp_path / "m"), split="validation")["accuracy"] > 0.4


@pytest.mark.parametrize(
    ("op", "fields", "why"),
    [
        ("dance", {}, "unknown operation 'dance'"),
        ("train", {}, "train needs 'base'"),
        ("aggregate", {"base": "x", "out": "y"}, "aggregate needs 'models'"),
    ],
)
def test_mistakes_of_the_caller_are_named(digits: list[Ask], op: str, fields: dict[str, Any], why: str) -> None:
    with pytest.raises(Failure, match=why) as caught:
        digits[0](op, **fields)
    assert caught.value.kind == "internal"
