"""The manners in which agents live, and of each one undisturbed run for everything that is compared with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest

from tests.crash.births import Nursery
from tests.crash.manner import Manner
from tests.crash.programs import Programs
from tests.crash.run import running
from tests.crash.stage import Stage
from tests.crash.subject import digits, tiny
from tests.crash.verdict import Outcome
from tests.thorough import FULL

LIGHT, REAL = "forked-numpy", "executed-torch"
FirstRuns = Callable[[Manner], tuple[Stage, Outcome]]


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Nursery(tmp_path_factory.mktemp("nursery")) as found:
        yield found


@pytest.fixture(scope="session")
def light(nursery: Nursery) -> Manner:
    """Lives that begin in milliseconds, and a learner that needs no torch."""
    return Manner(nursery, tiny(), patience_s=240)


@pytest.fixture(scope="session")
def real() -> Iterator[Manner]:
    """As operators have it. A life takes seconds, and one after the other has to die."""
    with Programs() as programs:
        yield Manner(programs, digits(), patience_s=1500)


@pytest.fixture(scope="session", params=[LIGHT, pytest.param(REAL, marks=pytest.mark.skipif(
    not FULL, reason="minutes; CHAOS=full runs it"))])
def manner(request: pytest.FixtureRequest) -> Manner:
    found: Manner = request.getfixturevalue("light" if request.param == LIGHT else "real")
    return found


@pytest.fixture(scope="session")
def _first_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FirstRuns]:
    with ExitStack() as stack:
        @cache
        def of(manner: Manner) -> tuple[Stage, Outcome]:
            directory = tmp_path_factory.mktemp("undisturbed") / "run"
            return stack.enter_context(running(directory, manner, {}))
        yield of


@pytest.fixture(scope="session")
def finished(light: Manner, _first_runs: FirstRuns) -> Stage:
    """The chain and the homes after an undisturbed run."""
    return _first_runs(light)[0]


@pytest.fixture
def undisturbed(manner: Manner, _first_runs: FirstRuns) -> Outcome:
    return _first_runs(manner)[1]
