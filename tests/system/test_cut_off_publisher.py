"""A publisher whose store nobody else sees does not open its model, says so, and opens once others see it."""

from __future__ import annotations

import shutil
from contextlib import AsyncExitStack

from bfl_events.schema import Phase
from tests.system.company import Company, until


async def test_nothing_is_opened_on_chain_before_it_was_read_by_another_route(company: Company) -> None:
    mirror = company.folder / "mirror"
    requester = company.party("requester", "requester")
    seen = company.party("seen")
    cut_off = company.party("cut-off", more=f'read_back = "local:{mirror}"\n')
    task = await company.offer(requester)
    async with AsyncExitStack() as stack:
        agents = [await stack.enter_async_context(party.running()) for party in (seen, cut_off)]
        await until(lambda: cut_off.said("blob.unseen"), "the agent noticed that it is cut off", *agents)
        await until(lambda: len(cut_off.said("intent.retried", intent="PublishModel")) > 2, "it tried again", *agents)
        index = task.call("indexPlus1", cut_off.address) - 1
        assert task.call("core")[0] == Phase.OPEN
        assert task.call("opened") == 1 << (1 - index), "only the other's model is open"
        assert "not opened on chain before that works" in cut_off.said("blob.unseen")[0]["reason"]
        shutil.rmtree(mirror)
        mirror.symlink_to(company.store)
        await until(lambda: task.call("core")[0] > Phase.OPEN, "it was opened", *agents)
        assert cut_off.said("blob.seen")
    assert len(cut_off.said("round.model.published")) == 1
