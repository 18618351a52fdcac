"""What an agent leaves out of a long log, and that it decides the same without it."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from agents.core import requester, worker
from agents.core.intents import Intent
from agents.core.reduce import fold
from agents.core.state import Limits, Me, Memory, Now, World
from agents.own_history import OwnHistory
from bfl_events.lineage import Ref
from bfl_events.log import EventLog, Identity
from bfl_events.schema import Phase, Record
from tests.simulation.chain import ChainModel
from tests.simulation.contract import FactoryModel
from tests.simulation.deciders import Seals
from tests.simulation.play import CID, FACTORY, IMPLEMENTATION, REQUESTER, STRANGER, Call, Game, account, default_params

SECOND_REQUESTER = account(50)
EVERYBODY = (REQUESTER, SECOND_REQUESTER, STRANGER, *map(account, range(1, 8)))


def created(factory: FactoryModel, who: str, nonce: int, joined: int) -> Game:
    params = default_params(factory.chain.time, late_join=False)
    task = factory.create_task(who, nonce.to_bytes(32, "big"), params, CID, CID, b"requester key", value=30 * 10**18)
    return Game(task, Random(nonce), joined=joined)


@pytest.fixture(scope="module")
def games() -> tuple[Game, ...]:
    """One task ended and drained with workers 1 to 3, one cancelled, one running with 3 to 5, one open to all."""
    chain = ChainModel(seconds_per_block=1)
    factory = FactoryModel(chain, FACTORY, IMPLEMENTATION)
    first = created(factory, REQUESTER, 1, 0)
    first.play_honestly(3)
    second = created(factory, SECOND_REQUESTER, 2, 5)
    second.must(second.join())
    second.must(Call("cancel_task", SECOND_REQUESTER))
    third = created(factory, SECOND_REQUESTER, 3, 2)
    for move in (third.join(), third.join(), third.join(), Call("start_task", SECOND_REQUESTER)):
        third.must(move)
    return first, second, third, created(factory, REQUESTER, 4, 0)


@pytest.fixture
def log(games: tuple[Game, ...], tmp_path: Path) -> EventLog:
    records = games[0].model.chain.records
    log = EventLog(tmp_path / "events.sqlite", Identity(31337, FACTORY, 0))
    log.anchor(Ref(0, bytes(32)))
    log.append(records, Ref(records[-1].block, records[-1].block_hash))
    return log


def decisions(world: World, who: str, now: Now) -> tuple[tuple[Intent, ...], ...]:
    me = Me(who, Seals(31337, who), Limits(max_collateral_wei=10**19, max_open_collateral_wei=10**19))
    return tuple(decide(world, Memory(), me, now) for decide in (worker.decide, requester.decide))


@pytest.mark.parametrize("who", EVERYBODY)
def test_nobody_decides_otherwise_without_the_tasks_that_ended_without_it(log: EventLog, who: str) -> None:
    whole, own = fold(World(), log.records()), fold(World(), OwnHistory(log, who, None).records())
    last, due = list(log.records())[-1], 0
    for later in (0, 50, 500):
        now = Now(float(last.time + later), last.block)
        assert decisions(own, who, now) == decisions(whole, who, now)
        due += sum(map(len, decisions(whole, who, now)))
    assert due, "somebody who wants nothing shows nothing"


def test_what_is_left_out_is_exactly_what_ended_without_this_account(log: EventLog, games: tuple[Game, ...]) -> None:
    first, second, third, fourth = (game.model.address for game in games)

    def known(who: str, task: str | None = None) -> set[str]:
        return set(fold(World(), OwnHistory(log, who, task).records()).tasks)

    assert known(account(1)) == {first, third, fourth}
    assert known(account(6)) == {second, third, fourth}, "the seat was given up or lost; its bond may still be due"
    assert known(REQUESTER) == {first, third, fourth}
    assert known(SECOND_REQUESTER) == {second, third, fourth}
    assert known(STRANGER) == {third, fourth}
    assert known(STRANGER, first) == {first, third, fourth}, "the task an agent is here for is always read"


def test_what_comes_later_of_a_task_that_was_left_out_changes_nothing(log: EventLog, games: tuple[Game, ...]) -> None:
    records = list(log.records())
    late = [record for record in records if record.emitter == games[0].model.address][-2:]
    world = fold(World(), OwnHistory(log, STRANGER, None).records())
    assert fold(world, late) == world


def test_a_reorg_that_takes_the_end_of_a_task_back_brings_the_task_back(log: EventLog, games: tuple[Game, ...]) -> None:
    ended = next(record for record in log.records() if record.emitter == games[0].model.address
                 and type(record.event).__name__ == "TaskEnded")
    log.rewind(max(record.block for record in log.records() if record.block < ended.block))
    world = fold(World(), OwnHistory(log, STRANGER, None).records())
    assert world.tasks[games[0].model.address].phase is Phase.ATTEST


def test_the_order_of_the_rest_is_the_chains(log: EventLog) -> None:
    def places(records: list[Record]) -> list[tuple[int, int]]:
        return [(record.block, record.log_index) for record in records]

    own = places(list(OwnHistory(log, STRANGER, None).records()))
    assert own == sorted(own)
    assert set(own) < set(places(list(log.records())))
