"""The learning child of the task at hand: one process at a time, set up anew when the task changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.core.intents import Refused
from agents.core.specification import Specification
from agents.effects.child_setup import Site, child_setup
from agents.effects.compute import ChildLearner
from agents.effects.exchange import Exchange
from agents.effects.ports import Learner, LearnerFailed, Progress
from agents.storage.cid import from_text
from bfl_events.boundaries import Boundary, passing
from bfl_events.schema import Address

MAX_COMMON_BYTES = 2 * 1024**3


class Apprentice:
    """Gives the learner that is set up for a task. `close()` ends the child."""

    def __init__(self, site: Site, exchange: Exchange, work: Path) -> None:
        self._site, self._exchange, self._work = site, exchange, work
        self._task: Address | None = None
        self._child: ChildLearner | None = None
        self._common: Path | None = None

    def learner(self, task: Address, specification: Specification) -> Learner:
        """A port that starts the child with its first request."""
        return _Prepared(self, task, specification)

    def wind_up(self) -> None:
        """Training, if it runs, ends at its next checkpoint."""
        if self._child is not None:
            self._child.wind_up()

    async def close(self) -> None:
        if self._child is not None:
            await self._child.aclose()
            self._child = None

    async def child(self, task: Address, specification: Specification) -> ChildLearner:
        """The running child for this task; another task's is ended first."""
        if self._task != task or self._child is None:
            await self.close()
            common = await self._common_set(task, specification)
            self._task = task
            self._child = ChildLearner(child_setup(specification, self._site, common), self._work)
        return self._child

    async def _common_set(self, task: Address, specification: Specification) -> Path | None:
        """The common validation set of the specification, checked against its hash."""
        scoring = specification.scoring
        if scoring.common_cid is None or scoring.common_sha256 is None:
            return None
        target = self._work / f"common-{scoring.common_sha256}"
        if target.exists():
            return target
        cid = from_text(scoring.common_cid)
        found = await self._exchange.read_public(cid, bytes.fromhex(scoring.common_sha256), MAX_COMMON_BYTES)
        if isinstance(found, Refused):
            raise LearnerFailed("data", f"the common validation set of {task}: {found.reason}", "ask its requester")
        await self._exchange.keep(cid)
        with passing(Boundary.COMMON_ADOPT):
            return found.replace(target)


class _Prepared:
    """The learner of one task, as a port."""

    def __init__(self, apprentice: Apprentice, task: Address, specification: Specification) -> None:
        self._apprentice, self._task, self._specification = apprentice, task, specification

    async def request(
        self, operation: str, fields: Mapping[str, Any], progress: Progress | None = None
    ) -> Mapping[str, Any]:
        child = await self._apprentice.child(self._task, self._specification)
        return await child.request(operation, fields, progress)

    async def restart(self) -> None:
        await (await self._apprentice.child(self._task, self._specification)).restart()
