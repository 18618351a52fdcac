"""Measures global models on data that no worker trained on, in a learning child of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from agents.cli import terms
from agents.cli.learner import open_learner
from agents.demo import processes
from agents.demo.picture import Quality
from agents.demo.stage import Stage
from agents.effects.ports import Learner, Transient
from agents.settings import load

_TRIES = 3
_LOOK_S = 0.02


class Examiner:
    """`find(hash)`: where a model lies now, None if nobody has it yet. The child starts with the first model."""

    def __init__(self, learner: Learner, find: Callable[[bytes], Path | None]) -> None:
        self._learner, self._find = learner, find
        self._busy = asyncio.Lock()
        self.found: dict[bytes, Quality] = {}

    async def warm(self) -> None:
        """Start the child, at the lowest priority: the agents come first. Raises LearnerFailed, Transient."""
        starting = asyncio.create_task(self._learner.request("warm", {}))
        while not starting.done() and not processes.lower_priority("agents.learning.child"):
            await asyncio.sleep(_LOOK_S)
        await starting

    async def examine(self, hashes: Iterable[bytes]) -> None:
        """Measure those that are new and at hand. Raises LearnerFailed for a model that cannot be loaded, Transient."""
        async with self._busy:
            for digest in hashes:
                path = self._find(digest) if digest not in self.found else None
                if path is not None:
                    self.found[digest] = await self._measure(path)

    async def _measure(self, path: Path) -> Quality:
        for left in reversed(range(_TRIES)):
            try:
                answer = await self._learner.request("evaluate", {"path": str(path), "split": "test"})
                break
            except Transient:
                if not left:
                    raise
        return Quality(*(float(answer[name]) for name in ("accuracy", "precision", "recall")))


@asynccontextmanager
async def open_examiner(stage: Stage, directory: Path) -> AsyncIterator[Examiner]:
    """An examiner with the requester's site; it looks for models in all homes below the demo's directory."""
    def find(digest: bytes) -> Path | None:
        return next(directory.glob(f"*/networks/*/models/{digest.hex()}.safetensors"), None)

    scratch = directory / "examiner"
    scratch.mkdir(exist_ok=True)
    settings = load(stage.participants[0].home)
    async with open_learner(settings, terms.read(stage.specification).specification, scratch) as learner:
        yield Examiner(learner, find)
