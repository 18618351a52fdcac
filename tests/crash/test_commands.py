"""Commands killed at every durable step: the same command again does what it should have done, and nothing twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from agents.crypto.accounts import list_accounts
from agents.crypto.keys import load_encryption_keys
from bfl_events.export import read_export
from bfl_events.schema import TaskCreated
from tests.anvil import Anvil, deploy, start_anvil
from tests.crash import arms, matrix
from tests.crash.births import Nursery
from tests.crash.desk import Desk
from tests.crash.events import topic
from tests.crash.matrix import both
from tests.crash.stage import CHAIN_ID, FUNDS, Stage

SPECIFICATION = """
[task]
id = "tiny"
classes = 3
[terms]
rounds = 1
reward = "0.02 ether"
collateral = "0.009 ether"
min_workers = 2
min_active = 2
max_workers = 3
"""
REWARD = 2 * 10**16


@pytest.fixture
def desk(tmp_path: Path, nursery: Nursery, request: pytest.FixtureRequest) -> Iterator[Desk]:
    """In the end the test has killed at its `failpoint`, or at all that there are for the command that it is for."""
    (command,) = request.node.get_closest_marker("kills").args
    given = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    made = Desk(tmp_path, nursery)
    yield made
    assert made.fired == {arms.name(one) for one in given.values() or arms.COMMANDS[command]}


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    with start_anvil(tmp_path_factory.mktemp("chain"), chain_id=CHAIN_ID) as anvil:
        yield anvil


@pytest.mark.kills("init")
@pytest.mark.parametrize("failpoint", arms.COMMANDS["init"])
def test_a_home_whose_making_was_cut_short_is_completed(desk: Desk, failpoint: str) -> None:
    desk.dies(failpoint, *desk.init())
    desk.does(*desk.init())
    assert desk.files() == {"config.toml", "secrets/password", "keystore/UTC"}
    assert len(list_accounts(desk.home.keystore)) == 1


@pytest.mark.kills("keys rotate")
@pytest.mark.parametrize("failpoint", arms.COMMANDS["keys rotate"])
def test_a_rotation_that_was_cut_short_leaves_only_whole_keys(desk: Desk, failpoint: str) -> None:
    desk.does(*desk.init())
    desk.dies(failpoint, *desk.agent("keys", "rotate"))
    desk.does(*desk.agent("keys", "rotate"))
    keys = load_encryption_keys(desk.home.encryption_keys, desk.home.password.read_text().strip())
    assert len(keys) == (1 if failpoint.endswith("before") else 2)
    assert desk.files() == {"config.toml", "secrets/password", "keystore/UTC", "keystore/encryption/RSA"}


@pytest.mark.kills("contracts deploy")
def test_a_deployment_is_paid_for_once_wherever_it_was_cut_short(desk: Desk, chain: Anvil, nursery: Nursery) -> None:
    """Three transactions: killed at every step of the first, and once more around the signing of each."""
    undisturbed = Desk(desk.directory, nursery, "undisturbed")
    for home in (undisturbed, desk):
        home.settle_in(chain)
    command = desk.agent("contracts", "deploy", "--yes", "--json")
    assert undisturbed.passes(*undisturbed.agent("contracts", "deploy", "--yes")) == matrix.COMMANDS["contracts deploy"]
    for failpoints in arms.DEPLOYED:
        desk.dies_of_each(failpoints, *command)
    told = desk.does(*command)
    factory = json.loads(told[told.index("{"):])["factory"]
    assert f'factory = "{factory}"' in desk.home.config.read_text()
    for home in (undisturbed, desk):
        assert [tx["to"] for tx in chain.transactions(home.address)] == [None] * 3
        assert wealth(chain, home) == FUNDS
    assert desk.files() == undisturbed.files()
    assert not list(desk.home.root.glob(".*"))


@pytest.mark.kills("task create")
def test_a_task_is_created_and_paid_for_once_wherever_its_creation_was_cut_short(
    desk: Desk, chain: Anvil, nursery: Nursery
) -> None:
    """Three tasks: once one is sent, the command finds it on the chain, and comes no more to its landing."""
    undisturbed, factory = Desk(desk.directory, nursery, "undisturbed"), deploy(chain.url).factory
    specification = desk.directory / "task.toml"
    specification.write_text(SPECIFICATION)
    for home in (undisturbed, desk):
        home.settle_in(chain, factory=factory)
    numbers = (f"{number:064x}" for number in count(1))
    create = ("task", "create", str(specification), "--yes", "--nonce", next(numbers))
    assert undisturbed.passes(*undisturbed.agent(*create)) == matrix.COMMANDS["task create"]
    for failpoints in arms.CREATED:
        desk.dies_of_each(failpoints, *desk.agent(*create))
    desk.does(*desk.agent(*create))
    assert desk.files() == undisturbed.files()
    for already, failpoint in enumerate(arms.CREATED_AGAIN, start=1):
        create = (*create[:-1], next(numbers))
        desk.dies(failpoint, *desk.agent(*create))
        assert len(created(chain, factory, desk)) == already + 1
        assert '"created": false' in desk.does(*desk.agent(*create), "--json")
    assert len(created(chain, factory, undisturbed)) == 1
    for home, tasks in ((undisturbed, 1), (desk, 3)):
        assert [tx["to"].lower() for tx in chain.transactions(home.address)] == [factory.lower()] * tasks
        assert wealth(chain, home) == FUNDS - tasks * REWARD
    for home in (undisturbed, desk):
        assert not list(home.home.root.glob("networks/*/work/*"))


def wealth(chain: Anvil, home: Desk) -> int:
    """What the account of a home has in wei, with all that it paid for gas."""
    return int(chain.rpc("eth_getBalance", home.address, "latest"), 16) + chain.burnt_for_gas(home.address)


def created(chain: Anvil, factory: str, home: Desk) -> list[object]:
    """Tasks of this home's account."""
    requester = "0x" + home.address[2:].lower().rjust(64, "0")
    query = {"fromBlock": "0x0", "address": factory, "topics": [topic(TaskCreated), None, requester]}
    return [log["topics"][1] for log in chain.rpc("eth_getLogs", query)]


@pytest.fixture
def requesters(desk: Desk, finished: Stage) -> Desk:
    """In the home of the requester of a finished task."""
    desk.home = finished.home("requester")
    return desk


@pytest.mark.kills("models get")
@pytest.mark.parametrize("failpoint", arms.COMMANDS["models get"])
def test_the_final_model_is_written_whole_or_not_at_all(requesters: Desk, finished: Stage, failpoint: str) -> None:
    target = requesters.directory / "model" / "final.safetensors"
    target.parent.mkdir()
    get = requesters.agent("models", "get", "final", "--task", finished.task, "-o", str(target))
    requesters.dies(failpoint, *get)
    assert target.exists() == failpoint.endswith("after")
    requesters.does(*get)
    result = requesters.home.result(finished.task).read_bytes()
    assert hashlib.sha256(target.read_bytes()).digest() == hashlib.sha256(result).digest()
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.kills("export")
@pytest.mark.parametrize("failpoint", arms.COMMANDS["export"])
def test_an_export_is_written_whole_or_not_at_all(requesters: Desk, finished: Stage, failpoint: str) -> None:
    target = requesters.directory / "exports" / "events.jsonl"
    target.parent.mkdir()
    export = ("bfl-events", "export", "--log", str(finished.network("requester").events), "-o", str(target))
    requesters.dies(failpoint, *export)
    assert target.exists() == failpoint.endswith("after")
    requesters.does(*export)
    assert len(list(read_export(target))) > 80
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.kills("task list")
@pytest.mark.parametrize("failpoint", arms.COMMANDS["task list"])
def test_a_reading_log_that_is_begun_again_is_complete(requesters: Desk, finished: Stage, failpoint: str) -> None:
    """Of three files, one was removed when it was killed."""
    view = finished.network("requester").view
    listing = requesters.agent("task", "list", "--json")
    known = requesters.does(*listing)
    assert finished.task in known
    assert view.exists()
    again = (*listing, "--start-block", "1" if failpoint.endswith("before") else "2")
    requesters.dies(failpoint, *again)
    assert requesters.does(*again) == known


def test_every_step_of_commands_is_killed_here() -> None:
    """Each of these tests has killed wherever it should, see `desk`; here that they are for all commands and steps."""
    found = [mark.args[0] for test in globals().values() for mark in getattr(test, "pytestmark", [])
             if mark.name == "kills"]
    assert sorted(found) == sorted(arms.COMMANDS) == sorted(matrix.COMMANDS)
    for command, failpoints in arms.COMMANDS.items():
        assert {arms.name(one) for one in failpoints} == {*both(matrix.COMMANDS[command])}
