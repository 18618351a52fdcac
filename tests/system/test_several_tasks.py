"""`run` without --task: whatever the factory offers, one task at a time; a requester serves all of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from bfl_events.log import EventLog
from bfl_events.schema import Phase, Record, TaskEnded, WorkerJoined
from tests.anvil import Anvil, Contract, deploy, start_anvil
from tests.system.company import Company, Party, until


@pytest.fixture(scope="module")
def anvil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    with start_anvil(tmp_path_factory.mktemp("anvil"), chain_id=31337) as running:
        yield running


@pytest.fixture
def company(anvil: Anvil, tmp_path: Path) -> Company:
    return Company(anvil, deploy(anvil.url).factory, tmp_path)


def over(company: Company, task: Contract) -> bool:
    return task.call("core")[0] == Phase.COMPLETED and company.locked(task) == 0


def history(party: Party) -> list[Record]:
    (path,) = party.home.root.glob("networks/*/events.sqlite")
    with EventLog(path) as log:
        return list(log.records())


async def test_two_tasks_are_served_one_after_the_other_and_both_are_drained(company: Company) -> None:
    requester = company.party("requester", "requester")
    workers = [company.party(f"worker-{number}") for number in (1, 2)]
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
        assert worker.balance() > 10**20, "paid, and the bond is back"
    for task in tasks:
        assert requester.home.result(task.address).read_bytes() != b""
        assert task.call("finalHash") != bytes(32)
