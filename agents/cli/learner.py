"""The learning child for one command: started for a specification and this operator's site, ended with the block."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from agents.core.specification import Specification
from agents.effects.child_setup import child_setup
from agents.effects.compute import ChildLearner
from agents.effects.ports import Learner
from agents.policy import site_of
from agents.settings import Settings


@asynccontextmanager
async def open_learner(settings: Settings, specification: Specification, work: Path) -> AsyncIterator[Learner]:
    """A child that does not need the common validation set: nothing is scored here."""
    own = replace(specification.scoring, data="own", common_cid=None, common_sha256=None)
    child = ChildLearner(child_setup(replace(specification, scoring=own), site_of(settings)), work)
    try:
        yield child
    finally:
        await child.aclose()
