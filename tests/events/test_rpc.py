"""Calls against endpoints that misbehave in every way that real ones do."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from bfl_events.endpoint import redacted
from bfl_events.keccak import keccak256
from bfl_events.rpc import Contract, Rpc, RpcRefused, Unavailable, WrongChain, WrongContract
from bfl_events.transport import HttpTransport
from tests.events.rpc_double import (
    CHAIN_ID,
    FACTORY,
    Behaviour,
    Drop,
    FakeChain,
    Garbage,
    Half,
    Hang,
    Refusal,
    Result,
    RpcDouble,
    Status,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def nodes(number: int, **options: Any) -> AsyncIterator[tuple[Rpc, list[RpcDouble]]]:
    doubles = [RpcDouble(FakeChain(5)) for _ in range(number)]
    for double in doubles:
        await double.start()
    try:
        async with Rpc([double.url for double in doubles], **{"chain_id": CHAIN_ID, **options}) as rpc:
            yield rpc, doubles
    finally:
        for double in doubles:
            await double.stop()


BAD: dict[str, Callable[[], Behaviour]] = {
    "rate limit": lambda: Status(429, {"Retry-After": "7"}),
    "rate limit in the body": lambda: Refusal(-32005, "daily request count exceeded, request rate limited"),
    "server error": lambda: Status(500),
    "bad gateway": lambda: Status(502, body=b"<html>"),
    "no access": lambda: Status(403),
    "redirection": lambda: Status(302, {"Location": "http://127.0.0.1:1/"}),
    "not JSON": lambda: Garbage(b"<html>busy</html>"),
    "nothing": lambda: Garbage(b""),
    "deep JSON": lambda: Garbage(b"[" * 5_000),
    "a list": lambda: Garbage(b"[]"),
    "another request's answer": lambda: Garbage(b'{"jsonrpc":"2.0","id":-5,"result":"0x1"}'),
    "no result": lambda: Garbage(b'{"jsonrpc":"2.0","id":1}'),
    "an error without a code": lambda: Garbage(b'{"jsonrpc":"2.0","id":1,"error":"x"}'),
    "a huge number": lambda: Garbage(b'{"id":1,"result":' + b"9" * 5000 + b"}"),
    "half an answer": Half,
}


@pytest.mark.parametrize("name", BAD)
async def test_the_next_endpoint_answers_for_one_that_sends(name: str) -> None:
    async with nodes(2) as (rpc, (first, second)):
        await rpc.call("eth_blockNumber")
        first.next(BAD[name](), method="eth_blockNumber")
        second.chain.mine()
        assert await rpc.call("eth_blockNumber") == "0x5"
        assert [health.healthy for health in rpc.endpoints] == [False, True]
        assert rpc.endpoints[0].trouble
        assert (rpc.current, rpc.failovers) == (1, 1)


async def test_the_next_endpoint_answers_for_one_that_drops_or_refuses_connections() -> None:
    async with nodes(2) as (rpc, (first, second)):
        await rpc.call("eth_blockNumber")
        second.chain.mine()
        first.always = Drop()
        assert await rpc.call("eth_blockNumber") == "0x5"
        await second.stop()
        first.always = None
        assert await rpc.call("eth_blockNumber") == "0x4"
        await first.stop()
        with pytest.raises(Unavailable, match="cannot connect.*cannot connect"):
            await rpc.call("eth_blockNumber")
        await first.start()
        assert await rpc.call("eth_blockNumber") == "0x4"


async def test_a_kept_connection_that_was_closed_meanwhile_is_no_failure() -> None:
    async with nodes(1) as (rpc, (node,)):
        await rpc.call("eth_blockNumber")
        node.next(Drop(), method="eth_blockNumber")
        assert await rpc.call("eth_blockNumber") == "0x4"
        assert rpc.endpoints[0].failures == 0


async def test_a_frozen_endpoint_costs_one_attempt_and_is_then_passed_over() -> None:
    async with nodes(2, attempt_s=0.2) as (rpc, (first, second)):
        await rpc.call("eth_blockNumber")
        first.always = Hang()
        await rpc.call("eth_blockNumber")
        asked = len(first.calls)
        for _ in range(5):
            await rpc.call("eth_blockNumber")
        assert len(first.calls) == asked
        assert second.calls.count("eth_blockNumber") == 6


async def test_every_call_ends_at_its_deadline() -> None:
    async with nodes(2, attempt_s=0.1, deadline_s=0.2) as (rpc, doubles):
        for double in doubles:
            double.always = Hang()
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(Unavailable, match="no answer within"):
            await rpc.call("eth_blockNumber")
        assert loop.time() - began < 2


async def test_a_refused_call_is_an_answer_and_no_failure() -> None:
    async with nodes(2) as (rpc, (first, second)):
        first.next(Refusal(3, "execution reverted", "0x1234"), method="eth_call")
        with pytest.raises(RpcRefused) as caught:
            await rpc.call("eth_call", {})
        assert (caught.value.code, caught.value.message, caught.value.data) == (3, "execution reverted", "0x1234")
        assert "eth_call" not in second.calls
        assert rpc.endpoints[0].healthy


async def test_a_refusal_with_status_400_is_understood() -> None:
    async with nodes(1) as (rpc, (node,)):
        node.next(Status(400, body=b'{"error":{"code":-32602,"message":"too many logs"}}'), method="eth_getCode")
        with pytest.raises(RpcRefused, match="too many logs"):
            await rpc.call("eth_getCode", FACTORY, "latest")


async def test_a_node_is_never_asked_twice_to_sign_and_send() -> None:
    async with nodes(2) as (rpc, (first, second)):
        await rpc.call("eth_blockNumber")
        first.always = Drop()
        with pytest.raises(Unavailable):
            await rpc.call("eth_sendTransaction", {})
        assert [*first.calls, *second.calls].count("eth_sendTransaction") == 1


async def test_an_endpoint_of_another_chain_is_never_believed() -> None:
    async with nodes(2) as (rpc, (first, second)):
        first.chain_id = 5
        second.chain.mine()
        assert await rpc.call("eth_blockNumber") == "0x5"
        assert "eth_blockNumber" not in first.calls
        assert "chain id 5" in str(rpc.endpoints[0].trouble)
        with pytest.raises(WrongChain, match="chain id 5, but chain id 31337"):
            await rpc.check()


async def test_if_all_endpoints_are_of_another_chain_a_person_must_know() -> None:
    async with nodes(2, chain_id=1) as (rpc, _):
        with pytest.raises(WrongChain) as caught:
            await rpc.call("eth_blockNumber")
        assert (caught.value.expected, caught.value.got) == (1, CHAIN_ID)


async def test_an_endpoint_is_checked_again_after_each_failure() -> None:
    async with nodes(1) as (rpc, (node,)):
        await rpc.call("eth_blockNumber")
        await rpc.call("eth_blockNumber")
        assert node.calls.count("eth_chainId") == 1
        node.next(Status(500), method="eth_blockNumber")
        with pytest.raises(Unavailable):
            await rpc.call("eth_blockNumber")
        node.chain_id = 7
        with pytest.raises(WrongChain):
            await rpc.call("eth_blockNumber")
        node.chain_id = CHAIN_ID
        assert await rpc.call("eth_blockNumber") == "0x4", "and may come right again"


async def test_without_a_chain_id_the_first_answer_decides_for_all() -> None:
    async with nodes(2, chain_id=None) as (rpc, (_, second)):
        second.chain_id = 5
        await rpc.call("eth_blockNumber")
        assert rpc.chain_id == CHAIN_ID
        with pytest.raises(WrongChain):
            await rpc.check()


async def test_no_contract_at_the_address_is_an_error_at_first_and_a_lag_later() -> None:
    async with nodes(1, contract=Contract(FACTORY)) as (rpc, (node,)):
        node.next(Result("0x"), method="eth_getCode")
        with pytest.raises(WrongContract, match=f"there is no contract at {FACTORY}"):
            await rpc.call("eth_blockNumber")
        await rpc.call("eth_blockNumber")
        node.next(Status(500), method="eth_blockNumber")
        with pytest.raises(Unavailable):
            await rpc.call("eth_blockNumber")
        node.next(Result("0x"), method="eth_getCode")
        with pytest.raises(Unavailable, match="does not have the contract .* yet"):
            await rpc.call("eth_blockNumber")
        await rpc.call("eth_blockNumber")


async def test_another_contract_at_the_address_is_an_error() -> None:
    async with nodes(1, contract=Contract(FACTORY, keccak256(b"\x60"))) as (rpc, (node,)):
        await rpc.call("eth_blockNumber")
    async with nodes(1, contract=Contract(FACTORY, keccak256(b"\x61"))) as (rpc, (node,)):
        with pytest.raises(WrongContract, match="another contract"):
            await rpc.call("eth_blockNumber")
        assert node.calls == ["eth_chainId", "eth_getBlockByNumber", "eth_getCode"]


async def test_an_endpoint_of_another_chain_with_the_same_id_and_contract_is_never_believed() -> None:
    async with nodes(2, contract=Contract(FACTORY)) as (rpc, (first, second)):
        await rpc.call("eth_blockNumber")
        second.chain.cut(len(second.chain.blocks))
        second.chain.blocks[0] = replace(second.chain.blocks[0], hash=b"\x99" * 32)
        second.chain.mine()
        first.always = Drop()
        with pytest.raises(Unavailable, match="serves another chain 31337"):
            await rpc.call("eth_getCode", FACTORY, "latest")
        assert second.calls == ["eth_chainId", "eth_getBlockByNumber"]
        first.always = None
        assert await rpc.call("eth_blockNumber") == "0x4", "the first one came back"
        first.always = Drop()
        second.next(Result(None), method="eth_getBlockByNumber")
        assert await rpc.call("eth_blockNumber") == "0x1", "one without block 1 has nothing to be told apart by"


async def test_backing_off_grows_and_honours_what_the_server_asks() -> None:
    clock = Clock()
    async with nodes(2, clock=clock, survey_s=1e9) as (rpc, (first, _)):
        await rpc.call("eth_blockNumber")
        first.next(Status(429, {"Retry-After": "40"}), method="eth_blockNumber")
        await rpc.call("eth_blockNumber")
        clock.now += 39
        assert rpc.others(1) == ()
        clock.now += 2
        assert rpc.others(1) == (0,)


async def test_an_endpoint_that_lags_is_left_and_the_first_one_preferred_without_flapping() -> None:
    clock = Clock()
    async with nodes(2, clock=clock, survey_s=1e9) as (rpc, (first, second)):
        await rpc.call("eth_blockNumber")
        for _ in range(10):
            second.chain.mine()
        await rpc.survey()
        assert rpc.current == 0, "once may be chance"
        await rpc.survey()
        assert rpc.current == 1
        for _ in range(9):
            first.chain.mine()
        for _ in range(2):
            await rpc.survey()
        assert rpc.current == 0, "one block behind is no lag, and it is listed first"
        for step in range(6):
            (first, second)[step % 2].chain.mine()
            await rpc.survey()
            assert rpc.current == 0


async def test_comparing_heads_happens_behind_the_calls() -> None:
    clock = Clock()
    async with nodes(2, clock=clock, survey_s=10) as (rpc, (first, second)):
        await rpc.call("eth_chainId")
        second.always = Hang()
        clock.now += 11
        await rpc.call("eth_chainId")
        assert "eth_blockNumber" not in first.calls, "the call did not wait for the comparison"
        second.always = None


async def test_a_blamed_endpoint_is_kept_away_longer_each_time_and_used_if_no_other_is_left() -> None:
    clock = Clock()
    async with nodes(2, clock=clock, survey_s=1e9) as (rpc, (first, second)):
        await rpc.call("eth_blockNumber")
        rpc.blame(0, "it lied")
        assert (rpc.current, rpc.others(1), rpc.endpoints[0].trouble) == (1, (), "it lied")
        clock.now += 31
        assert rpc.others(1) == (0,)
        rpc.blame(0, "again")
        clock.now += 31
        assert rpc.others(1) == ()
        await second.stop()
        assert await rpc.call("eth_blockNumber") == "0x4"
        assert first.calls


async def test_one_endpoint_can_be_asked_for_a_second_opinion() -> None:
    async with nodes(2) as (rpc, (_, second)):
        second.chain.mine()
        assert await rpc.call_on(1, "eth_blockNumber") == "0x5"
        await second.stop()
        with pytest.raises(Unavailable, match="cannot connect"):
            await rpc.call_on(1, "eth_blockNumber")


async def test_the_others_are_asked_the_same_and_nothing_they_say_matters() -> None:
    async with nodes(4) as (rpc, (first, second, third, fourth)):
        await rpc.call("eth_blockNumber")
        sent = "eth_sendRawTransaction"
        second.next(Refusal(-32000, "already known"), method=sent)
        third.next(Status(503), method=sent)
        fourth.next(Result("0x00"), method=sent)
        rpc.tell_others(sent, "0x00")
        assert rpc.endpoints[1].latency_s is None, "nobody waits for them"
        await asyncio.gather(*rpc._told.values())
        assert [node.calls.count(sent) for node in (first, second, third, fourth)] == [0, 1, 1, 1]
        assert [endpoint.healthy for endpoint in rpc.endpoints] == [True, True, False, True]


async def test_one_answer_that_fails_at_once_does_not_cost_a_whole_pass() -> None:
    async with nodes(1) as (rpc, (node,)):
        await rpc.call_on(0, "eth_blockNumber")
        node.next(Status(503))
        assert await rpc.call_on(0, "eth_blockNumber") == "0x4"
        node.next(Status(503), Status(503))
        with pytest.raises(Unavailable):
            await rpc.call_on(0, "eth_blockNumber")


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "2"}])
async def test_who_limits_our_rate_is_not_asked_again_at_once(headers: dict[str, str]) -> None:
    async with nodes(1) as (rpc, (node,)):
        await rpc.call_on(0, "eth_blockNumber")
        before = len(node.calls)
        node.next(Status(429, headers))
        with pytest.raises(Unavailable, match="429"):
            await rpc.call_on(0, "eth_blockNumber")
        assert len(node.calls) == before + 1


async def test_doctor_hears_what_each_endpoint_says_also_the_wrong_ones() -> None:
    async with nodes(3, attempt_s=0.5) as (rpc, (first, second, third)):
        second.chain_id = 5
        third.always = Status(401)
        reports = await rpc.clients()
        assert [report.chain_id for report in reports] == [CHAIN_ID, 5, None]
        assert (reports[0].client, reports[0].head, reports[0].head_time) == ("FakeChain/1", 4, first.chain.tip.time)
        assert reports[2].trouble == "HTTP 401"


async def test_an_answer_of_any_size_does_not_fill_the_memory() -> None:
    async with nodes(1, transport=HttpTransport(max_answer_bytes=1 << 20)) as (rpc, (node,)):
        node.next(Result("x" * (2 << 20)), method="eth_call")
        with pytest.raises(Unavailable, match="larger than 1 MiB"):
            await rpc.call("eth_call", {})


async def test_cancelled_calls_leave_nothing_locked() -> None:
    """What web3's own provider fails: there, a cancelled request can hold its session lock for ever."""
    async with nodes(1) as (rpc, _):
        await rpc.call("eth_blockNumber")
        for turn in range(60):
            tasks = [asyncio.create_task(rpc.call("eth_blockNumber")) for _ in range(4)]
            for _ in range(turn % 12):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(5):
            await asyncio.gather(*(rpc.call("eth_blockNumber") for _ in range(8)))
        assert rpc.endpoints[0].healthy


SECRET = "s3cr3t"


async def test_no_message_shows_what_is_secret_in_a_url() -> None:
    async with RpcDouble() as node:
        node.chain_id = 5
        host = node.url.removeprefix("http://")
        url = f"http://user:{SECRET}@{host}/v1/{SECRET}?key={SECRET}"
        seen = []
        for behaviour in (*(make() for make in BAD.values()), Drop(), None):
            node.always = behaviour
            async with Rpc([url], chain_id=CHAIN_ID, deadline_s=2) as rpc:
                with pytest.raises((Unavailable, WrongChain, RpcRefused)) as caught:
                    await rpc.call("eth_blockNumber")
                seen += [str(caught.value), repr(caught.value.__cause__), str(rpc.endpoints), str(await rpc.clients())]
        await node.stop()
        async with Rpc([url]) as rpc:
            with pytest.raises(Unavailable) as caught:
                await rpc.call("eth_blockNumber")
            seen.append(str(caught.value))
    assert not [text for text in seen if SECRET in text]
    assert f"http://{host}/…" in seen[0]


@pytest.mark.parametrize(("url", "shown"), [
    ("https://user:pw@rpc.example:8443/key?x=1", "https://rpc.example:8443/…"), ("http://[::1]:8545", "http://[::1]:8545"),
    ("https://rpc.example/", "https://rpc.example"), ("https://rpc.example?k=1", "https://rpc.example/…"),
])
def test_a_url_is_shown_as_scheme_host_and_port(url: str, shown: str) -> None:
    assert redacted(url) == shown


@pytest.mark.parametrize("url", [f"ws://host/{SECRET}", f"{SECRET}", f"http:///{SECRET}", "http://host:port/"])
def test_an_endpoint_that_is_no_url_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ValueError, match="endpoint 2") as caught:
        Rpc(["http://127.0.0.1:1", url])
    assert SECRET not in str(caught.value)


async def test_equal_looking_endpoints_are_told_apart() -> None:
    async with Rpc(["http://h/a", "http://h/b", "http://i"]) as rpc:
        assert [rpc.name(place) for place in range(3)] == ["http://h/… (1)", "http://h/… (2)", "http://i"]


async def test_nothing_is_left_open_after_closing() -> None:
    async with nodes(2, survey_s=0) as (rpc, _):
        for _ in range(3):
            await rpc.call("eth_blockNumber")
    gc.collect()   # an unclosed session would warn, and warnings are errors
