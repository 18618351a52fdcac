"""One nursery and one undisturbed run for everything that is compared with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.births import Nursery
from tests.crash.run import running
from tests.crash.stage import Stage
from tests.crash.verdict import Outcome


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Nursery(tmp_path_factory.mktemp("nursery")) as found:
        yield found


@pytest.fixture(scope="session")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the undisturbed run's processes were seen to do."""
    return tmp_path_factory.mktemp("witness") / "told"


@pytest.fixture(scope="session")
def _undisturbed(tmp_path_factory: pytest.TempPathFactory, nursery: Nursery, witness: Path
                 ) -> Iterator[tuple[Stage, Outcome]]:
    with running(tmp_path_factory.mktemp("undisturbed") / "run", nursery, {}, witness=witness) as found:
        yield found


@pytest.fixture(scope="session")
def finished(_undisturbed: tuple[Stage, Outcome]) -> Stage:
    """The chain and the homes after it."""
    return _undisturbed[0]


@pytest.fixture(scope="session")
def undisturbed(_undisturbed: tuple[Stage, Outcome]) -> Outcome:
    return _undisturbed[1]
