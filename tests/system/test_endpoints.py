"""Agents behind endpoints that disagree, lag, lie, drop, limit, cut off or hang: the task completes all the same."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from bfl_events import endpoint
from bfl_events.decode import table
from bfl_events.schema import ModelCommitted, ModelSubmitted, PhaseChanged
from tests.events.rpc_double import Behaviour, Drop, Garbage, Half, Hang, Status
from tests.system.chronicle import function_of
from tests.system.consortium import Consortium
from tests.system.proxy import Lie, Proxy
from tests.system.test_reorgs import consortium, judge

HTML = Garbage(b"<html><body>502 Bad Gateway</body></html>")
BUSY = Status(429, {"Retry-After": "1"})


class Sometimes:
    """A share of an endpoint's answers misbehave, by a seed. `served`: how often in which way."""

    def __init__(self, proxy: Proxy, share: float, *behaviours: Behaviour) -> None:
        self._dice, self._share, self._behaviours = Random(7), share, behaviours
        self.served = [0] * len(behaviours)
        proxy._behaviour = self._behaviour  # type: ignore[method-assign]

    def _behaviour(self, method: str) -> Behaviour | None:
        if self._dice.random() >= self._share:
            return None
        place = self._dice.randrange(len(self._behaviours))
        self.served[place] += 1
        return self._behaviours[place]


class Told:
    """A lie, and how many answers it changed."""

    def __init__(self, lie: Lie) -> None:
        self._lie, self.changed = lie, 0

    def __call__(self, method: str, params: list[Any], result: Any) -> Any:
        told = self._lie(method, params, result)
        self.changed += told != result
        return told


class Liars:
    """One of the endpoints lies, always the one that was asked most of late: who has found a liar out asks another."""

    def __init__(self, made: Consortium) -> None:
        self._made, self.told, self._liar = made, list[Told](), -1
        self._asked: deque[int] = deque(maxlen=20)
        for place, one in enumerate(made.endpoints):
            one.lie = partial(self._answer, place)

    def _answer(self, place: int, method: str, params: list[Any], result: Any) -> Any:
        self._asked.append(place)
        return self.told[-1](method, params, result) if place == self._liar else result

    def tell(self, lie: Lie) -> None:
        self.told.append(Told(lie))
        self._choose()

    def _choose(self) -> None:
        self._liar = max(range(len(self._made.endpoints)), key=self._asked.count)

    async def heard(self) -> None:
        """Returns once the last lie has changed an answer."""
        while not self.told[-1].changed:
            self._choose()
            await asyncio.sleep(0.02)

    def tells(self, lie: Lie) -> Callable[[], None]:
        return lambda: self.tell(lie)

    def freeze(self) -> None:
        """It answers as it would now, until the next lie."""
        frozen = Frozen()
        frozen.freeze(self._made.anvil.rpc("eth_getBlockByNumber", "latest", False))
        self.tell(frozen)


def head_moved_by(blocks: int) -> Lie:
    """It claims a head that is not its own: too high, with a hash that is on no chain; or a true block that is old."""

    def lie(method: str, params: list[Any], result: Any) -> Any:
        if method == "eth_blockNumber":
            return hex(max(int(result, 16) + blocks, 0))
        if method == "eth_getBlockByNumber" and params[0] == "latest":
            number = max(int(result["number"], 16) + blocks, 0)
            return {**result, "number": hex(number), "hash": "0x" + f"{number:064x}"[:64]}
        return result

    return lie


def hash_of_no_chain(method: str, params: list[Any], result: Any) -> Any:
    """The right height, another hash and parent."""
    if method == "eth_getBlockByNumber" and params[0] == "latest":
        return {**result, "hash": "0x" + "ab" * 32, "parentHash": "0x" + "cd" * 32}
    return result


def half_of_the_logs(method: str, _: list[Any], result: Any) -> Any:
    return result[::2] if method == "eth_getLogs" else result


def no_logs(method: str, _: list[Any], result: Any) -> Any:
    return [] if method == "eth_getLogs" else result


class Frozen:
    """A node that stopped following: it answers from a moment ago for as long as it is frozen."""

    def __init__(self) -> None:
        self.number: int | None = None

    def __call__(self, method: str, params: list[Any], result: Any) -> Any:
        if self.number is None:
            return result
        if method == "eth_blockNumber":
            return hex(self.number)
        if method == "eth_getBlockByNumber" and result and int(result["number"], 16) > self.number:
            return self.block if params[0] == "latest" else None
        if method == "eth_getLogs":
            return [log for log in result if int(log["blockNumber"], 16) <= self.number]
        return result

    def freeze(self, block: dict[str, Any]) -> None:
        self.block, self.number = block, int(block["number"], 16)


def lacking(*events: type[Any]) -> Lie:
    topics = {"0x" + topic.hex() for topic, known in table().items() if known.cls in events}

    def lie(method: str, _: list[Any], result: Any) -> Any:
        return [log for log in result if log["topics"][0] not in topics] if method == "eth_getLogs" else result

    return lie


def without_receipts(lie: Lie) -> Lie:
    def both(method: str, params: list[Any], result: Any) -> Any:
        return None if method == "eth_getBlockReceipts" else lie(method, params, result)

    return both


def honest(_method: str, _params: list[Any], result: Any) -> Any:
    return result


def another_chain(method: str, _: list[Any], result: Any) -> Any:
    return "0x5" if method == "eth_chainId" else result


class Moments:
    """What happens once a transaction of each function was passed on, in this order; each when `ready()` has returned,
    and until then the transaction's sender hears nothing."""

    def __init__(
        self, made: Consortium, *moments: tuple[str, Callable[[], None]],
        ready: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.left, self._ready, self._turn = list(moments), ready, asyncio.Lock()
        made.gate.after = self.play

    async def play(self, raw: bytes) -> None:
        if self.left and self.left[0][0] == function_of(raw):
            _, act = self.left.pop(0)
            async with self._turn:
                if self._ready is not None:
                    await self._ready()
                act()


async def test_an_endpoint_that_lies_in_every_way_beside_an_honest_one_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another lie in every phase, and each is heard: heads too high, hashes of no chain, logs left out, an old head."""
    monkeypatch.setattr(endpoint, "DISTRUST_S", 0.2)       # the task is over before a real one's time is
    async with consortium(tmp_path, endpoints=2) as made:
        liars = Liars(made)
        liars.tell(head_moved_by(10**6))
        moments = Moments(
            made, ("joinTask", liars.tells(without_receipts(half_of_the_logs))),
            ("commitModel", liars.tells(hash_of_no_chain)), ("openModel", liars.tells(head_moved_by(2))),
            ("commitScores", liars.tells(without_receipts(no_logs))), ("submitScore", liars.freeze),
            ("nextRound", liars.tells(head_moved_by(-3))), ("commitModel", liars.tells(half_of_the_logs)),
            ("attestFinal", liars.freeze), ("withdraw", lambda: None), ready=liars.heard,
        )
        made.start()
        await made.ends(150)
        assert moments.left == []
        assert all(told.changed for told in liars.told), [told.changed for told in liars.told]
        judge(made)


async def test_a_single_endpoint_that_leaves_things_out_is_told_of_and_delays_everybody_until_it_is_mended(
    tmp_path: Path
) -> None:
    """With receipts it need not be told. Without, the fold tells, or an own transaction that is mined and not shown."""
    async with consortium(tmp_path) as made:
        only, halves = made.endpoints[0], [Told(half_of_the_logs), Told(half_of_the_logs)]

        def lacks(*events: type[Any]) -> Callable[[], None]:
            return lambda: setattr(only, "lie", without_receipts(lacking(*events)))

        only.lie = halves[0]
        moments = Moments(
            made, ("commitModel", lacks(ModelCommitted)), ("openModel", lacks(ModelSubmitted, PhaseChanged)),
            ("nextRound", lambda: setattr(only, "lie", halves[1])),
        )
        made.start()
        for words in ("TRAIN ends early, but the log shows nothing of 0x", "OpenModel was mined, and the log does not"):
            await made.all_are_told(words)
            only.lie = honest
        await made.ends(90)
        assert moments.left == []
        assert all(told.changed for told in halves)
        judge(made)


async def test_endpoints_that_drop_limit_cut_off_and_hang_lose_nothing(tmp_path: Path) -> None:
    """Also the answer to a transaction that was passed on."""
    async with consortium(tmp_path, endpoints=2) as made:
        made.deadline_s = 1
        first = Sometimes(made.endpoints[0], 0.1, Drop(), BUSY, Half(), HTML, Status(503))
        second = Sometimes(made.endpoints[1], 0.1, Drop(), Half(), HTML, Hang())
        made.start()
        await made.ends(150)
        assert all(first.served + second.served), (first.served, second.served)
        judge(made)


async def test_one_honest_endpoint_that_comes_back_late_is_enough(tmp_path: Path) -> None:
    """The first dies, the second serves another chain, the third hangs, then returns; the bells are deaf and mad."""
    async with consortium(tmp_path, endpoints=3) as made:
        first, second, third = made.endpoints
        foreign = second.lie = Told(another_chain)
        third.always, first.mute = Status(503), True
        dead = asyncio.Event()

        def die() -> None:
            first.always = Drop()
            dead.set()

        moments = Moments(made, ("commitScores", die))
        ringing = asyncio.create_task(ring_madly(second))
        made.start()
        await asyncio.wait_for(dead.wait(), 60)
        await made.all_are_told("")
        refused, third.always = len(third.calls), None
        await made.ends(90)
        ringing.cancel()
        assert moments.left == []
        assert foreign.changed
        assert refused
        judge(made)


async def ring_madly(proxy: Proxy) -> None:
    """A bell that announces what is not so, a thousand times a second, and hangs up now and then."""
    while True:
        for _ in range(50):
            await proxy.ring()
            await asyncio.sleep(0.001)
        for socket in list(proxy.sockets):
            await socket.close()
