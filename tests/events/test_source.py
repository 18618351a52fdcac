"""The waiting around the passes: bells, trouble that is waited out, endpoints that are left, errors that are raised."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from bfl_events.decode import DecodeError
from bfl_events.log import EventLog, Identity
from bfl_events.rpc import Contract, Rpc, WrongChain, WrongContract
from bfl_events.schema import Burned, Wei
from bfl_events.source import Advance, EventSource
from bfl_events.view import Reads
from tests.events.rpc_double import (
    CHAIN_ID,
    FACTORY,
    Drop,
    FakeChain,
    Garbage,
    Half,
    Hang,
    InProcess,
    Result,
    RpcDouble,
    Status,
    created,
    task_address,
)

TASK = task_address(1)


@dataclass
class Listener:
    """A source being consumed: its advances as they come, and the troubles it told of."""

    source: EventSource
    log: EventLog
    advances: asyncio.Queue[Advance] = field(default_factory=asyncio.Queue)
    told: list[str] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, done: Callable[[Advance], bool]) -> Advance:
        async with asyncio.timeout(10):
            while not done(advance := await self.advances.get()):
                pass
        return advance

    async def hears(self, words: str) -> None:
        async with asyncio.timeout(10):
            while not any(words in one for one in self.told):
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def listening(node: Reads, **options: Any) -> AsyncIterator[Listener]:
    log = EventLog(":memory:", Identity(CHAIN_ID, FACTORY, 0))

    def tell(words: str) -> None:
        listener.told.append(words)
        listener.news.set()

    source = EventSource(
        node, log, factory=FACTORY, start_block=0, follow=lambda _: True,
        on_trouble=tell, on_recovered=lambda: tell("recovered"), **{"poll_s": 0.02, **options},
    )
    listener = Listener(source, log)

    async def consume() -> None:
        async with aclosing(source.advances()) as advances:
            async for advance in advances:
                listener.advances.put_nowait(advance)

    task = asyncio.create_task(consume())
    try:
        yield listener
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        log.close()


def burned(amount: int) -> tuple[str, Burned]:
    return TASK, Burned(Wei(amount))


def reaches(number: int) -> Callable[[Advance], bool]:
    return lambda advance: advance.head.number == number and advance.behind == 0


async def test_new_blocks_come_by_polling_alone() -> None:
    chain = FakeChain(2)
    async with listening(InProcess([chain])) as listener:
        await listener.until(reaches(1))
        chain.mine(created(1), burned(5))
        advance = await listener.until(reaches(2))
        assert [type(record.event).__name__ for record in advance.records] == ["TaskCreated", "Burned"]


async def test_a_new_block_tells_the_chains_time_and_an_old_one_leaves_it_to_the_node() -> None:
    chain = FakeChain(3)
    chain.clock = chain.tip.time + 500
    node = InProcess([chain])
    async with listening(node) as listener:
        assert (await listener.until(reaches(2))).clock == chain.clock, "nobody saw it come"
        chain.mine()
        chain.clock += 100
        assert (await listener.until(reaches(3))).clock == chain.tip.time
        node.down.add(0)
        await listener.hears("is down")
        chain.mine()
        chain.clock += 100
        node.down.clear()
        assert (await listener.until(reaches(4))).clock == chain.clock, "it may have been made long ago"
        chain.cut(2)
        for _ in range(3):
            chain.mine()
        assert (await listener.until(reaches(5))).clock == chain.clock, "another chain may be there for long"


@pytest.mark.parametrize("shown", [None, "none", {}, {"number": "0x3", "timestamp": "0x5"},
                                   {"number": "0x3", "parentHash": "0x" + "ab" * 32, "timestamp": "0x5"}])
async def test_what_does_not_follow_on_the_head_tells_no_time(shown: object) -> None:
    node = InProcess([FakeChain(3)])
    node.meddle = lambda _endpoint, _method, params, answer: shown if params[:1] == ("pending",) else answer
    async with listening(node) as listener:
        assert (await listener.until(reaches(2))).clock is None


async def test_the_bell_wakes_a_source_that_would_sleep_for_long() -> None:
    async with (
        RpcDouble(FakeChain(2)) as node, Rpc([node.url], chain_id=CHAIN_ID) as rpc,
        listening(rpc, poll_s=3600, ws_urls=[node.ws_url]) as listener,
    ):
        await listener.until(reaches(1))
        await node.subscribed.wait()
        for number in range(2, 6):
            node.chain.mine(created(number))
            await node.ring()
            await listener.until(reaches(number))


async def test_a_bell_that_was_cut_off_rings_again_by_itself() -> None:
    async with (
        RpcDouble(FakeChain(2)) as node, Rpc([node.url], chain_id=CHAIN_ID) as rpc,
        listening(rpc, poll_s=3600, ws_urls=[node.ws_url]) as listener,
    ):
        await listener.until(reaches(1))
        await node.subscribed.wait()
        await node.stop()
        node.chain.mine(created(1))
        node.subscribed.clear()
        await node.start()
        await listener.until(reaches(2))


async def test_a_ring_that_comes_before_the_block_is_looked_at_again_soon() -> None:
    chain = FakeChain(2)
    async with listening(InProcess([chain]), poll_s=3600) as listener:
        await listener.until(reaches(1))
        listener.source.ring()
        chain_calls = listener.source._rpc.calls  # type: ignore[attr-defined]
        while listener.source._rpc.calls == chain_calls:  # type: ignore[attr-defined]
            await asyncio.sleep(0)
        chain.mine(created(1))
        await listener.until(reaches(2))


async def test_trouble_is_told_once_and_so_is_its_end() -> None:
    chain = FakeChain(2)
    node = InProcess([chain])
    async with listening(node) as listener:
        await listener.until(reaches(1))
        node.down = {0}
        await listener.hears("endpoint 0 is down")
        asked = node.calls
        while node.calls < asked + 3:
            await asyncio.sleep(0)
        chain.mine(created(1))
        node.down = set()
        await listener.until(reaches(2))
        assert listener.told == ["endpoint 0 is down", "recovered"]


@pytest.mark.parametrize("behaviour", [Status(429), Status(503), Garbage(b"{"), Half(), Drop()])
async def test_a_misbehaving_node_delays_and_loses_nothing(behaviour: Any) -> None:
    async with (
        RpcDouble(FakeChain(2)) as node, Rpc([node.url], chain_id=CHAIN_ID) as rpc, listening(rpc) as listener,
    ):
        await listener.until(reaches(1))
        node.always = behaviour
        node.chain.mine(created(1), burned(1))
        await listener.hears(node.url)
        node.chain.mine(burned(2))
        node.always = None
        await listener.until(reaches(3))
        assert list(listener.log.records()) == node.chain.records()


async def test_with_two_endpoints_the_other_takes_over_at_once() -> None:
    truth = FakeChain(2)
    async with (
        RpcDouble(truth) as first, RpcDouble(truth) as second,
        Rpc([first.url, second.url], chain_id=CHAIN_ID, deadline_s=0.3) as rpc, listening(rpc) as listener,
    ):
        await listener.until(reaches(1))
        for number, behaviour in enumerate((Status(500), Hang(), Half()), start=2):
            first.always = behaviour
            truth.mine(created(number))
            await listener.until(reaches(number))
        first.always = None
        second.always = Hang()
        truth.mine(created(5))
        await listener.until(reaches(5))
        assert list(listener.log.records()) == truth.records()


async def test_an_endpoint_that_lies_about_the_head_is_left_for_an_honest_one() -> None:
    truth, lying = FakeChain(3), FakeChain(3)
    node = InProcess([lying, truth])

    def lie(endpoint: int, method: str, params: tuple[Any, ...], answer: Any) -> Any:
        if endpoint == 0 and method == "eth_getBlockByNumber" and params[0] == "latest":
            return {**answer, "number": hex(10**9), "hash": "0x" + "ee" * 32}
        return answer

    node.meddle = lie
    truth.mine(created(1))
    async with listening(node) as listener:
        await listener.until(reaches(3))
        assert node.blamed[0][0] == 0
        assert list(listener.log.records()) == truth.records()


async def test_logs_that_no_contract_writes_make_an_endpoint_suspect_not_the_agent() -> None:
    truth = FakeChain(2)
    truth.mine(created(1))
    node = InProcess([truth.copy(), truth])
    node.meddle = lambda endpoint, method, _, answer: (
        [{**log, "data": "0x00"} for log in answer] if (endpoint, method) == (0, "eth_getLogs") else answer)
    async with listening(node) as listener:
        await listener.until(reaches(2))
        assert list(listener.log.records()) == truth.records()
        assert [endpoint for endpoint, _ in node.blamed] == [0]


async def stream(node: Reads, chain_id: int = CHAIN_ID) -> None:
    with EventLog(":memory:", Identity(chain_id, FACTORY, 0)) as log:
        source = EventSource(node, log, factory=FACTORY, start_block=0, follow=lambda _: True, poll_s=0.01)
        async with asyncio.timeout(10), aclosing(source.advances()) as advances:
            async for _ in advances:
                pass


async def test_a_contract_of_another_version_ends_the_stream_with_the_place() -> None:
    chain = FakeChain(2)
    chain.mine(created(1))
    node = InProcess([chain, chain.copy()])
    node.meddle = lambda _e, method, _, answer: (
        [{**log, "topics": ["0x" + "77" * 32]} for log in answer] if method == "eth_getLogs" else answer)
    with pytest.raises(DecodeError, match="log 0 of block 2: unknown event"):
        await stream(node)
    assert {endpoint for endpoint, _ in node.blamed} == {0, 1}, "both were asked"


async def test_another_chain_than_the_logs_ends_the_stream() -> None:
    with pytest.raises(WrongChain, match="chain id 31337, but chain id 5"):
        await stream(InProcess([FakeChain(2)]), 5)


async def test_the_wrong_chain_or_contract_behind_the_endpoints_ends_the_stream() -> None:
    async with RpcDouble(FakeChain(2)) as node:
        async with Rpc([node.url], chain_id=1) as rpc:
            with pytest.raises(WrongChain):
                await stream(rpc)
        node.next(Result("0x"), method="eth_getCode")
        async with Rpc([node.url], contract=Contract(FACTORY)) as rpc:
            with pytest.raises(WrongContract):
                await stream(rpc)


def test_a_source_for_another_factory_than_the_logs_is_refused() -> None:
    with EventLog(":memory:", Identity(CHAIN_ID, FACTORY, 7)) as log, pytest.raises(ValueError, match="factory"):
        EventSource(InProcess([FakeChain()]), log, factory=FACTORY, start_block=0, follow=lambda _: True)


async def test_a_lag_is_told_and_outlasts_nothing() -> None:
    chain = FakeChain(3)
    async with listening(InProcess([chain]), patience_s=0.2) as listener:
        await listener.until(reaches(2))
        chain.cut(1)
        await listener.hears("lags: it does not have block 2 yet")
        advance = await listener.until(reaches(1))
        assert advance.rewound_to == 0, "of the blocks before only the first was noted"
        assert listener.told[-1] == "recovered"


async def test_stopping_the_stream_ends_its_bells() -> None:
    before = asyncio.all_tasks()
    async with RpcDouble(FakeChain(2)) as node, Rpc([node.url]) as rpc:
        with EventLog(":memory:", Identity(CHAIN_ID, FACTORY, 0)) as log:
            source = EventSource(rpc, log, factory=FACTORY, start_block=0, follow=lambda _: True,
                                 ws_urls=[node.ws_url, "ws://127.0.0.1:1"])
            async with aclosing(source.advances()) as advances:
                async for _ in advances:
                    break
        names = {task.get_coro().__qualname__ for task in asyncio.all_tasks() - before}  # type: ignore[union-attr]
        assert "listen" not in names


async def test_a_full_disk_is_told_and_the_log_goes_on_when_there_is_room() -> None:
    chain = FakeChain(2)
    async with listening(InProcess([chain])) as listener:
        await listener.until(reaches(1))
        database = listener.log._file._db
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        database.execute(f"PRAGMA max_page_count = {pages}")
        chain.mine(created(1), *(burned(amount) for amount in range(300)))
        await listener.hears("The disk is full")
        assert list(listener.log.records()) == []
        database.execute("PRAGMA max_page_count = 100000")
        advance = await listener.until(reaches(2))
        assert len(advance.records) == 301
        assert listener.told[-1] == "recovered"
        assert list(listener.log.records()) == list(advance.records)
