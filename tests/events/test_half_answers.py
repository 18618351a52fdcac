"""Endpoints that answer with less than there is, or more, and no error: what one header, a second endpoint and the
reader's own fold can tell. Nothing of it may stay in the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from bfl_events.follower import Advance
from bfl_events.log import LogUnwritable
from bfl_events.schema import Burned, Record, Refunded, Wei
from bfl_events.source import EventSource
from bfl_events.view import Contradiction, Torn, View
from tests.events.rpc_double import FakeChain, InProcess, created, task_address
from tests.events.test_follower import Bench, agrees
from tests.events.test_source import listening, reaches

TASK = task_address(1)
Spoil = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


def burned(amount: int) -> tuple[str, Burned]:
    return TASK, Burned(Wei(amount))


def refunded(amount: int) -> tuple[str, Refunded]:
    return TASK, Refunded(task_address(1000), Wei(amount))


def spoils(endpoint: int, spoil: Spoil, block: int | None = None) -> Callable[..., Any]:
    """This endpoint's logs (of one block) are spoilt, whichever way they are asked for."""

    def meddle(asked: int, method: str, _: tuple[Any, ...], answer: Any) -> Any:
        if (asked, method) != (endpoint, "eth_getLogs"):
            return answer
        hit = [log for log in answer if block is None or int(log["blockNumber"], 16) == block]
        return [log for log in answer if log not in hit] + spoil(hit)

    return meddle


def chain_of_three() -> FakeChain:
    chain = FakeChain(2)
    chain.mine(created(1))
    chain.mine(burned(1), burned(2), refunded(3))
    return chain


NOTHING: Spoil = lambda _: []  # noqa: E731
FIRST: Spoil = lambda logs: logs[:1]  # noqa: E731
ONE_KIND: Spoil = lambda logs: logs[:2]  # noqa: E731


@pytest.mark.parametrize("spoil", [NOTHING, ONE_KIND])
@pytest.mark.parametrize("behind", [0, 1, 5])
async def test_logs_that_a_single_endpoint_leaves_out_are_taken_from_its_receipts(spoil: Spoil, behind: int) -> None:
    """Its header's bloom says that something is missing: by block hash, by range, and among a few blocks."""
    chain = FakeChain(2)
    chain.mine(created(1))
    bench = Bench(chain)
    await bench.settle()
    chain.receipts = True
    chain.mine(burned(1), burned(2), refunded(3))
    bench.node.meddle = spoils(0, spoil, chain.tip.number)
    for n in range(behind):
        chain.mine(burned(10 + n))
    await bench.settle()
    agrees(bench, chain)


async def test_a_task_whose_creation_the_logs_hide_is_read_in_full() -> None:
    chain = FakeChain(3)
    bench = Bench(chain)
    await bench.settle()
    chain.receipts = True
    chain.mine(created(1), burned(1))
    bench.node.meddle = lambda _e, method, _p, answer: (
        [log for log in answer if log["address"] == TASK.lower()] if method == "eth_getLogs" else answer)
    await bench.settle()
    agrees(bench, chain)


async def test_a_node_without_receipts_is_believed_and_costs_no_endless_question() -> None:
    chain = chain_of_three()
    bench = Bench(chain)
    bench.node.meddle = spoils(0, NOTHING, 3)
    await bench.settle()
    assert [record.block for record in bench.log.records()] == [2]


@pytest.mark.parametrize("spoil", [NOTHING, FIRST, ONE_KIND])
@pytest.mark.parametrize("live", [False, True])
async def test_what_one_endpoint_leaves_out_another_has(spoil: Spoil, live: bool) -> None:
    chain = FakeChain(2)
    chain.mine(created(1))
    bench = Bench(chain, chain)
    if live:
        await bench.settle()
    chain.mine(burned(1), burned(2), refunded(3))
    bench.node.meddle = spoils(0, spoil, 3)
    outcome = await bench.look()
    assert isinstance(outcome, Contradiction)
    assert "left out log" in str(outcome)
    bench.node.blame(0, "as the source does")
    await bench.settle()
    agrees(bench, chain)


@pytest.mark.parametrize("spoil", [NOTHING, FIRST])
async def test_a_second_endpoint_that_leaves_something_out_is_blamed_itself(spoil: Spoil) -> None:
    chain = chain_of_three()
    bench = Bench(chain, chain.copy())
    bench.node.meddle = spoils(1, spoil)
    await bench.settle()
    agrees(bench, chain)
    assert [endpoint for endpoint, _ in bench.node.blamed] == [1]


async def test_a_log_that_the_blocks_own_bloom_denies_is_not_believed() -> None:
    chain = FakeChain(2)
    chain.mine(created(1))
    bench = Bench(chain)
    await bench.settle()
    chain.mine(burned(1))
    bench.node.meddle = spoils(0, lambda logs: [
        *logs, {**logs[0], "topics": ["0x" + "77" * 32], "logIndex": "0x9"}] if logs else logs)
    assert "DecodeError" in type(await _attempt(bench)).__name__
    other = FakeChain(2)
    other.mine(created(1))
    forged = other.mine(refunded(7)).raws[0]
    bench.node.meddle = spoils(0, lambda logs: [
        *logs, {**forged, "blockHash": logs[0]["blockHash"], "logIndex": "0x9"}] if logs else logs)
    outcome = await bench.look()
    assert isinstance(outcome, Contradiction)
    assert "bloom denies" in str(outcome)


async def test_an_invented_log_that_the_other_endpoints_header_denies_is_not_committed() -> None:
    truth = FakeChain(2)
    truth.mine(created(1))
    bench = Bench(truth.copy(), truth)
    await bench.settle()
    bench.node.chains[0] = lying = truth.copy()
    true_block = truth.mine(burned(1))
    lie = lying.mine(burned(1), refunded(99))
    renamed = lie.header() | {"hash": "0x" + true_block.hash.hex()}

    def meddle(endpoint: int, method: str, params: tuple[Any, ...], answer: Any) -> Any:
        if endpoint == 0 and method == "eth_getBlockByNumber" and answer and answer["number"] == renamed["number"]:
            return renamed
        return answer

    def logs(query: dict[str, Any]) -> list[dict[str, Any]]:
        wanted = {address.lower() for address in query["address"]}
        return [{**raw, "blockHash": renamed["hash"], "transactionHash": true_block.raws[0]["transactionHash"]}
                for raw in lie.raws if raw["address"] in wanted]

    bench.node.meddle = meddle
    lying._logs = logs  # type: ignore[method-assign]
    outcome = await bench.look()
    assert isinstance(outcome, Torn)
    assert "hold different logs" in str(outcome)
    bench.node.blame(0, "as the source does when it does not come to rest")
    await bench.settle()
    agrees(bench, truth)


@pytest.mark.parametrize("trouble", ["behind", "another fork", "down", "nonsense"])
async def test_a_second_endpoint_that_cannot_testify_holds_nobody_up(trouble: str) -> None:
    chain = chain_of_three()
    other = chain.copy()
    bench = Bench(chain, other)
    match trouble:
        case "behind":
            other.cut(2)
        case "another fork":
            other.cut(1)
            other.mine(burned(77))
        case "down":
            bench.node.down = {1}
        case "nonsense":
            bench.node.meddle = lambda endpoint, _m, _p, answer: answer if endpoint == 0 else [None]
    await bench.settle()
    agrees(bench, chain)


async def test_a_second_endpoint_that_is_silent_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bfl_events.witness.PATIENCE_S", 0.05)
    chain = chain_of_three()
    bench = Bench(chain, chain)
    asked: list[str] = []
    answer = bench.node.call_on

    async def silent(endpoint: int, method: str, *params: Any) -> Any:
        if endpoint == 1:
            asked.append(method)
            await asyncio.Event().wait()
        return await answer(endpoint, method, *params)

    bench.node.call_on = silent  # type: ignore[method-assign]
    await bench.settle()
    for n in range(5):
        chain.mine(burned(n))
        await bench.settle()
    agrees(bench, chain)
    assert len(asked) == 1
    bench.time += 31
    chain.mine(burned(9))
    await bench.settle()
    assert len(asked) == 2, "after a while it gets another chance"


async def test_a_reader_that_finds_a_hole_has_the_task_read_again_from_another_endpoint() -> None:
    """With no receipts and no second witness at first, only the fold can tell."""
    truth = chain_of_three()
    node = InProcess([truth.copy(), truth], down={1})
    node.meddle = spoils(0, FIRST, 3)
    async with listening(node) as listener:
        await listener.until(reaches(3))
        assert list(listener.log.records()) != truth.records()
        node.down = set()
        listener.source.distrust(TASK, "Refunded in block 3, log 2: it cannot be")
        advance = await listener.until(lambda advance: advance.rewound_to is not None)
        assert advance.rewound_to == 0, "before the task was created; of those blocks only the first is known"
        await listener.until(reaches(3)) if advance.behind else None
        assert list(listener.log.records()) == truth.records()
        await listener.hears("endpoint 0 cannot be believed: Refunded in block 3, log 2")
        assert node.blamed[0][0] == 0


async def test_distrust_of_the_only_endpoint_is_told_again_and_again_at_growing_distances() -> None:
    truth = chain_of_three()
    node = InProcess([truth])
    async with listening(node) as listener:
        await listener.until(reaches(3))
        began = asyncio.get_running_loop().time()
        for _ in range(4):
            listener.source.distrust(TASK, "it cannot be")
            await listener.until(lambda advance: advance.rewound_to is not None)
        assert asyncio.get_running_loop().time() - began >= 0.02 * (2 + 4 + 8 + 16)
        assert listener.told.count("endpoint 0 cannot be believed: it cannot be; the task's log is read again") >= 2
        assert list(listener.log.records()) == truth.records()


async def test_a_bell_that_rings_for_nothing_does_not_make_the_source_hammer_its_endpoint() -> None:
    chain = FakeChain(3)
    node = InProcess([chain])
    async with listening(node, poll_s=0.5) as listener:
        await listener.until(reaches(2))

        async def ring_without_end(source: EventSource) -> None:
            while True:
                source.ring()
                await asyncio.sleep(0.001)

        ringing = asyncio.create_task(ring_without_end(listener.source))
        before = node.calls
        await asyncio.sleep(1.0)   # what is tested is a rate
        assert node.calls - before < 15
        chain.mine(created(1))
        await listener.until(reaches(3))
        ringing.cancel()


async def _attempt(bench: Bench) -> Advance | Exception | object:
    try:
        return await bench.look()
    except ValueError as error:
        return error


def test_records_are_compared_whole() -> None:
    """The witness compares by equality: every field of a record takes part."""
    assert {field.name for field in Record.__dataclass_fields__.values() if field.compare} == {
        "block", "block_hash", "time", "log_index", "tx", "emitter", "event"}


async def test_an_endpoint_that_stands_still_is_left_for_one_that_has_the_next_block(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bfl_events.source._STANDS_STILL_S", 0.1)
    truth = chain_of_three()
    frozen = truth.copy()
    node = InProcess([frozen, truth])
    async with listening(node) as listener:
        await listener.until(reaches(3))
        truth.mine(burned(5))
        await listener.until(reaches(4))
        await listener.hears("endpoint 0 lags: it stands still: endpoint 1 has the next block")
        assert list(listener.log.records()) == truth.records()


async def test_an_endpoint_that_is_a_moment_behind_another_is_kept() -> None:
    ahead = chain_of_three()
    behind = ahead.copy()
    node = InProcess([behind, ahead])
    async with listening(node) as listener:
        await listener.until(reaches(3))
        ahead.mine(burned(5))
        asked = node.calls
        while node.calls < asked + 8:
            await asyncio.sleep(0.001)
        behind.blocks.append(ahead.tip)
        await listener.until(reaches(4))
        assert node.blamed == []


async def test_a_log_that_is_read_again_is_read_with_every_header() -> None:
    """A long stretch of history is read in one answer, and its holes are seen only by who looks for them."""
    chain = FakeChain(2)
    chain.receipts = True
    chain.mine(created(1))
    for n in range(30):
        chain.mine(burned(n))
    bench = Bench(chain)
    bench.node.meddle = spoils(0, NOTHING, 12)
    await bench.settle()
    assert len(list(bench.log.records())) == 30
    bench.follower.forget_task(TASK)
    await bench.settle()
    agrees(bench, chain)


async def test_of_two_logs_of_one_kind_in_a_block_the_hidden_one_is_found_after_a_doubt() -> None:
    """The block's bloom is content with the one that came; whoever misses the other has the receipts asked."""
    chain = FakeChain(2)
    chain.receipts = True
    chain.mine(created(1))
    chain.mine(burned(1), burned(2))
    bench = Bench(chain)
    bench.node.meddle = spoils(0, FIRST, chain.tip.number)
    await bench.settle()
    assert len(list(bench.log.records())) == 2
    bench.follower.forget_task(TASK)
    await bench.settle()
    agrees(bench, chain)


async def test_a_full_disk_while_a_task_is_to_be_read_again_is_waited_out() -> None:
    truth = chain_of_three()
    async with listening(InProcess([truth])) as listener:
        await listener.until(reaches(3))
        rewind, listener.log.rewind = listener.log.rewind, full_disk  # type: ignore[method-assign]
        listener.source.distrust(TASK, "it cannot be")
        await listener.hears("The disk is full")
        listener.log.rewind = rewind  # type: ignore[method-assign]
        advance = await listener.until(lambda advance: advance.rewound_to is not None)
        await listener.until(reaches(3)) if advance.behind else None
        assert list(listener.log.records()) == truth.records()


def full_disk(_: int | None) -> None:
    raise LogUnwritable("The disk is full: nothing is lost.")


@pytest.mark.parametrize("logs", [["nonsense"], 7])
async def test_receipts_that_hold_no_logs_are_a_contradiction_and_no_crash(logs: object) -> None:
    chain = FakeChain(2)
    node = InProcess([chain])
    node.meddle = lambda _e, method, _p, answer: (
        [{"blockHash": "0x" + chain.tip.hash.hex(), "logs": logs}] if method == "eth_getBlockReceipts"
        else answer)
    chain.receipts = True
    view = View(node, 0)
    with pytest.raises(Contradiction):
        await view.receipt_logs(await view.latest(), [TASK])
