"""`run` without --task: whatever the factory offers, one task at a time; a requester serves all of its own; a worker is
paid where its configuration says. `task join` is `run --task`, once the policy and the operator have said yes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from bfl_events.log import EventLog
from bfl_events.schema import Phase, Record, TaskEnded, Withdrawn, WorkerJoined
from tests.anvil import Anvil, Contract, _die_with_parent, deploy, start_anvil
from tests.system.company import COLLATERAL, REWARD, Company, Party, until

ROOT = Path(__file__).parents[2]
SAFE = "0x5aFE5AfE00000000000000000000000000000000"


@pytest.fixture(scope="module")
def anvil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    with start_anvil(tmp_path_factory.mktemp("anvil"), chain_id=31337) as running:
        yield running


@pytest.fixture
def company(anvil: Anvil, tmp_path: Path) -> Company:
    return Company(anvil, deploy(anvil.url).factory, tmp_path)


@asynccontextmanager
async def typed(company: Company, worker: Party, *command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`bfl-agent` with these arguments and this home, in a process of its own."""
    program = (sys.executable, "-m", "tests.system.by_command", *command, "--home", str(worker.home.root))
    with (company.folder / "output").open("wb") as output:
        agent = await asyncio.create_subprocess_exec(*program, cwd=ROOT, stdout=output, stderr=output,
                                                     preexec_fn=_die_with_parent)
    try:
        yield agent
    finally:
        if agent.returncode is None:
            agent.kill()
            await agent.wait()


async def test_the_command_to_join_runs_the_agent_which_takes_a_seat_and_goes_on(company: Company) -> None:
    worker = company.party("by-command")
    assert worker.key
    task = await company.offer(company.party("requester", "requester"))
    async with typed(company, worker, "task", "join", task.address, "--yes") as agent:
        await until(lambda: worker.said("task.joined", worker=worker.address) or agent.returncode is not None, "joined")
        assert task.call("indexPlus1", worker.address) == 1, (company.folder / "output").read_text()
        assert (company.locked(task), worker.sent()) == (REWARD + COLLATERAL, 1)
        assert agent.returncode is None
        agent.terminate()
        assert await agent.wait() == 0
    assert [line["intent"] for line in worker.said("intent.started")] == ["LoadTerms", "DryRun", "JoinTask"]


def over(company: Company, task: Contract) -> bool:
    return task.call("core")[0] == Phase.COMPLETED and company.locked(task) == 0


def history(party: Party) -> list[Record]:
    (path,) = party.home.root.glob("networks/*/events.sqlite")
    with EventLog(path) as log:
        return list(log.records())


async def test_two_tasks_are_served_one_after_the_other_and_both_are_drained(company: Company) -> None:
    requester = company.party("requester", "requester")
    workers = [company.party("worker-1"), company.party("worker-2", more=f'[account]\npayout = "{SAFE}"\n')]
    tasks = [await company.offer(requester) for _ in range(2)]
    async with AsyncExitStack() as stack:
        agents = [await stack.enter_async_context(party.running()) for party in (requester, *workers)]
        await until(lambda: all(over(company, task) for task in tasks), "both tasks were over and drained", *agents)
        await until(lambda: all(requester.home.result(t.address).exists() for t in tasks), "models came", *agents)
        assert not any(agent.done() for agent in agents), "without --task an agent waits for the next one"
    for worker in workers:
        mine = [record for record in history(worker) if isinstance(record.event, TaskEnded)
                or (isinstance(record.event, WorkerJoined) and record.event.worker == worker.address)]
        assert [(type(record.event), record.emitter) for record in mine] == [
            (WorkerJoined, tasks[0].address), (TaskEnded, tasks[0].address),
            (WorkerJoined, tasks[1].address), (TaskEnded, tasks[1].address),
        ]
    for task in tasks:
        assert requester.home.result(task.address).read_bytes() != b""
        assert task.call("finalHash") != bytes(32)
    paid_out(company, tasks, workers[0], workers[0].address)
    paid_out(company, tasks, workers[1], SAFE)


def paid_out(company: Company, tasks: list[Contract], worker: Party, payout: str) -> None:
    """All that this worker bonded and earned went to `payout`, to the wei, and nothing but bonds and gas was spent."""
    events = [event for task in tasks for event in company.events(task)]
    joined = [event for event in events if isinstance(event, WorkerJoined) and event.worker == worker.address]
    assert [event.payout for event in joined] == len(tasks) * [payout]
    taken = [event for event in events if isinstance(event, Withdrawn) and event.worker == worker.address]
    assert {event.to for event in taken} == {payout}
    received, bonds = sum(event.amount for event in taken), len(tasks) * COLLATERAL
    assert received > bonds, "paid, and the bonds are back"
    left = worker.balance() + bonds + company.anvil.burnt_for_gas(worker.address) - 10**20
    elsewhere = int(company.anvil.rpc("eth_getBalance", SAFE, "latest"), 16)
    assert (left, elsewhere) == ((0, received) if payout == SAFE else (received, elsewhere))
