"""A worker whose average came out wrong hears of it, takes the majority's model from the others, and loses nothing."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from agents.effects.ports import Progress
from bfl_events.schema import Phase
from tests.system.company import Company, StandIn, until


class Miscalculating(StandIn):
    """Averages differently from everybody else, once: as a broken memory chip would."""

    def __init__(self) -> None:
        self._broken = True

    async def request(
        self, operation: str, fields: Mapping[str, Any], progress: Progress | None = None
    ) -> Mapping[str, Any]:
        if operation == "aggregate" and self._broken:
            self._broken = False
            return self._made(fields["out"], "miscalculated", fields["base"])
        return await super().request(operation, fields, progress)


async def test_it_raises_the_alarm_once_re_syncs_and_goes_on_with_the_others(company: Company) -> None:
    task = await company.offer(company.party("requester", "requester"), rounds=3, minWorkers=3, maxWorkers=3)
    workers = [company.party(f"worker-{number}") for number in (1, 2, 3)]
    victim, learner = workers[0], Miscalculating()
    victim.learner = lambda _: learner
    async with AsyncExitStack() as stack:
        agents = [await stack.enter_async_context(worker.running()) for worker in workers]
        await until(lambda: task.call("core")[0] == Phase.COMPLETED, "the task was completed", *agents)
    (alarm,) = victim.said("round.base.diverged")
    (end,) = victim.said("round.base.resynced")
    assert (alarm["level"], alarm["round"], end["round"]) == ("warning", 2, 2)
    assert alarm["mine"] != alarm["majority"] == end["majority"]
    assert "the majority's bytes are asked for" in alarm["next"]
    assert task.call("finalHash") != bytes(32)
    for worker in workers[1:]:
        assert not worker.said("round.base.diverged")
    assert not [line for worker in workers for line in worker.said("ledger.penalty.applied")]
    assert victim.said("round.model.fetched", kind=3), "the bytes came from another member"
