"""Dishonest learners, for watching what the protocol does to them. Each is an honest agent with a learner that lies.

Owns what the lies are. They change what the learner answers, never the agent.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agents.demo.attack import Attack
from agents.effects.ports import Learner, Progress

CONTROL_LANES: Final = ("0", "1")      # the previous model and the audit model: a liar who is no fool scores them right
SCALE: Final = 50.0
CONSTANT: Final = 5_000
Tensors = dict[str, NDArray[Any]]


class Disguise:
    """A learner that answers as `attack` wants. `loot`: a file for what it steals."""

    def __init__(self, learner: Learner, attack: Attack, loot: Path) -> None:
        self._learner, self._attack, self._loot = learner, attack, loot

    async def request(
        self, operation: str, fields: Mapping[str, Any], progress: Progress | None = None
    ) -> Mapping[str, Any]:
        match operation:
            case "train":
                return await self._train(fields, progress)
            case "score":
                answer = await self._learner.request("score", fields, progress)
                self._steal(fields["models"])
                return {**answer, "lanes": _scores(self._attack, answer["lanes"])}
            case _:
                return await self._learner.request(operation, fields, progress)

    async def restart(self) -> None:
        await self._learner.restart()

    async def _train(self, fields: Mapping[str, Any], progress: Progress | None) -> Mapping[str, Any]:
        base, out = Path(fields["base"]), Path(fields["out"])
        if self._attack is Attack.LABEL_FLIP:
            return await self._train_on_flipped_labels(fields, progress)
        answer = await self._learner.request("train", fields, progress)
        if self._attack is Attack.COPY and self._loot.exists():
            shutil.copyfile(self._loot, out)
        elif (lie := _MODELS.get(self._attack)) is not None:
            rewrite(out, out, lambda model: lie(read(base), model, int(fields["seed"])))
        return _described(answer, out)

    async def _train_on_flipped_labels(
        self, fields: Mapping[str, Any], progress: Progress | None
    ) -> Mapping[str, Any]:
        """Training on flipped labels is training with the outputs in reverse order: the loss is the same number."""
        out = Path(fields["out"])
        flipped = out.with_suffix(".flipped")
        rewrite(Path(fields["base"]), flipped, reverse_outputs)
        try:
            answer = await self._learner.request("train", {**fields, "base": str(flipped)}, progress)
        finally:
            flipped.unlink()
        rewrite(out, out, reverse_outputs)
        return _described(answer, out)

    def _steal(self, models: Any) -> None:
        """Keep somebody else's model for the next round."""
        others = [model["path"] for model in models if model["path"] and not model.get("own")]
        if self._attack is Attack.COPY and others:
            shutil.copyfile(others[0], self._loot)


def _scores(attack: Attack, lanes: Mapping[str, int]) -> dict[str, int]:
    wrong = {Attack.LIAR_LOW: 1, Attack.LIAR_HIGH: 10_000, Attack.CONSTANT_SCORES: CONSTANT}.get(attack)
    if wrong is None:
        return dict(lanes)
    spared = () if attack is Attack.CONSTANT_SCORES else CONTROL_LANES
    return {lane: value if lane in spared else wrong for lane, value in lanes.items()}


def _sign_flip(base: Tensors, model: Tensors, seed: int) -> Tensors:
    return {name: base[name] - (model[name] - base[name]) for name in model}


def _noise(base: Tensors, model: Tensors, seed: int) -> Tensors:
    dice = np.random.default_rng(seed)
    length = {name: float(np.sqrt(np.mean((model[name] - base[name]) ** 2))) for name in model}
    return {name: base[name] + length[name] * dice.standard_normal(model[name].shape) for name in model}


def _scaled(base: Tensors, model: Tensors, seed: int) -> Tensors:
    return {name: base[name] + SCALE * (model[name] - base[name]) for name in model}


def _lazy(base: Tensors, model: Tensors, seed: int) -> Tensors:
    return base


_MODELS: Final[Mapping[Attack, Callable[[Tensors, Tensors, int], Tensors]]] = {
    Attack.SIGN_FLIP: _sign_flip, Attack.NOISE: _noise, Attack.SCALED: _scaled, Attack.LAZY: _lazy,
}


def reverse_outputs(model: Tensors) -> Tensors:
    """The same network with its classes in reverse order: the rows of the last layer."""
    biases = [name for name, tensor in model.items() if tensor.ndim == 1 and name.endswith("bias")]
    layer = max(biases, key=_depth).removesuffix("bias")
    return {name: tensor[::-1].copy() if name.startswith(layer) else tensor for name, tensor in model.items()}


def _depth(name: str) -> tuple[str | int, ...]:
    """Names in the order of layers: `fc10.bias` after `fc9.bias`."""
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name))


def read(path: Path) -> Tensors:
    """The float32 tensors of a model file. Only for files that this agent made or checked itself."""
    data = path.read_bytes()
    end, header = _header(data)
    found = {}
    for name, entry in header.items():
        if entry["dtype"] == "F32":
            first, last = entry["data_offsets"]
            found[name] = np.frombuffer(data[end + first:end + last], "<f4").reshape(entry["shape"])
    return found


def rewrite(source: Path, target: Path, change: Callable[[Tensors], Tensors]) -> None:
    """Write `source` with its float tensors changed; the header stays byte for byte, as V4 demands."""
    data = bytearray(source.read_bytes())
    end, header = _header(data)
    for name, tensor in change(read(source)).items():
        first, last = header[name]["data_offsets"]
        data[end + first:end + last] = np.ascontiguousarray(tensor, "<f4").tobytes()
    target.write_bytes(data)


def _header(data: bytes | bytearray) -> tuple[int, dict[str, Any]]:
    end = 8 + int.from_bytes(data[:8], "little")
    return end, json.loads(data[8:end])


def _described(answer: Mapping[str, Any], out: Path) -> Mapping[str, Any]:
    return {**answer, "hash": hashlib.sha256(out.read_bytes()).hexdigest(), "bytes": out.stat().st_size}
