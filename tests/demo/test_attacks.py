"""The dishonest learners: each lie is the one that its name says, and nothing else changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.demo.attack import Attack
from agents.demo.attacks import Disguise, read, reverse_outputs, rewrite
from agents.effects.ports import Progress

SHAPES = {"conv1.bias": [2], "conv1.weight": [2, 3], "fc10.bias": [4], "fc10.weight": [4, 3], "fc2.bias": [3],
          "fc2.weight": [3, 2]}


def model_file(path: Path, fill: float) -> Path:
    header: dict[str, Any] = {"steps": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}}
    at, body = 8, (7).to_bytes(8, "little")
    for number, (name, shape) in enumerate(SHAPES.items()):
        tensor = np.full(shape, fill, "<f4") + number + np.arange(np.prod(shape), dtype="<f4").reshape(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + tensor.nbytes]}
        at, body = at + tensor.nbytes, body + tensor.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return path


class Honest:
    """Trains by adding one to every weight, and gives everybody 900 points."""

    def __init__(self) -> None:
        self.bases: list[dict[str, Any]] = []

    async def request(
        self, operation: str, fields: Mapping[str, Any], progress: Progress | None = None
    ) -> Mapping[str, Any]:
        if operation == "train":
            self.bases.append(read(Path(fields["base"])))
            rewrite(Path(fields["base"]), Path(fields["out"]), lambda model: {name: w + 1 for name, w in model.items()})
            return {"hash": "of the honest model", "bytes": 1, "seconds": 0.5}
        return {"lanes": {"0": 900, "1": 850, "2": 910, "4": 880}, "seconds": 0.1}

    async def restart(self) -> None: ...


async def trained(tmp_path: Path, attack: Attack) -> tuple[dict[str, Any], dict[str, Any], Mapping[str, Any]]:
    base, out = model_file(tmp_path / "base", 2.0), tmp_path / "out"
    fields = {"base": str(base), "out": str(out), "seed": 5}
    answer = await Disguise(Honest(), attack, tmp_path / "loot").request("train", fields)
    assert answer["hash"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert answer["bytes"] == base.stat().st_size == out.stat().st_size
    assert answer["seconds"] == 0.5
    head = 8 + int.from_bytes(base.read_bytes()[:8], "little") + 8
    assert out.read_bytes()[:head] == base.read_bytes()[:head], "header and integers stay as they were"
    return read(base), read(out), answer


@pytest.mark.parametrize(("attack", "step"), [(Attack.SIGN_FLIP, -1.0), (Attack.SCALED, 50.0), (Attack.LAZY, 0.0)])
async def test_the_step_is_the_attacks(tmp_path: Path, attack: Attack, step: float) -> None:
    base, out, _ = await trained(tmp_path, attack)
    for name in base:
        np.testing.assert_allclose(out[name] - base[name], step)


async def test_noise_is_as_long_as_the_honest_step_and_the_same_every_time(tmp_path: Path) -> None:
    base, out, answer = await trained(tmp_path, Attack.NOISE)
    step = np.concatenate([(out[name] - base[name]).ravel() for name in base])
    assert 0.5 < np.sqrt(np.mean(step**2)) < 1.6
    assert len(np.unique(step)) > len(step) // 2
    assert (await trained(tmp_path, Attack.NOISE))[2] == answer


async def test_flipped_labels_train_a_network_whose_outputs_are_reversed(tmp_path: Path) -> None:
    honest, base = Honest(), model_file(tmp_path / "base", 2.0)
    fields = {"base": str(base), "out": str(tmp_path / "out"), "seed": 5}
    await Disguise(honest, Attack.LABEL_FLIP, tmp_path / "loot").request("train", fields)
    (seen,) = honest.bases
    np.testing.assert_array_equal(seen["fc10.weight"], read(base)["fc10.weight"][::-1])
    np.testing.assert_array_equal(seen["fc10.bias"], read(base)["fc10.bias"][::-1])
    np.testing.assert_array_equal(seen["fc2.weight"], read(base)["fc2.weight"])
    for name, tensor in read(tmp_path / "out").items():     # and back again: this honest learner knows no labels
        np.testing.assert_array_equal(tensor, read(base)[name] + 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "out"]


def test_reversing_twice_is_doing_nothing(tmp_path: Path) -> None:
    model = read(model_file(tmp_path / "model", 1.0))
    for name, tensor in reverse_outputs(reverse_outputs(model)).items():
        np.testing.assert_array_equal(tensor, model[name])


async def test_a_copy_is_what_another_worker_opened_in_the_round_before(tmp_path: Path) -> None:
    thief = Disguise(Honest(), Attack.COPY, tmp_path / "loot")
    base, theirs, out = model_file(tmp_path / "base", 2.0), model_file(tmp_path / "theirs", 9.0), tmp_path / "out"
    fields = {"base": str(base), "out": str(out), "seed": 5}
    await thief.request("train", fields)
    assert out.read_bytes() != theirs.read_bytes()
    await thief.request("score", {"models": [{"path": str(base), "own": True}, {"path": None}, {"path": str(theirs)}]})
    theirs.unlink()
    answer = await thief.request("train", fields)
    assert read(out)["fc2.bias"][0] == pytest.approx(13.0)
    assert answer["hash"] == hashlib.sha256(out.read_bytes()).hexdigest()


@pytest.mark.parametrize(("attack", "lanes"), [
    (Attack.LIAR_LOW, {"0": 900, "1": 850, "2": 1, "4": 1}),
    (Attack.LIAR_HIGH, {"0": 900, "1": 850, "2": 10_000, "4": 10_000}),
    (Attack.CONSTANT_SCORES, {"0": 5_000, "1": 5_000, "2": 5_000, "4": 5_000}),
    (Attack.SIGN_FLIP, {"0": 900, "1": 850, "2": 910, "4": 880}),
])
async def test_only_liars_lie_about_scores(tmp_path: Path, attack: Attack, lanes: dict[str, int]) -> None:
    answer = await Disguise(Honest(), attack, tmp_path / "loot").request("score", {"models": []})
    assert answer == {"lanes": lanes, "seconds": 0.1}


@pytest.mark.parametrize("attack", [Attack.LIAR_LOW, Attack.LIAR_HIGH, Attack.CONSTANT_SCORES])
async def test_who_lies_about_scores_trains_honestly(tmp_path: Path, attack: Attack) -> None:
    base, out, _ = await trained(tmp_path, attack)
    for name in base:
        np.testing.assert_allclose(out[name] - base[name], 1.0)
