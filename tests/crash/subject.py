"""What the agents of a run learn: a linear layer without torch, or the built-in digits with it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from agents.core.specification import Specification, Training
from agents.effects.child_setup import Site, child_setup
from agents.effects.compute import ChildLearner
from tests.crash import workbench

_EPOCHS = 3      # so that there are checkpoints between them
_COMMON_SAMPLES = 120


@dataclass(frozen=True)
class Subject:
    """`plugins`: the operators' list. `genesis`, `common`: canonical bytes of the initial model and the common set."""

    task: str
    classes: int
    training: Training
    plugins: Mapping[str, str]
    genesis: bytes
    common: bytes

    @property
    def common_sha256(self) -> str:
        return hashlib.sha256(self.common).hexdigest()


@cache
def tiny() -> Subject:
    with TemporaryDirectory() as directory:
        genesis, common = Path(directory) / "genesis", Path(directory) / "common"
        workbench.write_genesis(7, genesis)
        workbench.write_common_set(common)
        training = Training(local_epochs=_EPOCHS, batch_size=32, learning_rate="0.5")
        return Subject("tiny", workbench.CLASSES, training, {"tiny": "tests.crash.workbench"}, genesis.read_bytes(),
                       common.read_bytes())


@cache
def digits() -> Subject:
    training = Training(local_epochs=_EPOCHS)
    with TemporaryDirectory() as directory:
        genesis, common = Path(directory) / "genesis", Path(directory) / "common"
        asyncio.run(_write(Specification("digits", 10, training=training), genesis, common))
        return Subject("digits", 10, training, {}, genesis.read_bytes(), common.read_bytes())


async def _write(specification: Specification, genesis: Path, common: Path) -> None:
    """By a learning child, so that no test process needs torch."""
    child = ChildLearner(child_setup(specification, Site()), genesis.parent / "work")
    try:
        await child.request("genesis", {"seed": 7, "out": str(genesis)})
        await child.request("common_set", {"out": str(common), "samples": _COMMON_SAMPLES})
    finally:
        await child.aclose()
