"""Commands killed at every durable step: the same command again does what it should have done, and nothing twice."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from agents.cli.configfile import with_values
from agents.crypto.accounts import list_accounts
from agents.crypto.keys import load_encryption_keys
from agents.home import Home
from agents.identity import choose
from bfl_events.boundaries import VARIABLE, Boundary
from bfl_events.export import read_export
from tests.anvil import Anvil, start_anvil
from tests.crash import matrix
from tests.crash.births import Nursery
from tests.crash.stage import CHAIN_ID, FUNDS, Stage

SIDES = ("before", "after")
KILLED = -signal.SIGKILL


class Desk:
    """Where commands are given. `dies` demands that the failpoint was come to."""

    def __init__(self, directory: Path, nursery: Nursery) -> None:
        self.directory, self._nursery, self._number = directory, nursery, 0
        self.home = Home(directory / "home")

    def run(self, *argv: str, failpoint: str = "") -> int:
        self._number += 1
        self._output = self.directory / f"{self._number}.output"
        environment = {VARIABLE: failpoint} if failpoint else {}
        return self._nursery.command(argv, self._output, environment)

    def dies(self, failpoint: str, *argv: str) -> None:
        assert self.run(*argv, failpoint=failpoint) == KILLED, self._output.read_text()
        assert f"failpoint {failpoint.partition(':')[0]}" in self._output.read_text()

    def does(self, *argv: str) -> str:
        assert self.run(*argv) == 0, self._output.read_text()
        return self._output.read_text()

    def agent(self, *argv: str) -> Sequence[str]:
        return ("bfl-agent", *argv, "--home", str(self.home.root))

    def init(self) -> Sequence[str]:
        return self.agent("init", "--new-account", "--light-kdf")

    def files(self) -> set[str]:
        """Below the home, by names without the time and the address in them."""
        found = (path.relative_to(self.home.root) for path in self.home.root.rglob("*") if path.is_file())
        return {str(path.parent / path.name.partition("--")[0]) for path in found}


@pytest.fixture
def desk(tmp_path: Path, nursery: Nursery) -> Desk:
    return Desk(tmp_path, nursery)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    with start_anvil(tmp_path_factory.mktemp("chain"), chain_id=CHAIN_ID) as anvil:
        yield anvil


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("step", "passing"), [
    (Boundary.PRIVATE_WRITE, 1), (Boundary.PRIVATE_WRITE, 2), (Boundary.ACCOUNT_WRITE, 1)])
def test_a_home_whose_making_was_cut_short_is_completed(desk: Desk, step: Boundary, passing: int, side: str) -> None:
    desk.dies(f"{step}.{side}:{passing}", *desk.init())
    desk.does(*desk.init())
    assert desk.files() == {"config.toml", "secrets/password", "keystore/UTC"}
    assert len(list_accounts(desk.home.keystore)) == 1


@pytest.mark.parametrize("side", SIDES)
def test_a_rotation_that_was_cut_short_leaves_only_whole_keys(desk: Desk, side: str) -> None:
    desk.does(*desk.init())
    desk.dies(f"{Boundary.KEY_WRITE}.{side}", *desk.agent("keys", "rotate"))
    desk.does(*desk.agent("keys", "rotate"))
    keys = load_encryption_keys(desk.home.encryption_keys, desk.home.password.read_text().strip())
    assert len(keys) == (1 if side == "before" else 2)
    assert desk.files() == {"config.toml", "secrets/password", "keystore/UTC", "keystore/encryption/RSA"}


@pytest.mark.parametrize("side", SIDES)
def test_a_deployment_that_was_cut_short_is_found_again_not_repeated(desk: Desk, chain: Anvil, side: str) -> None:
    desk.does(*desk.init())
    text = with_values(desk.home.config.read_text(), "chain", {"rpc": [chain.url], "chain_id": CHAIN_ID})
    desk.home.config.write_text(text)
    address = choose(desk.home, None).address
    chain.rpc("anvil_setBalance", address, hex(FUNDS))
    deploy = desk.agent("contracts", "deploy", "--yes", "--json")
    desk.dies(f"{Boundary.CONFIG_WRITE}.{side}", *deploy)
    sent = chain.rpc("eth_getTransactionCount", address, "latest")
    told = desk.does(*deploy)
    factory = json.loads(told[told.index("{"):])["factory"]
    assert chain.rpc("eth_getTransactionCount", address, "latest") == sent
    assert f'factory = "{factory}"' in desk.home.config.read_text()
    assert not list(desk.home.root.glob(".*"))


@pytest.fixture
def requesters(desk: Desk, finished: Stage) -> Desk:
    """In the home of the requester of a finished task."""
    desk.home = finished.home("requester")
    return desk


@pytest.mark.parametrize("side", SIDES)
def test_the_final_model_is_written_whole_or_not_at_all(requesters: Desk, finished: Stage, side: str) -> None:
    target = requesters.directory / "model" / "final.safetensors"
    target.parent.mkdir()
    get = requesters.agent("models", "get", "final", "--task", finished.task, "-o", str(target))
    requesters.dies(f"{Boundary.FINAL_WRITE}.{side}", *get)
    assert target.exists() == (side == "after")
    requesters.does(*get)
    result = requesters.home.result(finished.task).read_bytes()
    assert hashlib.sha256(target.read_bytes()).digest() == hashlib.sha256(result).digest()
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("side", SIDES)
def test_an_export_is_written_whole_or_not_at_all(requesters: Desk, finished: Stage, side: str) -> None:
    target = requesters.directory / "exports" / "events.jsonl"
    target.parent.mkdir()
    export = ("bfl-events", "export", "--log", str(finished.network("requester").events), "-o", str(target))
    requesters.dies(f"{Boundary.LOG_EXPORT}.{side}", *export)
    assert target.exists() == (side == "after")
    requesters.does(*export)
    assert len(list(read_export(target))) > 80
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("side", SIDES)
def test_a_reading_log_that_is_begun_again_is_complete(requesters: Desk, finished: Stage, side: str) -> None:
    """Of three files, one was removed when it was killed."""
    view = finished.network("requester").view
    listing = requesters.agent("task", "list", "--json")
    known = requesters.does(*listing)
    assert finished.task in known
    assert view.exists()
    again = (*listing, "--start-block", "1" if side == "before" else "2")
    requesters.dies(f"{Boundary.VIEW_DROP}.{side}", *again)
    assert requesters.does(*again) == known


def test_every_step_of_commands_is_killed_here() -> None:
    source = Path(__file__).read_text("utf-8")
    assert {step for step in Boundary if f"Boundary.{step.name}" in source} == matrix.COMMANDS
