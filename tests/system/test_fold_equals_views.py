"""The law of PROTOCOL 7.3 on a real EVM: after every call, fold(logs) equals every view of the contract.

The same calls go to the Python model of the contract, whose events and errors must be the EVM's.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from bfl_events.fold import fold
from bfl_events.rules import size
from bfl_events.verify import verify
from tests.anvil import artefact, start_anvil
from tests.simulation.chain import ChainModel, ContractError
from tests.simulation.contract import FactoryModel, allow_leaf, allow_node
from tests.simulation.play import CID, REQUESTER, STRANGER, Call, Game, Move, Wait, account, random_params
from tests.system.evm import EvmTask, Node, cast, create, start_contracts, views_of

CHAIN_ID = 31337


@pytest.fixture(scope="module")
def contracts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, str, str]]:
    with start_anvil(tmp_path_factory.mktemp("anvil"), base_fee=0, gas_price=0) as anvil:
        node, factory, implementation = start_contracts(anvil)
        yield node, factory, implementation
        node.close()


def test_every_view_of_the_contract_is_compared(contracts: tuple[Node, str, str]) -> None:
    twins = Twins.create(contracts, Random(1), 3)
    asked = {name.partition("(")[0] for name in twins.task.views(cast(), 1)} - {"balance"}
    functions = (entry for entry in artefact("FLTask")["abi"] if entry["type"] == "function")
    assert asked == {entry["name"] for entry in functions if entry["stateMutability"] in ("view", "pure")}


class Twins:
    """A game on the model and on the EVM, compared after every move."""

    def __init__(self, contracts: tuple[Node, str, str], game: Game, task: EvmTask) -> None:
        self.game, self.task = game, task
        self.outcomes: Counter[str] = Counter()

    @classmethod
    def create(cls, contracts: tuple[Node, str, str], rng: Random, workers: int, **changes: Any) -> Twins:
        """A new task on both, with random terms, some of them given."""
        node, factory, implementation = contracts
        head = node.call("eth_getBlockByNumber", "latest", False)
        chain = ChainModel(chain_id=CHAIN_ID, time=int(head["timestamp"], 16) + 10, seconds_per_block=1)
        params = replace(random_params(rng, chain.time, workers), **changes)
        reward = params.rounds + rng.randrange(10**6)
        model = FactoryModel(chain, factory, implementation).create_task(
            REQUESTER, rng.randbytes(32), params, CID, CID, b"requester key", value=reward)
        game = Game(model, rng)
        game.mix()
        return cls(contracts, game, create(node, game, factory))

    def move(self, move: Move) -> None:
        """One move on both; they must agree on events or error, and on every view."""
        chain = self.game.model.chain
        if isinstance(move, Wait):
            self.game.perform(move)
            return
        outcome = self.task.send(move, chain.time + chain.seconds_per_block)
        chain.dice = outcome.prevrandao
        expected = self.game.perform(move)
        if isinstance(expected, ContractError):
            assert outcome.error is not None, f"{move}: the EVM took what the model refused with {expected!r}"
            name, values = outcome.error
            assert (name, values) == (type(expected).__name__, tuple(expected.args)), move
            self.outcomes[name] += 1
        else:
            assert outcome.error is None, f"{move}: the EVM refused with {outcome.error} what the model took"
            assert tuple(record.event for record in outcome.records) == expected, move
            self.outcomes["ok"] += 1
        self.compare()

    def compare(self) -> None:
        state = fold(self.task.records)
        seats = min(state.count + 1, 126)
        have, want = self.task.views(cast(), seats), views_of(state, self.game.model.balance, cast(), seats)
        different = {key: (have[key], want[key]) for key in want if have[key] != want[key]}
        assert not different


def play(twins: Twins, workers: int, steps: int) -> None:
    game = twins.game
    for _ in range(workers):
        twins.move(game.join())
    if size(game.model.state.active) >= game.model.state.params.min_workers:
        twins.move(Call("start_task", REQUESTER))
    for move in game.random_moves(steps):
        twins.move(move)

SEEDS = int(os.environ.get("BFL_TEST_GAMES", "8"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_fold_of_the_logs_equals_every_view_after_every_call(contracts: tuple[Node, str, str], seed: int) -> None:
    rng = Random(seed)
    workers = rng.randint(2, 8)
    twins = Twins.create(contracts, rng, workers)
    play(twins, workers, steps=60)
    assert twins.game.model.state.phase.ended
    assert twins.game.model.balance == 0
    assert verify(twins.task.records, chain_id=CHAIN_ID, implementation=contracts[2]) == []


def test_rows_of_two_words_are_judged_alike(contracts: tuple[Node, str, str]) -> None:
    workers = 20
    twins = Twins.create(contracts, Random(7), workers, rounds=2, max_workers=24, top_k=5, min_workers=workers,
                         max_low=1, collateral=10**18)
    game = twins.game
    game.liars, game.duds = 0.2, 0.2
    for move in [*(game.join() for _ in range(workers)), Call("start_task", REQUESTER)]:
        twins.move(move)
    while not (state := game.model.state).phase.ended:
        for move in game.phase_moves():
            twins.move(move)
        if game.model.state.phase is state.phase:
            twins.move(Wait(max(0, state.deadline - game.model.chain.time) + 1))
            twins.move(Call("next_round", STRANGER))
    assert game.model.state.lanes == workers + 2


def test_an_allow_list_admits_alike(contracts: tuple[Node, str, str]) -> None:
    listed = [account(k) for k in range(1, 4)]
    leaves = sorted(allow_leaf(who) for who in listed)
    pair = allow_node(leaves[0], leaves[1])
    twins = Twins.create(contracts, Random(8), 3, allow_root=allow_node(pair, leaves[2]), collateral=5)
    proofs = {leaves[0]: (leaves[1], leaves[2]), leaves[1]: (leaves[0], leaves[2]), leaves[2]: (pair,)}
    for who in listed:
        twins.move(Call("join_task", account(9), (account(9), b"key", proofs[allow_leaf(who)]), 5))
        twins.move(Call("join_task", who, (account(9), b"key", ()), 5))
        twins.move(Call("join_task", who, (account(9), b"key", proofs[allow_leaf(who)]), 5))
    assert twins.outcomes == {"NotAllowed": 6, "ok": 3}
