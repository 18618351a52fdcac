"""The passes over chains in memory: whatever a chain does, and whenever it does it, the log ends equal to it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from bfl_events.follower import Advance, Follower, Still
from bfl_events.lineage import Lagging
from bfl_events.log import EventLog, Identity
from bfl_events.rpc import RpcRefused
from bfl_events.schema import Burned, Record, TaskCreated, Wei
from bfl_events.view import Contradiction, Torn, View
from tests.events.rpc_double import CHAIN_ID, FACTORY, FakeChain, InProcess, created, task_address

TASK = task_address(1)


def burned(amount: int) -> tuple[str, Burned]:
    return TASK, Burned(Wei(amount))


class Bench:
    """A follower on a chain, with a clock that a test moves. `view` is what a consumer of the advances holds."""

    def __init__(self, *chains: FakeChain, start: int = 0, chunk: int = 2000,
                 follow: Callable[[TaskCreated], bool] = lambda _: True) -> None:
        self.node = InProcess(list(chains))
        self.log = EventLog(":memory:", Identity(CHAIN_ID, FACTORY, start))
        self.time, self.chunk, self.follow = 0.0, chunk, follow
        self.follower = self.anew()
        self.view: list[Record] = []

    def anew(self) -> Follower:
        """As after a restart: only the log is left."""
        return Follower(self.node, self.log, follow=self.follow, chunk=self.chunk, patience_s=30.0,
                        now=lambda: self.time)

    async def look(self) -> Advance | Lagging | Still | Exception:
        endpoint = self.node.current
        try:
            outcome = await self.follower.look(View(self.node, endpoint))
        except (Torn, Contradiction, RpcRefused) as error:
            return error
        if isinstance(outcome, Advance):
            if outcome.rewound_to is not None:
                self.view = [record for record in self.view if record.block <= outcome.rewound_to]
            self.view += outcome.records
            assert all(record.block <= outcome.head.number for record in self.view)
        return outcome

    async def settle(self, looks: int = 200) -> None:
        """Look until nothing is new and nobody lags, or the patience with it is over."""
        for _ in range(looks):
            outcome = await self.look()
            if outcome is Still.NOTHING:
                return
            if isinstance(outcome, Lagging):
                self.time += 10
        raise AssertionError(f"it does not come to rest: {outcome}")


def agrees(bench: Bench, chain: FakeChain, tasks: Sequence[str] | None = None, start: int = 0) -> None:
    wanted = chain.records(tasks, start)
    assert list(bench.log.records()) == wanted
    assert bench.view == wanted
    cursor = bench.log.cursor()
    assert cursor is not None
    assert (cursor.number, cursor.hash) == (chain.tip.number, chain.tip.hash)


async def test_it_reads_a_chain_from_its_first_block() -> None:
    chain = FakeChain(3)
    chain.mine(created(1), burned(1), burned(2))
    chain.mine()
    chain.mine(burned(3))
    bench = Bench(chain)
    await bench.settle()
    agrees(bench, chain)


async def test_the_first_look_hands_out_the_head_even_without_news() -> None:
    chain = FakeChain(5)
    bench = Bench(chain)
    await bench.settle()
    bench.follower = bench.anew()
    outcome = await bench.look()
    assert isinstance(outcome, Advance)
    assert (outcome.head.number, outcome.head.time, outcome.behind) == (4, chain.tip.time, 0)
    assert await bench.look() is Still.NOTHING


async def test_blocks_without_events_still_move_the_head() -> None:
    chain = FakeChain(2)
    bench = Bench(chain)
    await bench.settle()
    chain.mine()
    outcome = await bench.look()
    assert isinstance(outcome, Advance)
    assert (outcome.head.number, outcome.records) == (2, ())


async def test_the_usual_new_block_costs_two_calls() -> None:
    chain = FakeChain(2)
    bench = Bench(chain)
    await bench.settle()
    for content in ([created(1), burned(1)], [burned(2)], []):
        chain.mine(*content)
        before = bench.node.calls
        assert isinstance(await bench.look(), Advance)
        assert bench.node.calls - before <= (3 if len(content) == 2 else 2)
    agrees(bench, chain)


async def test_a_task_created_in_the_range_is_read_from_its_first_event() -> None:
    chain = FakeChain(1)
    chain.mine(created(1), burned(1), created(2), (task_address(2), Burned(Wei(9))))
    chain.mine(burned(2), (task_address(2), Burned(Wei(8))))
    bench = Bench(chain)
    await bench.settle()
    agrees(bench, chain)


async def test_only_the_wanted_tasks_are_read_and_all_creations() -> None:
    chain = FakeChain(1)
    chain.mine(created(1), burned(1), created(2), (task_address(2), Burned(Wei(9))))
    bench = Bench(chain, follow=lambda event: event.task == TASK)
    await bench.settle()
    chain.mine((task_address(2), Burned(Wei(8))), burned(2))
    await bench.settle()
    agrees(bench, chain, [TASK])


async def test_old_blocks_come_in_bounded_passes_that_say_how_far_they_are_behind() -> None:
    chain = FakeChain(1)
    chain.mine(created(1))
    for n in range(300):
        chain.mine(*(burned(100 * n + i) for i in range(20)))
    bench = Bench(chain)
    sizes, behind = [], []
    while True:
        outcome = await bench.look()
        if outcome is Still.NOTHING:
            break
        if isinstance(outcome, Advance):
            sizes.append(len(outcome.records))
            behind.append(outcome.behind)
    agrees(bench, chain)
    assert max(sizes) <= 2000
    assert behind == sorted(behind, reverse=True)
    assert behind[-1] == 0


async def test_a_range_that_the_node_refuses_is_read_in_smaller_pieces() -> None:
    chain = FakeChain(1)
    chain.mine(created(1))
    for n in range(100):
        chain.mine(burned(n))
    bench = Bench(chain)

    def refuse(_: int, method: str, params: tuple[Any, ...], answer: Any) -> Any:
        if method == "eth_getLogs" and "fromBlock" in params[0]:
            span = int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) + 1
            if span > 5:
                raise RpcRefused(-32005, "query returned more than 10000 results")
        return answer

    bench.node.meddle = refuse
    await bench.settle(400)
    agrees(bench, chain)


async def test_a_reorg_is_handed_out_as_one_advance() -> None:
    chain = FakeChain(2)
    chain.mine(created(1), burned(1))
    for n in range(4):
        chain.mine(burned(10 + n))
    bench = Bench(chain)
    await bench.settle()
    chain.cut(3)
    chain.mine(burned(77))
    chain.mine()
    chain.mine(burned(78))
    assert await bench.look() is Still.MORE
    outcome = await bench.look()
    assert isinstance(outcome, Advance)
    assert (outcome.rewound_to, [record.block for record in outcome.records]) == (3, [4, 6])
    await bench.settle()
    agrees(bench, chain)


@pytest.mark.parametrize("depth", [1, 3, 5])
async def test_a_pass_during_which_the_chain_moved_commits_nothing(depth: int) -> None:
    chain = FakeChain(2)
    chain.mine(created(1), burned(1))
    bench = Bench(chain)
    await bench.settle()
    cursor, held = bench.log.cursor(), list(bench.log.records())
    for n in range(4):
        chain.mine(burned(10 + n))

    def move(_: int, method: str, _params: tuple[Any, ...], answer: Any) -> Any:
        if method == "eth_getLogs":
            chain.cut(depth)
            for n in range(depth):
                chain.mine(created(1) if n == depth - 5 else burned(100 * depth + n))
        return answer

    bench.node.meddle = move
    assert isinstance(await bench.look(), Torn)
    assert (bench.log.cursor(), list(bench.log.records())) == (cursor, held)
    bench.node.meddle = lambda _e, _m, _p, answer: answer
    await bench.settle()
    agrees(bench, chain)


async def test_the_newest_block_is_read_by_its_hash_so_that_nothing_can_move() -> None:
    chain = FakeChain(2)
    chain.mine(created(1))
    bench = Bench(chain)
    await bench.settle()
    chain.mine(burned(1))

    def move(_: int, method: str, params: tuple[Any, ...], answer: Any) -> Any:
        if method == "eth_getBlockByNumber" and params[0] == "latest":
            chain.cut(1)
            chain.mine(burned(2))
        return answer

    bench.node.meddle = move
    assert isinstance(await bench.look(), Torn)
    bench.node.meddle = lambda _e, _m, _p, answer: answer
    await bench.settle()
    agrees(bench, chain)


async def test_a_task_whose_creation_was_reorganised_away_is_followed_no_more() -> None:
    chain = FakeChain(2)
    chain.mine(created(1), burned(1))
    bench = Bench(chain)
    await bench.settle()
    chain.cut(1)
    chain.mine(burned(5))
    await bench.settle()
    assert list(bench.log.records()) == []
    chain.mine(created(1), burned(6))
    await bench.settle()
    assert [type(record.event).__name__ for record in bench.log.records()] == ["TaskCreated", "Burned"]


async def test_a_chain_that_was_reset_is_read_anew() -> None:
    chain = FakeChain(2)
    chain.mine(created(1), burned(1))
    bench = Bench(chain)
    await bench.settle()
    fresh = FakeChain(0)
    fresh.salt = 99
    for content in ([], [created(1)], [burned(2)], [], []):
        fresh.mine(*content)
    bench.node.chains[0] = fresh
    assert await bench.look() is Still.MORE
    outcome = await bench.look()
    assert isinstance(outcome, Advance)
    assert outcome.rewound_to == -1
    await bench.settle()
    agrees(bench, fresh)
    assert bench.log.deployment is not None
    assert bench.log.deployment.hash == fresh.blocks[0].hash


async def test_a_missing_block_is_a_lag_for_half_a_minute_and_then_a_reorg() -> None:
    chain = FakeChain(2)
    chain.mine(created(1))
    chain.mine(burned(1))
    bench = Bench(chain)
    await bench.settle()
    chain.cut(1)
    assert isinstance(await bench.look(), Lagging)
    bench.time = 29.0
    assert isinstance(await bench.look(), Lagging)
    assert len(list(bench.log.records())) == 2
    bench.time = 30.5
    assert await bench.look() is Still.MORE
    outcome = await bench.look()
    assert isinstance(outcome, Advance)
    assert (outcome.rewound_to, outcome.records) == (2, ())
    agrees(bench, chain)


async def test_a_lag_that_ends_before_half_a_minute_changes_nothing() -> None:
    chain = FakeChain(2)
    chain.mine(created(1))
    bench = Bench(chain)
    await bench.settle()
    behind = chain.copy()
    behind.cut(1)
    bench.node.chains[0] = behind
    assert isinstance(await bench.look(), Lagging)
    bench.time = 20
    bench.node.chains[0] = chain
    assert await bench.look() is Still.NOTHING
    bench.time = 40
    bench.node.chains[0] = behind
    assert isinstance(await bench.look(), Lagging), "the patience starts anew"


async def test_an_endpoint_that_lags_is_left_for_one_that_confirms_the_cursor() -> None:
    ahead = FakeChain(2)
    ahead.mine(created(1))
    behind = ahead.copy()
    bench = Bench(behind, ahead)
    await bench.settle()
    ahead.mine(burned(1))
    bench.node.blamed.append((0, "test"))
    await bench.settle()
    bench.node.blamed.clear()
    assert isinstance(await bench.look(), Lagging)
    assert bench.node.blamed[0][0] == 0
    ahead.mine(burned(2))
    await bench.settle()
    agrees(bench, ahead)


async def test_a_second_endpoint_turns_a_missing_block_into_a_reorg_at_once() -> None:
    chain = FakeChain(2)
    chain.mine(created(1))
    chain.mine(burned(1))
    other = chain.copy()
    bench = Bench(chain, other)
    await bench.settle()
    chain.cut(1)
    other.cut(1)
    other.mine(burned(2))
    assert await bench.look() is Still.MORE
    assert bench.time == 0


async def test_a_fork_that_another_endpoint_denies_is_not_followed_at_once() -> None:
    truth = FakeChain(2)
    truth.mine(created(1))
    liar = truth.copy()
    bench = Bench(liar, truth)
    await bench.settle()
    liar.cut(1)
    liar.mine(created(2))
    liar.mine()
    assert isinstance(await bench.look(), Lagging)
    agrees(bench, truth)
    bench.time = 31
    assert await bench.look() is Still.MORE, "in the end the endpoint in use decides"


async def test_a_head_that_does_not_exist_brings_nothing_into_the_log() -> None:
    chain = FakeChain(3)
    bench = Bench(chain)
    await bench.settle()
    lie = {**chain.tip.header(), "number": hex(10**9), "hash": "0x" + "ee" * 32}
    bench.node.meddle = lambda _e, method, params, answer: (
        lie if method == "eth_getBlockByNumber" and params[0] == "latest" else answer)
    assert isinstance(await bench.look(), Torn)
    agrees(bench, chain)


async def test_an_empty_answer_where_the_bloom_says_otherwise_is_asked_again_by_range() -> None:
    """A load balancer answers from a node that does not have the block yet."""
    chain = FakeChain(2)
    chain.mine(created(1))
    bench = Bench(chain)
    await bench.settle()
    chain.mine(burned(1))
    bench.node.meddle = lambda _e, method, params, answer: (
        [] if method == "eth_getLogs" and "blockHash" in params[0] else answer)
    await bench.settle()
    agrees(bench, chain)


async def test_logs_without_times_take_them_from_their_blocks() -> None:
    chain = FakeChain(2)
    chain.mine(created(1), burned(1))
    chain.mine(burned(2))
    bench = Bench(chain)
    bench.node.meddle = lambda _e, method, _p, answer: (
        [{key: value for key, value in log.items() if key != "blockTimestamp"} for log in answer]
        if method == "eth_getLogs" else answer)
    await bench.settle()
    agrees(bench, chain)


BAD_LOGS: list[Callable[[list[dict[str, Any]]], Any]] = [
    lambda logs: [*logs, logs[0]],
    lambda logs: [{**logs[0], "address": task_address(5).lower()}],
    lambda logs: [{**logs[0], "blockNumber": "0x99"}],
    lambda _: {"not": "a list"},
    lambda _: [None],
    lambda _: None,
]


@pytest.mark.parametrize("spoil", BAD_LOGS)
async def test_logs_that_contradict_the_question_are_not_believed(
    spoil: Callable[[list[dict[str, Any]]], Any]
) -> None:
    chain = FakeChain(2)
    chain.mine(created(1), burned(1))
    bench = Bench(chain)
    bench.node.meddle = lambda _e, method, _p, answer: spoil(answer) if method == "eth_getLogs" else answer
    assert isinstance(await bench.look(), Contradiction)
    assert list(bench.log.records()) == []


@pytest.mark.parametrize("spoil", [
    {"hash": "0x12"}, {"number": 5}, {"timestamp": None}, {"parentHash": "zz"}, {"number": "0x" + "f" * 30},
])
async def test_a_header_that_is_none_is_not_believed(spoil: dict[str, Any]) -> None:
    bench = Bench(FakeChain(2))
    bench.node.meddle = lambda _e, method, _p, answer: (
        {**answer, **spoil} if method == "eth_getBlockByNumber" else answer)
    assert isinstance(await bench.look(), Contradiction)
    assert bench.log.cursor() is None


async def test_a_node_before_the_first_block_only_lags() -> None:
    chain = FakeChain(3)
    bench = Bench(chain, start=10)
    assert isinstance(await bench.look(), Lagging)
    for _ in range(12):
        chain.mine(created(len(chain.blocks)))
    await bench.settle()
    agrees(bench, chain, start=10)


class Storm:
    """What a seed does to a chain, a few acts at a time: blocks with and without events, new tasks, cuts of 1 to 6."""

    def __init__(self, seed: int) -> None:
        self.dice, self.chain, self.amount = random.Random(seed), FakeChain(2), 0
        self.chain.mine(created(1))

    def strike(self) -> None:
        for _ in range(self.dice.choice((0, 0, 1, 1, 2, 4))):
            match self.dice.choice(("mine", "mine", "mine", "mine", "empty", "create", "cut")):
                case "mine":
                    tasks = [event.task for event in self.creations()] * self.dice.randint(1, 2)
                    self.amount += 100
                    self.chain.mine(*((task, Burned(Wei(self.amount + n))) for n, task in enumerate(tasks)))
                case "empty":
                    self.chain.mine()
                case "create":
                    new = created(self.dice.randint(1, 4))
                    if new[1] not in self.creations():
                        self.chain.mine(new)
                case "cut":
                    self.chain.cut(self.dice.choice((1, 1, 1, 2, 3, 6)))

    def creations(self) -> list[TaskCreated]:
        return [record.event for record in self.chain.records() if isinstance(record.event, TaskCreated)]


@pytest.mark.parametrize("chunk", [1, 3, 2000])
async def test_whatever_happens_between_any_two_calls_the_log_ends_equal_to_the_chain(chunk: int) -> None:
    for seed in range(15):
        storm = Storm(seed)
        bench = Bench(storm.chain, chunk=chunk)
        bench.node.before = lambda _, storm=storm: storm.strike() if storm.dice.random() < 0.5 else None  # type: ignore[misc]
        for _ in range(60):
            if storm.dice.random() < 0.05:
                bench.follower = bench.anew()
                bench.view = list(bench.log.records())
            await bench.look()
            bench.time += 4.0
        bench.node.before = lambda _: None
        await bench.settle()
        agrees(bench, storm.chain)
