"""Users' own task files: found, run, and blamed for what is theirs."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from agents.learning import plugin, task
from agents.learning.failure import Failure
from agents.learning.partition import Partition

GOOD = """
import torch
from torch import nn

def build_model(config):
    return nn.Linear(4, config["classes"])

def load_data(config):
    generator = torch.Generator().manual_seed(int(config["seed"]))
    x = torch.randn(90, 4, generator=generator)
    y = x.abs().argmax(dim=1)
    return (x[:60], y[:60]), (x[60:], y[60:])
"""


def write(folder: Path, text: str, name: str = "task.py") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def load(path: str, **options: Any) -> task.Parts:
    return task.resolve("mine", {"classes": 4}, path).load_data(None, {"seed": 1, **options}, None)


def test_an_own_task_is_a_plain_file(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    mine = task.resolve("mine", {"classes": 4}, path)
    assert isinstance(mine.build_model(), torch.nn.Linear)
    parts = load(path)
    assert (parts.train.size, parts.validation.size, parts.test) == (60, 30, None)
    assert (mine.train, mine.evaluate) == (None, None)
    assert plugin.reference_sha256(path) == hashlib.sha256(GOOD.encode()).hexdigest()


def test_an_own_task_may_import_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path, "WIDTH = 7\n", "neighbour_of_task.py")
    path = write(tmp_path, GOOD.replace("nn.Linear(4, ", "nn.Linear(__import__('neighbour_of_task').WIDTH, "))
    assert task.resolve("mine", {"classes": 4}, path).build_model().in_features == 7  # type: ignore[comparison-overlap]


def test_an_own_task_may_be_an_installed_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, GOOD, "installed_task.py")
    monkeypatch.syspath_prepend(tmp_path)
    assert load("installed_task").train.size == 60
    assert plugin.reference_sha256("installed_task") == hashlib.sha256(GOOD.encode()).hexdigest()
    sys.modules.pop("installed_task")


def test_a_third_part_is_the_test_part(tmp_path: Path) -> None:
    parts = load(write(tmp_path, GOOD.replace("(x[60:], y[60:])", "(x[60:80], y[60:80]), (x[80:], y[80:])")))
    assert parts.test is not None
    assert parts.test().size == 10


def test_an_own_task_can_be_partitioned(tmp_path: Path) -> None:
    mine = task.resolve("mine", {"classes": 4}, write(tmp_path, GOOD))
    sizes = [mine.load_data(None, {"seed": 1}, Partition("iid", i, 3, 5)) for i in range(3)]
    assert [(p.train.size, p.validation.size) for p in sizes] == [(20, 10)] * 3


def test_data_options_reach_load_data_and_the_model_does_not_see_them(tmp_path: Path) -> None:
    text = GOOD.replace(
        "    generator",
        '    assert set(config) == {"classes", "seed", "data_dir"} and config["data_dir"] == "/d"\n    generator',
    )
    text = text.replace("    return nn.Linear", '    assert set(config) == {"classes"}\n    return nn.Linear')
    mine = task.resolve("mine", {"classes": 4}, write(tmp_path, text))
    mine.build_model()
    assert mine.load_data(Path("/d"), {"seed": 1}, None).train.size == 60


@pytest.mark.parametrize(
    ("identifier", "config", "path", "why"),
    [
        ("imagenet", {}, None, "'imagenet' is neither built in"),
        ("digits", {"hidden": 3}, None, "takes no configuration, but has hidden"),
        ("mine", {}, "/nowhere/task.py", "/nowhere/task.py does not exist"),
        ("mine", {}, "no_such_module_here", "there is no module no_such_module_here"),
    ],
)
def test_a_task_that_is_not_there_is_named(identifier: str, config: dict[str, Any], path: str | None, why: str) -> None:
    with pytest.raises(Failure, match=why) as caught:
        task.resolve(identifier, config, path)
    assert caught.value.kind == "task"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("def build_model(config: pass", "importing task.py failed: SyntaxError"),
        ("import no_such_package", "importing task.py failed: ModuleNotFoundError"),
        ("raise SystemExit(3)", r"importing task.py failed: SystemExit: 3 \(task.py, line 1\)"),
        ("def load_data(config): ...", "the task 'mine' has no function build_model"),
        ("def build_model(config): ...", "the task 'mine' has no function load_data"),
        (GOOD + "\ntrain = 3\n", "the task 'mine' has no function train"),
        (
            GOOD.replace('config["classes"]', 'config["width"]'),
            r"build_model failed: KeyError: 'width' \(task.py, line 6\)",
        ),
        (GOOD.replace('return nn.Linear(4, config["classes"])', "return {}"), "build_model returned a dict"),
        (
            GOOD.replace("    generator =", "    open('/nowhere/data.csv')\n    generator ="),
            "load_data failed: FileNotFoundError",
        ),
        (GOOD.replace("return (x[:60], y[:60]), (x[60:], y[60:])", "return x, y, x, y"), "load_data returned a tuple"),
        (GOOD.replace("return (x[:60], y[:60]), (x[60:], y[60:])", "return None"), "load_data returned a NoneType"),
        (GOOD.replace("(x[:60], y[:60]),", "(x[:0], y[:0]),"), "the train part of the data is empty"),
    ],
)
def test_what_a_task_file_does_wrong_is_said(text: str, why: str, tmp_path: Path, capfd: Any) -> None:
    with pytest.raises(Failure, match=why) as caught:
        mine = task.resolve("mine", {"classes": 4}, write(tmp_path, text))
        mine.build_model()
        mine.load_data(None, {"seed": 1}, None)
    assert caught.value.kind in ("task", "data")
    assert caught.value.do


def test_the_line_named_is_the_users_own_and_not_torchs(tmp_path: Path, capfd: Any) -> None:
    text = GOOD.replace("return nn.Linear(4,", "model = nn.Linear(9,") + "    return model(torch.zeros(1, 4))\n"
    text = text.replace("def load_data", "    return model(torch.zeros(1, 4))\n\ndef load_data")
    with pytest.raises(Failure, match=r"build_model failed: RuntimeError: .*mat1 .* \(task.py, line 8\)"):
        task.resolve("mine", {"classes": 4}, write(tmp_path, text)).build_model()


def test_the_whole_traceback_is_in_the_log(tmp_path: Path, capfd: Any) -> None:
    with pytest.raises(Failure):
        task.resolve("mine", {}, write(tmp_path, "def deep(): 1 / 0\ndeep()\n"))
    assert "in deep" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"validation_shre": 0.1}, "unknown data options for digits: validation_shre"),
        ({"validation_share": "much"}, "makes no sense"),
        ({"validation_share": 1.0}, "a validation share of 1.0"),
        ({"validation_min": 2000}, "1438 samples are too few to hold out 2000"),
    ],
)
def test_options_of_built_in_data_are_checked(options: dict[str, Any], why: str) -> None:
    with pytest.raises(Failure, match=why):
        task.resolve("digits", {}, None).load_data(None, options, None)
