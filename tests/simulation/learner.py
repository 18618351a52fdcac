"""A learner without learning: models are known bytes that depend on what they were made from, scores on the bytes.

Owns the stand-ins for training, aggregation, scoring and envelopes. Remembers what every model was made from, so that
a checker can tell whether an agent did what it says.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from agents.core.specification import Specification
from agents.crypto.envelope import Context, EnvelopeError
from agents.crypto.envelope_header import Reason
from agents.effects.ports import LearnerFailed, Progress, Transient
from bfl_events.rules import AUDIT_LANE, CONTROL_LANES
from bfl_events.schema import Address

MODEL_BYTES = 64
GENESIS = b"genesis".ljust(MODEL_BYTES, b".")
SPECIFICATION = Specification("digits", 10)
_TRIAL = {"valid": True, "reason": None, "scoring_samples": 10**9, "step_seconds": 0.0, "score_seconds": 0.0,
         "train_samples": 100}


@dataclass(slots=True)
class Lineage:
    """What each model was made from: `trained` its base, `averaged` base and parts."""

    trained: dict[bytes, bytes] = field(default_factory=dict)
    averaged: dict[bytes, tuple[bytes, tuple[tuple[int, bytes], ...]]] = field(default_factory=dict)


@dataclass(slots=True)
class Bench:
    """Where one agent's child works. `crossing()`: whether the agent dies here. `broken`: the child dies at work.
    `busy_until`: when what it began last is done, in virtual seconds."""

    account: Address
    lineage: Lineage
    dice: Random
    crossing: Callable[[], bool]
    slowness: float = 1.0
    broken: bool = False
    trainings: int = 0
    busy_until: float = 0.0


class StandIn:
    """`agents.effects.ports.Learner`. No training gives the same bytes twice, as on most hardware."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._turn = asyncio.Lock()

    async def request(
        self, operation: str, fields: Mapping[str, Any], progress: Progress | None = None
    ) -> Mapping[str, Any]:
        async with self._turn:
            if operation in ("describe", "check", "dry_run"):
                await self._work(0.2)
                return _TRIAL
            answer: Mapping[str, Any] = await getattr(self, operation)(fields)
            return answer

    async def restart(self) -> None:
        """There is no child to kill."""

    async def train(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        base = _digest(fields["base"])
        self._bench.trainings += 1
        content = _content("trained", self._bench.account, fields["seed"], base, self._bench.trainings)
        await self._work(self._bench.dice.uniform(0.5, 2.5))
        digest = _write(fields["out"], content)
        self._bench.lineage.trained[digest] = base
        return {"hash": digest.hex(), "seconds": 1.0}

    async def aggregate(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        base = _digest(fields["base"])
        parts = tuple((model["index"], _digest(model["path"])) for model in fields["models"])
        await self._work(0.3)
        digest = _write(fields["out"], average(base, parts))
        self._bench.lineage.averaged[digest] = (base, parts)
        return {"hash": digest.hex()}

    async def score(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        base = _digest(fields["base"])
        lanes = {0: reading(self._bench.account, base), AUDIT_LANE: reading(self._bench.account, base) // 2}
        for model in fields["models"]:
            if model["path"] is not None and not model["own"]:
                lanes[CONTROL_LANES + model["index"]] = reading(self._bench.account, _digest(model["path"]))
        await self._work(0.3)
        return {"lanes": lanes, "verdicts": [], "seconds": 0.5}

    async def _work(self, seconds: float) -> None:
        seconds *= self._bench.slowness
        self._bench.busy_until = asyncio.get_running_loop().time() + seconds
        await asyncio.sleep(seconds)
        if self._bench.broken:
            raise Transient("the child died")
        if self._bench.crossing():
            await asyncio.get_running_loop().create_future()


def average(base: bytes, parts: Sequence[tuple[int, bytes]]) -> bytes:
    """The bytes of the mean of these models."""
    return _content("averaged", base, tuple(parts))


def reading(scorer: Address, model: bytes) -> int:
    """What a scorer measures: most models are good, some near the threshold, some bad; readings differ a little."""
    kind, noise = model[0], sha256(scorer.encode() + model).digest()[0]
    if kind < 190:
        return 8800 + noise
    return 7100 + noise if kind < 240 else 3000 + noise


def _content(*parts: object) -> bytes:
    return sha256(repr(parts).encode()).digest() * (MODEL_BYTES // 32)


def _digest(path: str) -> bytes:
    if not os.path.exists(path):
        raise LearnerFailed("model", f"{path} is not there")
    return bytes.fromhex(path.rpartition("/")[2].partition(".")[0])


def _write(path: str, content: bytes) -> bytes:
    Path(path).write_bytes(content)
    return sha256(content).digest()


# ---- envelopes without cryptography ---------------------------------------------------------------------------------


def seal(source: Path, target: Path, context: Context, recipients: Sequence[tuple[bytes, bytes]]) -> int:
    """Readers and context in the clear, then the model."""
    readers = ",".join(sorted(account.hex() for account, _ in recipients))
    content = f"{_shown(context)}|{readers}\n".encode() + source.read_bytes()
    target.write_bytes(content)
    return len(content)


def open_envelope(
    envelope: Path, target: Path, context: Context, reader: bytes, keys: Mapping[bytes, Any], *,
    expected_hash: bytes, expected_length: int, max_bytes: int,
) -> None:
    """Refuses what the real one refuses. Raises EnvelopeError."""
    header, _, model = envelope.read_bytes().partition(b"\n")
    shown, _, readers = header.decode().partition("|")
    if shown != _shown(context):
        raise EnvelopeError(Reason.WRONG_CONTEXT, shown)
    if reader.hex() not in readers:
        raise EnvelopeError(Reason.NOT_A_RECIPIENT, readers)
    if len(model) != expected_length or sha256(model).digest() != expected_hash:
        raise EnvelopeError(Reason.WRONG_HASH, "another model")
    target.write_bytes(model)


def readers_of(envelope: bytes) -> set[Address]:
    """Who can open it, in lower case."""
    header, _, _ = envelope.partition(b"\n")
    return {"0x" + reader for reader in header.decode().partition("|")[2].split(",")}


def _shown(context: Context) -> str:
    c = context
    return f"{c.chain_id} {c.contract.hex()} {c.round} {c.attempt} {c.sender.hex()} {c.kind}"
