"""A worker who is invited and comes while the task runs: it is handed the global model, and works as the others do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

from agents.core.global_model import CHECKPOINT
from agents.effects.ports import Progress
from bfl_events.rules import Content
from bfl_events.schema import (
    DeadlineMissed,
    Event,
    FinalAttested,
    ModelCommitted,
    Notice,
    Phase,
    WorkerJoined,
    WorkerPenalized,
)
from tests.system.company import GENESIS, Company, StandIn, invited, until


class Waiting(StandIn):
    """Trains the first model at once, and later ones not before it is told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def request(
        self, operation: str, fields: Mapping[str, Any], progress: Progress | None = None
    ) -> Mapping[str, Any]:
        if operation == "train" and Path(fields["base"]).stem != sha256(GENESIS).hexdigest():
            await self.go.wait()
        return await super().request(operation, fields, progress)


async def test_who_joins_in_round_2_works_from_round_3_on_the_same_base_and_nobody_is_fined(company: Company) -> None:
    requester = company.party("requester", "requester")
    *first, late = workers = [company.party(f"worker-{number}") for number in (1, 2, 3)]
    learner = Waiting()
    for worker in first:
        worker.learner = lambda _: learner
    specification, root = invited(*(worker.address for worker in workers))
    task = await company.offer(
        requester, specification, allowRoot=root, lateJoin=True, rounds=4, minWorkers=2, maxWorkers=3)
    async with AsyncExitStack() as stack:
        agents = [await stack.enter_async_context(worker.running(task.address)) for worker in first]
        await until(lambda: task.call("core")[4] == 2, "two had joined", *agents)
        task.send("startTask", sender=requester.address)
        await until(lambda: task.call("core")[1] == 2, "round 2 had begun", *agents)
        agents.append(await stack.enter_async_context(late.running(task.address)))
        await until(lambda: task.call("indexPlus1", late.address), "the third had joined", *agents)
        assert task.call("core")[:2] == (Phase.TRAIN, 2)
        learner.go.set()
        await until(lambda: task.call("core")[0] == Phase.COMPLETED, "the task was completed", *agents)
    judge(company.events(task), {worker.address for worker in workers}, late.address)
    assert late.said("round.model.fetched", kind=int(Content.CHECKPOINT), round=3), "it was handed the global model"


def judge(events: list[Event], everybody: set[str], late: str) -> None:
    assert [e.active_from for e in events if isinstance(e, WorkerJoined) and e.worker == late] == [3]
    handed = [event for event in events if isinstance(event, Notice) and event.kind == CHECKPOINT]
    assert {event.round for event in handed} == {3}
    assert {event.sender for event in handed} <= everybody - {late}
    for round, members in ((2, everybody - {late}), (3, everybody), (4, everybody)):
        commits = [event for event in events if isinstance(event, ModelCommitted) and event.round == round]
        assert sorted(event.worker for event in commits) == sorted(members), "each once"
        assert len({event.base_hash for event in commits}) == 1
    assert {event.worker for event in events if isinstance(event, FinalAttested)} == everybody
    assert not [event for event in events if isinstance(event, WorkerPenalized | DeadlineMissed)]
