"""Kill every role right before and right after every durable step: same model, same money, nothing left behind.

One run takes many kills: all failpoints of an agent are armed at once, each life dies of the one it comes to first, and
the next is armed with the rest. Real processes, a real chain, the embedded store or the double of an IPFS node; only
torch is replaced. `matrix.py` says who passes what.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from bfl_events.boundaries import Boundary
from tests.crash import matrix
from tests.crash.company import Company
from tests.crash.matrix import both
from tests.crash.node import Node, kubo_node
from tests.crash.play import Plot, play
from tests.crash.stage import staged
from tests.crash.verdict import Outcome, faults, outcome
from tests.crash.weather import Weather
from tests.crash.witness import VARIABLE

pytestmark = pytest.mark.timeout(900)
Fired = dict[str, list[str]]
QUIET = Plot()


def run(directory: Path, arms: Mapping[str, Sequence[str]], plot: Plot = QUIET, *, node: Node | None = None,
        witness: Path | None = None) -> tuple[Outcome, Fired]:
    """One task with these failpoints. Everything is checked that must hold for any run; what it came to, who died of
    what."""
    environment = {VARIABLE: str(witness)} if witness is not None else {}
    with staged(directory, store="local:../blobs" if node is None else node.url) as stage:
        with Company(stage) as company:
            play(stage, company, arms, plot, environment)
            left = {member.name: member.armed for member in company.members.values() if member.armed}
            fired = {member.name: member.fired for member in company.members.values()}
        assert not left, "nobody came to these failpoints"
        marked = stage.pins if node is None else lambda name: node.marks(stage.addresses[name])
        assert faults(stage, marked) == []
        return outcome(stage), fired


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("witness") / "told"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, witness: Path) -> Outcome:
    found, fired = run(tmp_path_factory.mktemp("undisturbed") / "run", {}, witness=witness)
    assert not any(fired.values())
    return found


def test_no_agent_writes_anything_outside_the_named_steps(undisturbed: Outcome, witness: Path) -> None:
    told = [json.loads(line) for line in witness.read_text().splitlines()]
    assert [line for line in told if "escaped" in line] == []
    passed = {line["passed"] for line in told}
    assert passed >= matrix.CHILD, "the learning child was watched as well"
    assert passed <= matrix.WORKER | matrix.REQUESTER


def test_killed_at_every_step_on_this_machine_the_task_comes_to_the_same(undisturbed: Outcome, tmp_path: Path) -> None:
    """With a reorganisation deeper than the outbox buries, lost transactions, a corrupt blob and a refusal at first."""
    arms = {
        "requester": both(matrix.REQUESTER - matrix.SENDING),
        "worker-1": both(matrix.WORKER - matrix.CHILD - {Boundary.JOURNAL_FORGET}),
        "worker-2": [*both({Boundary.JOURNAL_FORGET}), *both(matrix.OFTEN, passing=4)],
        "worker-3": both(matrix.CHILD),
    }
    stormy = Plot(refused="worker-2", weather=lambda *run: Weather(*run).tend)
    found, fired = run(tmp_path / "run", arms, stormy)
    assert found == undisturbed
    assert {name: sorted(one) for name, one in fired.items()} == {name: sorted(one) for name, one in arms.items()}


def test_killed_at_every_step_towards_an_ipfs_node_the_task_comes_to_the_same(
    undisturbed: Outcome, tmp_path: Path
) -> None:
    arms = {"requester": both(matrix.SENDING | matrix.KUBO_REQUESTER), "worker-1": both(matrix.KUBO)}
    with kubo_node() as node:
        found, fired = run(tmp_path / "run", arms, Plot(requester_starts=True), node=node)
        assert node.unmarked() == set(), "pins that no garbage collector takes and no agent answers for"
    assert found == undisturbed
    assert {name: sorted(one) for name, one in fired.items() if one} == {
        name: sorted(one) for name, one in arms.items()}


def test_every_step_has_its_place_in_the_matrix() -> None:
    assert set(Boundary) == matrix.WORKER | matrix.REQUESTER | matrix.KUBO | matrix.COMMANDS
