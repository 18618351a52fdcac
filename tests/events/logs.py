"""Logs of whole games on the contract's model, for tests of fold and verify."""

from __future__ import annotations

from functools import cache
from random import Random

from bfl_events.schema import Record
from tests.simulation.play import REQUESTER, Call, Game, Wait, account, random_game

SEEDS = (141, 145, 214, 170, 45, 81)
"""Random games that between them contain every event, fault and reason for leaving; a test notices if they do not."""


@cache
def random_log(seed: int) -> tuple[Record, ...]:
    return tuple(random_game(seed).model.chain.records)


@cache
def honest_log() -> tuple[Record, ...]:
    """Three workers, three rounds, nothing goes wrong, everything is paid out."""
    game = Game.create(Random(3))
    game.play_honestly(3)
    return tuple(game.model.chain.records)


@cache
def cancelled_log() -> tuple[Record, ...]:
    """Somebody gives up a seat, somebody else takes it, the requester cancels, everything returns."""
    game = Game.create(Random(4))
    for move in (game.join(), game.join(), Call("remove_worker", account(1)), game.join(), Wait(5),
                 Call("cancel_task", REQUESTER)):
        game.must(move)
    for move in game.drain():
        game.must(move)
    assert game.model.balance == 0
    return tuple(game.model.chain.records)


def all_logs() -> list[tuple[Record, ...]]:
    return [honest_log(), cancelled_log(), *map(random_log, SEEDS)]
