"""With an agent running in the home, commands ask it, or refuse with advice; nobody signs beside it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from agents.cli.exits import Exit
from agents.cli.session import Session
from agents.control import Refused, serve
from agents.effects.diary import entries
from agents.home import Home
from bfl_events.log import EventLog, Identity
from tests.anvil import ACCOUNTS, Anvil, create_task, deploy, join
from tests.cli.command import Operator
from tests.cli.test_chain_commands import KEYS, at_home


@pytest.fixture(scope="module")
def factory(anvil: Anvil) -> str:
    return deploy(anvil.url).factory


@pytest.fixture
def worker(anvil: Anvil, factory: str, tmp_path: Path) -> Operator:
    operator = at_home(tmp_path / "worker", anvil.url, KEYS[1])
    config = operator.home / "config.toml"
    config.write_text(config.read_text().replace('# factory = "0x…"', f'factory = "{factory}"\nchain_id = 31337'))
    return operator


@contextmanager
def agent(home: Path, **answers: Any) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Something that answers on the control socket; what it was asked."""
    asked: list[tuple[str, dict[str, Any]]] = []
    ready, done = threading.Event(), threading.Event()

    def handler(operation: str) -> Any:
        async def answer(fields: Mapping[str, Any]) -> Mapping[str, Any]:
            asked.append((operation, dict(fields)))
            if isinstance(found := answers[operation.replace("-", "_")], Refused):
                raise found
            return dict(found)

        return answer

    async def live() -> None:
        async with serve(home / "run" / "control.sock", {name.replace("_", "-"): handler(name) for name in answers}):
            ready.set()
            await asyncio.to_thread(done.wait)
            await asyncio.sleep(0.01)         # Python 3.11 leaks a connection if its server closes while accepting it

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    try:
        assert ready.wait(10)
        yield asked
    finally:
        done.set()
        thread.join()


STATUS = {
    "ready": False,
    "alive": True,
    "role": "worker",
    "address": ACCOUNTS[1],
    "balance_wei": str(10**18),
    "head": 7,
    "tasks": [{"task": "0xT", "phase": "train", "round": 2, "rounds": 5, "attempt": 2, "standing": "training"}],
    "troubles": {"store": "Kubo does not answer"},
    "doing": ["train:0xT:2"],
    "pending": [{"key": "commit-model:0xT", "nonce": 4, "state": "waiting", "age_s": 2.2}],
}


def test_status_shows_what_the_agent_says(worker: Operator) -> None:
    with agent(worker.home, status=STATUS):
        text = worker("status").out
        assert worker.ok("status")["running"] is True
        assert worker("status", "--check").code == Exit.PREFLIGHT
    for words in ("not ready", "1 ether", "2/5", "store: Kubo does not answer", "train:0xT:2", "nonce 4"):
        assert words in text
    with agent(worker.home, status=STATUS | {"ready": True}):
        assert worker("status", "--check").code == 0


def test_status_says_what_was_lost_and_that_the_agent_drains(worker: Operator) -> None:
    lost = [{"what": "journal", "sentence": "journal.sqlite is gone", "repaired": False},
            {"what": "memory of 0xT", "sentence": "the journal does not know round 2", "repaired": True}]
    with agent(worker.home, status=STATUS | {"lost": lost, "draining": True}):
        text = worker("status").out
    for words in ("draining", "lost: journal.sqlite is gone", "made good: the journal does not know round 2"):
        assert words in text


def test_leaving_and_withdrawing_go_through_the_agent(worker: Operator, anvil: Anvil, factory: str) -> None:
    task, over = create_task(anvil.url, factory), create_task(anvil.url, factory)
    for one in (task, over):
        join(one, ACCOUNTS[1])
    over.send("cancelTask")
    worker.ok("task", "list")
    taken = {"withdrawn_wei": {over.address: str(10**18)}}
    with agent(worker.home, leave={"when": "now"}, rotate={}, withdraw=taken) as asked:
        assert worker.ok("task", "leave", task.address, "--yes")["when"] == "now"
        worker.ok("keys", "rotate")
        assert worker.ok("ledger", "withdraw", "--task", over.address) == {"asked": True, **taken}
    assert asked == [("leave", {"task": task.address}), ("rotate", {}), ("withdraw", {"task": over.address})]
    assert task.call("indexPlus1", ACCOUNTS[1]) == 1
    assert worker.ok("ledger", "show")["tasks"][1]["withdrawable_wei"] == str(10**18), "the command sent nothing"


def test_the_agents_refusal_is_the_commands(worker: Operator, anvil: Anvil, factory: str) -> None:
    task = create_task(anvil.url, factory)
    join(task, ACCOUNTS[1])
    worker.ok("task", "list")
    refusal = Refused("The agent drains.", "It was told to stop.", "Start it again.", exit_code=12)
    with agent(worker.home, leave=refusal):
        answer = worker("task", "leave", task.address, "--yes", "--json")
    assert (answer.code, answer.error["what"]) == (12, "The agent drains.")


def test_what_the_agent_cannot_be_asked_is_refused_with_advice(worker: Operator, anvil: Anvil, factory: str) -> None:
    task = create_task(anvil.url, factory, sender=ACCOUNTS[1])
    worker.ok("task", "list")
    with agent(worker.home, status=STATUS):
        answer = worker("task", "cancel", task.address, "--yes", "--json")
    assert answer.code == Exit.LOCKED
    assert "Stop it first" in answer.error["do"]
    assert task.call("core")[0] == 1


def test_nobody_signs_while_the_lock_is_held(worker: Operator, anvil: Anvil, factory: str) -> None:
    task = create_task(anvil.url, factory)
    join(task, ACCOUNTS[1])
    worker.ok("task", "list")
    with FileLock(worker.home / "networks" / "31337" / "agent.lock"):
        answer = worker("task", "leave", task.address, "--yes", "--json")
    assert answer.code == Exit.LOCKED
    assert "two writers would fight over nonces" in answer.error["why"]
    assert task.call("indexPlus1", ACCOUNTS[1]) == 1


def test_looking_does_not_keep_an_agent_from_starting(worker: Operator, anvil: Anvil, factory: str) -> None:
    worker.ok("task", "list")
    (network,) = (worker.home / "networks").glob("31337-*")
    with FileLock(worker.home / "networks" / "31337" / "agent.lock", timeout=0):
        task = create_task(anvil.url, factory)
        answer = worker("task", "show", task.address)
    assert answer.code == 0
    assert not (network / "events.sqlite").exists()


def test_a_running_agents_log_is_read_as_it_is(worker: Operator, anvil: Anvil, factory: str) -> None:
    worker.ok("task", "list")
    (network,) = (worker.home / "networks").glob("31337-*")
    (network / "view.sqlite").rename(network / "events.sqlite")
    unseen = create_task(anvil.url, factory)
    with agent(worker.home, status=STATUS):
        assert unseen.address not in worker("task", "list").out
    assert unseen.address in worker("task", "list").out


def test_another_first_block_begins_the_own_log_again(worker: Operator, anvil: Anvil, factory: str) -> None:
    task = create_task(anvil.url, factory)
    worker.ok("task", "list")
    anvil.rpc("evm_mine")
    head = int(anvil.rpc("eth_blockNumber"), 16)
    assert worker.ok("task", "list", "--start-block", str(head)) == {"tasks": []}
    assert task.address in worker("task", "list").out


def test_an_agent_that_has_just_begun_to_read_hides_no_task(worker: Operator, anvil: Anvil, factory: str) -> None:
    task = create_task(anvil.url, factory).address
    assert worker("task", "show", task, "--json").code == 0
    folder = next(worker.home.glob(f"networks/31337-{factory[2:10].lower()}"))
    with EventLog(folder / "events.sqlite", Identity(31337, factory, 0)), agent(worker.home, status={}):
        assert worker("task", "show", task, "--json").code == 0


def test_who_left_joins_again_by_a_command_once_no_agent_runs(
    worker: Operator, anvil: Anvil, factory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = create_task(anvil.url, factory, collateral=10**15)
    join(task, ACCOUNTS[1], 10**15)
    worker.ok("task", "leave", task.address, "--yes")
    journal = Home(worker.home).network(31337, factory).journal
    wish = f"wish:leave:{task.address}"
    assert [key for _, key, _ in entries(journal)] == [wish]
    with agent(worker.home, status=STATUS):
        answer = worker("task", "join", task.address, "--yes", "--json")
    assert (answer.code, answer.error["why"]) == (Exit.USAGE, "It was told to leave it.")
    assert worker.ok("task", "join", task.address, "--dry-run")["acceptable"]
    assert [key for _, key, _ in entries(journal)] == [wish]
    served = []

    async def run(_: Session, address: str) -> None:
        served.append((address, [key for _, key, _ in entries(journal)]))

    monkeypatch.setattr("agents.cli.run.serve", run)
    assert worker("task", "join", task.address, "--yes").code == 0
    assert served == [(task.address, [])]
