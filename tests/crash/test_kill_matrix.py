"""Kill every role right before and right after every durable step: same model, same money, nothing left behind.

One run takes many kills: all failpoints of an agent are armed at once, each life dies of the one it comes to first, and
the next is armed with the rest. Real processes, a real chain, the embedded store or the double of an IPFS node; only
torch is replaced. `matrix.py` says who passes what, `arms.py` who is killed where.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bfl_events.boundaries import Boundary
from tests.crash import arms, matrix
from tests.crash.manner import Manner
from tests.crash.matrix import both
from tests.crash.node import kubo_node
from tests.crash.play import Plot
from tests.crash.run import run
from tests.crash.setback import Setback
from tests.crash.stage import REQUESTER, WORKERS, Stage
from tests.crash.testimony import passed
from tests.crash.verdict import Outcome
from tests.crash.weather import Weather
from tests.thorough import FULL

pytestmark = pytest.mark.timeout(2400 if FULL else 900)


def test_no_agent_writes_anything_outside_the_named_steps(finished: Stage) -> None:
    """`running` demands it of every run, and that nobody passes what he is not killed at; here that it was watched."""
    told = passed(finished.told)
    assert told[REQUESTER] >= matrix.REQUESTER - matrix.BY_MISFORTUNE - matrix.SENDING
    for name in WORKERS:
        assert told[name] >= matrix.WORKER - matrix.BY_MISFORTUNE - matrix.BY_OTHER_WORKERS - {Boundary.OUTBOX_BURY}


def test_every_role_is_killed_at_every_step_that_it_passes() -> None:
    armed = [(name == REQUESTER, arms.name(failpoint)) for run in (arms.ON_THIS_MACHINE, arms.TOWARDS_A_NODE)
             for name, failpoints in run.items() for failpoint in failpoints]
    requesters, workers = ({one for its, one in armed if its == requester} for requester in (True, False))
    assert requesters == {*both(matrix.REQUESTER | matrix.KUBO_REQUESTER)}
    assert workers == {*both(matrix.WORKER | matrix.KUBO)}


def test_killed_at_every_step_on_this_machine_the_task_comes_to_the_same(
    undisturbed: Outcome, manner: Manner, tmp_path: Path
) -> None:
    """With a reorganisation deeper than the outbox buries, lost transactions, a corrupt blob and a refusal at first."""
    stormy = Plot(refused="worker-2", weather=lambda *run: Weather(*run).tend)
    assert run(tmp_path / "run", manner, arms.ON_THIS_MACHINE, stormy) == undisturbed


def test_killed_at_every_step_towards_an_ipfs_node_the_task_comes_to_the_same(
    undisturbed: Outcome, manner: Manner, tmp_path: Path
) -> None:
    """The requester has to start the task, in vain at first, so that it dies at every step of sending and giving up."""
    unlucky = Plot(starts_in_vain=True, weather=lambda *run: Setback(*run).tend)
    with kubo_node() as node:
        assert run(tmp_path / "run", manner, arms.TOWARDS_A_NODE, unlucky, node=node) == undisturbed
        assert node.unmarked() == set(), "pins that no garbage collector takes and no agent answers for"


@pytest.mark.skipif(not FULL, reason="minutes; CHAOS=full runs it")
@pytest.mark.parametrize("passing", [3, 5, 8, 13])
def test_killed_at_later_passings_the_task_comes_to_the_same(
    undisturbed: Outcome, manner: Manner, tmp_path: Path, passing: int
) -> None:
    """What a life comes to so late depends on the machine: those that are never reached do not count."""
    often = both({Boundary.LOG_APPEND, Boundary.JOURNAL_RECORD}, passing)
    rarely = both(matrix.OFTEN, passing) if passing < 8 else []
    armed = {REQUESTER: often, **dict.fromkeys(WORKERS, sorted({*often, *rarely}))}
    assert run(tmp_path / "run", manner, armed, all_fire=False) == undisturbed


def test_every_step_has_its_place_in_the_matrix() -> None:
    commands = frozenset[Boundary]().union(*matrix.COMMANDS.values())
    assert set(Boundary) == matrix.WORKER | matrix.REQUESTER | matrix.KUBO | commands | matrix.HOMES
