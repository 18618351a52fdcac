"""An agent whose chain, store, account, home or own code is not as it should be: a sentence, a code, nothing lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from shutil import copytree
from typing import Any

import pytest

from agents.cli.exits import Exit
from agents.core.specification import Specification
from agents.effects.ports import LearnerFailed, Progress
from agents.home import Home
from agents.storage.cid import cid_of_bytes, to_text
from bfl_events.schema import DeadlineMissed, Phase, WorkerPenalized
from tests.anvil import Anvil, deploy, start_anvil
from tests.cli.command import Operator
from tests.storage.kubo_double import KuboDouble
from tests.system.company import COLLATERAL, DIGITS, GENESIS, Company, Party, StandIn, until


@pytest.fixture(scope="module")
def anvil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    with start_anvil(tmp_path_factory.mktemp("anvil"), chain_id=31337) as running:
        yield running


@pytest.fixture(scope="module")
def company(anvil: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Company:
    return Company(anvil, deploy(anvil.url).factory, tmp_path_factory.mktemp("company"))


def configured(party: Party, old: str, new: str) -> Party:
    text = party.home.config.read_text()
    assert old in text
    party.home.config.write_text(text.replace(old, new))
    return party


async def ended(party: Party) -> tuple[int, str]:
    """Exit code and sentence of an agent that cannot run, after a look at its home: as it was, but for a first key."""
    balance, files = party.balance(), party.files("networks/", "keystore/encryption/")
    async with asyncio.timeout(60):
        code = await party.run()
    assert (party.balance(), party.files("networks/", "keystore/encryption/")) == (balance, files)
    return code, party.said("agent.halted")[-1]["reason"]


async def test_a_wrong_chain_ends_it(company: Company) -> None:
    code, reason = await ended(configured(company.party("chain"), "chain_id = 31337", "chain_id = 5"))
    assert (code, "31337" in reason, "5" in reason) == (Exit.WRONG_CHAIN, True, True)


async def test_an_address_without_or_with_another_contract_ends_it(company: Company) -> None:
    requester = company.party("contracts", "requester")
    task = await company.offer(requester)
    task.send("cancelTask", sender=requester.address)
    nearly = "0x" + "34" * 20
    code = company.anvil.rpc("eth_getCode", company.factory, "latest")
    company.anvil.rpc("anvil_setCode", nearly, code + "00")
    nothing, other = "there is no contract at", "or another version"
    for factory, reason in (("0x" + "12" * 20, nothing), (task.address, other), (nearly, other)):
        party = configured(company.party(factory[:8]), company.factory, factory)
        code, said = await ended(party)
        assert (code, reason in said) == (Exit.WRONG_CHAIN, True), said


async def test_a_wrong_password_ends_it(company: Company) -> None:
    party = company.party("password")
    party.home.password.write_text("wrong\n")
    code, reason = await ended(party)
    assert (code, "password does not open" in reason) == (Exit.ACCOUNT, True), reason


async def test_a_store_address_that_is_none_ends_it(company: Company) -> None:
    party = configured(company.party("address"), f"local:{company.store}", "ftp://somewhere")
    code, reason = await ended(party)
    assert (code, "local:DIRECTORY" in reason) == (Exit.CONFIGURATION, True), reason


def test_an_unknown_key_in_the_configuration_ends_it_with_what_was_meant(company: Company) -> None:
    party = configured(company.party("key"), "poll_s", "pol_s")
    before = party.files()
    answer = Operator(party.home.root)("run", "--json")
    assert answer.code == Exit.CONFIGURATION
    assert "chain.pol_s" in answer.error["why"]
    assert "Did you mean chain.poll_s?" in answer.error["why"]
    assert party.files() == before


async def test_a_second_agent_of_the_account_ends_and_the_first_goes_on(company: Company) -> None:
    party = company.party("twice")
    assert party.key
    files = party.files("networks/")
    async with party.running() as first:
        await until(party.home.network(31337, company.factory).journal.exists, "the first runs", first)
        assert await party.run() == Exit.LOCKED
        assert "Another agent runs in this home" in party.said("agent.halted")[-1]["reason"]
        assert not first.done()
    assert party.files("networks/") == files
    assert party.sent() == 0


class Elsewhere(StandIn):
    """Trains as other hardware does: the same work gives other bytes."""

    def _made(self, out: str, kind: str, base: str, *parts: object) -> Mapping[str, Any]:
        return super()._made(out, kind, base, *parts, *(("elsewhere",) if kind == "trained" else ()))


class Late(StandIn):
    """Trains when it is told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def request(
        self, operation: str, fields: Mapping[str, Any], progress: Progress | None = None
    ) -> Mapping[str, Any]:
        if operation == "train":
            await self.go.wait()
        return await super().request(operation, fields, progress)


async def test_a_home_whose_copy_is_started_elsewhere_stops_with_the_reason_and_the_copy_completes_the_task(
    company: Company,
) -> None:
    other, here = company.party("beside-two-homes"), company.party("here")
    learner = Late()
    other.learner = lambda _: learner
    assert here.key
    there = replace(here, home=Home(copytree(here.home.root, company.folder / "there")))
    there.learner = lambda _: Elsewhere()
    task = await company.offer(company.party("requester-of-two-homes", "requester"))
    async with AsyncExitStack() as stack:
        beside, first = [await stack.enter_async_context(one.running(task.address)) for one in (other, here)]
        await until(lambda: task.call("committed"), "it committed its model", beside, first)
        second = await stack.enter_async_context(there.running(task.address))
        await until(first.done, "it saw another's hand", beside, second)
        assert first.result() == Exit.LOCKED
        learner.go.set()
        await until(lambda: task.call("core")[0] == Phase.COMPLETED and company.locked(task) == 0,
                    "the task was completed and drained", beside, second)
    said = here.said("agent.halted")[-1]
    assert (said["exit_code"], "Somebody else uses the account's key" in said["reason"]) == (Exit.LOCKED, True)
    assert not [event for event in company.events(task) if isinstance(event, WorkerPenalized | DeadlineMissed)]


async def test_a_chain_that_is_away_at_the_start_and_later_is_waited_for(company: Company) -> None:
    party = configured(company.party("away"), "poll_s = 0.2", "poll_s = 0.2\ndeadline_s = 1")
    requester = company.party("requester-of-away", "requester")
    task = await company.offer(requester)
    assert party.key
    company.anvil.freeze()
    async with party.running() as agent:
        try:
            await until(lambda: party.said("chain.unreachable"), "it missed the chain at its start", agent)
        finally:
            company.anvil.thaw()
        await until(lambda: party.said("task.joined", worker=party.address), "it joined after all", agent)
        company.anvil.freeze()
        try:
            await until(lambda: len(party.said("chain.unreachable")) > 1, "it missed the chain again", agent)
        finally:
            company.anvil.thaw()
        await until(lambda: len(party.said("chain.recovered")) > 1, "the chain was back", agent)
    assert company.locked(task) - COLLATERAL == 3 * 10**16
    assert all(line["reason"] for line in party.said("chain.unreachable"))
    task.send("cancelTask", sender=requester.address)


async def test_a_store_that_is_away_at_the_start_and_later_is_waited_for_and_so_is_an_empty_purse(
    company: Company,
) -> None:
    double = KuboDouble()
    await double.start()
    await double.stop()                            # nobody listens there now, and later this node does
    task = await company.offer(company.party("requester-of-poor", "requester"))
    rich, poor = (configured(company.party(name, wei=wei), f"local:{company.store}", double.url)
                  for name, wei in (("rich", 10**18), ("poor", 0)))
    async with rich.running() as first, poor.running() as second:
        agents = (first, second)
        await until(lambda: poor.said("store.unreachable"), "it missed the store", *agents)
        assert double.url in poor.said("store.unreachable")[0]["reason"]
        double.blobs = {to_text(cid_of_bytes(content)): content for content in (DIGITS.encode(), GENESIS)}
        await double.start()
        await until(lambda: poor.said("store.recovered"), "the store was back", *agents)
        await until(lambda: poor.said("intent.retried", intent="JoinTask"), "it could not pay", *agents)
        assert "send it" in poor.said("intent.retried", intent="JoinTask")[0]["error"]
        await until(lambda: task.call("indexPlus1", rich.address), "the other joined", *agents)
        assert task.call("indexPlus1", poor.address) == 0
        await double.stop()
        company.anvil.rpc("anvil_setBalance", poor.address, hex(10**18))
        await until(lambda: len(poor.said("store.unreachable")) > 1, "the store was missed again", *agents)
        assert task.call("core")[0] == Phase.OPEN
        await double.start()
        await until(lambda: task.call("core")[0] == Phase.COMPLETED, "the task was completed", *agents)
    await double.stop()
    assert not poor.said("ledger.penalty.applied")


class Broken(StandIn):
    """The task's code raises while it trains."""

    async def request(
        self, operation: str, fields: Mapping[str, Any], progress: Progress | None = None
    ) -> Mapping[str, Any]:
        if operation == "train":
            raise LearnerFailed("task", "ZeroDivisionError in train (task.py, line 2)", "Correct task.py")
        return await super().request(operation, fields, progress)


async def test_own_code_that_raises_in_the_middle_ends_it_and_mended_it_goes_on(company: Company) -> None:
    requester, other = company.party("requester-of-code", "requester"), company.party("other")
    party = company.party("code")
    task = await company.offer(requester)
    party.learner = lambda _: Broken()
    async with other.running() as agent:
        assert await party.run() == Exit.PLUGIN
        said = party.said("agent.halted")[-1]["reason"]
        assert "ZeroDivisionError in train (task.py, line 2). Correct task.py" in said
        assert company.locked(task) == 3 * 10**16 + 2 * COLLATERAL
        party.learner = lambda _: StandIn()
        async with party.running() as again:
            await until(lambda: task.call("core")[0] == Phase.COMPLETED, "the task was completed", agent, again)
    assert not party.said("ledger.penalty.applied")


async def test_whoever_has_a_seat_and_neither_journal_nor_code_any_more_is_told_so_and_can_come_back(
    company: Company,
) -> None:
    requester = company.party("requester-of-lost", "requester")
    task = await company.offer(requester, Specification("mine", 10))
    plugin = '[learning.plugins]\nmine = "mine.py"\n'
    party = company.party("lost", more=plugin)
    async with party.running() as agent:
        await until(lambda: task.call("indexPlus1", party.address), "it joined", agent)
    for path in party.home.network(31337, company.factory).root.glob("journal.sqlite*"):
        path.unlink()
    configured(party, plugin, "")
    assert await party.run() == Exit.PLUGIN
    assert "nor among learning.plugins" in party.said("agent.halted")[-1]["reason"]
    assert len(party.said("intent.started", intent="LoadTerms")) == 2, "one for each start, not one after the other"
    party.home.config.write_text(party.home.config.read_text() + plugin)
    async with party.running() as again:
        await until(lambda: len(party.said("task.discovered")) == 2, "it has the terms again", again)
    task.send("cancelTask", sender=requester.address)


async def test_a_requester_needs_no_code_to_serve_its_task(company: Company) -> None:
    requester = company.party("requester-without-code", "requester")
    task = await company.offer(requester, Specification("theirs", 10))
    async with requester.running(task.address) as agent:
        await until(lambda: requester.said("task.discovered"), "it has the terms", agent)
    assert not requester.said("task.declined")
    task.send("cancelTask", sender=requester.address)
