"""JSON-RPC over several endpoints: failover, deadlines, and no answer from the wrong chain.

Owns which endpoint is asked, and for how long. Knows no block, log or transaction.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Self

from bfl_events.endpoint import (
    Contract,
    Endpoint,
    Expected,
    WrongChain,
    WrongContract,
    number,
    redacted,
    repeatable,
)
from bfl_events.transport import HttpTransport, NoAnswer, RpcError, RpcRefused, Transport

__all__ = ["ClientReport", "Contract", "EndpointHealth", "Rpc", "RpcError", "RpcRefused", "Unavailable", "WrongChain",
           "WrongContract"]


_AT_ONCE_S: Final = 1.0


class Unavailable(RpcError):
    """No endpoint answered. Transient: try again later."""


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """One endpoint as `status` shows it. Ages and latencies in seconds; `trouble` says why it is not used."""

    name: str
    healthy: bool
    current: bool
    failures: int
    head: int | None
    head_age_s: float | None
    latency_s: float | None
    trouble: str | None


@dataclass(frozen=True, slots=True)
class ClientReport:
    """What one endpoint says about itself; `trouble` if it says nothing usable. Times in seconds: `head_time` is the
    newest block's, `clock` that of a block that it would make now, None if it does not tell."""

    name: str
    client: str | None = None
    chain_id: int | None = None
    head: int | None = None
    head_time: int | None = None
    clock: int | None = None
    trouble: str | None = None


class Rpc:
    """Calls that survive their endpoints.

    `chain_id` None takes the chain of the first endpoint that answers. Times in seconds: `deadline_s` for a call as a
    whole, `attempt_s` for one endpoint while others are left, `survey_s` between comparisons of the endpoints' heads.
    `on_wrong(sentence)` hears of each endpoint that proves to serve another chain or contract.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        chain_id: int | None = None,
        contract: Contract | None = None,
        deadline_s: float = 15.0,
        attempt_s: float = 5.0,
        survey_s: float = 10.0,
        lag_blocks: int = 2,
        clock: Callable[[], float] = time.monotonic,
        transport: Transport | None = None,
        on_wrong: Callable[[str], None] = lambda _: None,
    ) -> None:
        if not urls:
            raise ValueError("at least one RPC endpoint is needed")
        self._transport = HttpTransport() if transport is None else transport
        self._expected = Expected(chain_id, contract, on_wrong=on_wrong)
        self._endpoints = [Endpoint(name, url, self._expected, self._transport, clock)
                           for name, url in zip(_names(urls), urls, strict=True)]
        self._deadline_s, self._attempt_s, self._survey_s = deadline_s, attempt_s, survey_s
        self._lag_blocks, self._clock = lag_blocks, clock
        self._preferred = 0
        self._vote: int | None = None
        self._surveyed_at = clock()
        self._survey: asyncio.Task[None] | None = None
        self._told: dict[int, asyncio.Task[None]] = {}
        self.failovers = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End what runs in the background and close all connections."""
        behind = [*self._told.values(), *([] if self._survey is None else [self._survey])]
        for task in behind:
            task.cancel()
        await asyncio.gather(*behind, return_exceptions=True)
        await self._transport.close()

    @property
    def chain_id(self) -> int | None:
        """The chain that all answers come from; None until the first answer if it was not given."""
        return self._expected.chain_id

    @property
    def current(self) -> int:
        """The place in the list of the endpoint that the next call goes to first."""
        return self._order()[0]

    @property
    def endpoints(self) -> tuple[EndpointHealth, ...]:
        """The health of all endpoints, in the order they were given."""
        now, current = self._clock(), self.current
        return tuple(
            EndpointHealth(
                name=it.name,
                healthy=it.verified and it.usable,
                current=index == current,
                failures=it.failures,
                head=it.head,
                head_age_s=None if it.head is None else now - it.head_at,
                latency_s=it.latency_s,
                trouble=it.trouble,
            )
            for index, it in enumerate(self._endpoints)
        )

    def name(self, endpoint: int) -> str:
        """How people know an endpoint: its URL without user, path and query."""
        return self._endpoints[endpoint].name

    def others(self, endpoint: int) -> tuple[int, ...]:
        """The other endpoints that may be asked for a second opinion now."""
        return tuple(i for i, it in enumerate(self._endpoints) if i != endpoint and it.usable)

    async def call(self, method: str, *params: Any) -> Any:
        """The result from the first endpoint that answers.

        Raises RpcRefused if it answers with an error, Unavailable if none answers within the deadline, WrongChain or
        WrongContract if all are wrong. What must not be done twice is asked of one endpoint only.
        """
        end = self._clock() + self._deadline_s
        order = self._order() if repeatable(method) else self._order()[:1]
        tried = []
        for index in order:
            left = end - self._clock()
            if left <= 0:
                break
            patience = left if index == order[-1] else min(left, self._attempt_s)
            try:
                return await self._ask(index, method, params, patience)
            except (NoAnswer, WrongChain, WrongContract) as error:
                tried.append(f"{self._endpoints[index].name}: {error}")
        raise self._nobody(method, tried)

    async def call_on(self, endpoint: int, method: str, *params: Any) -> Any:
        """The result from that endpoint alone, asked twice if it fails at once and does not ask for a pause: one pass
        of the source takes several answers. Raises as `call` does."""
        began = self._clock()
        try:
            return await self._ask(endpoint, method, params, self._deadline_s)
        except (NoAnswer, WrongChain, WrongContract) as error:
            tried = error
        left = self._deadline_s - (self._clock() - began)
        if isinstance(tried, NoAnswer) and not tried.retry_after_s and self._deadline_s - left < _AT_ONCE_S:
            try:
                return await self._ask(endpoint, method, params, left)
            except (NoAnswer, WrongChain, WrongContract) as error:
                tried = error
        raise self._nobody(method, [f"{self._endpoints[endpoint].name}: {tried}"])

    def tell_others(self, method: str, *params: Any) -> None:
        """Ask every usable endpoint but the current one the same, where nothing may depend on one of them. Nobody waits
        for their answers; one that still owes its last is left out."""
        for index in self.others(self.current):
            if index not in self._told:
                self._told[index] = asyncio.create_task(self._tell(index, method, params))

    def blame(self, endpoint: int, why: str) -> None:
        """Set an endpoint aside that answered, but not truly: it lags, or contradicts itself or the contract."""
        self._endpoints[endpoint].blame(why)
        self._fail_over(endpoint)

    async def check(self) -> None:
        """Ask every endpoint now. Raises WrongChain or WrongContract for the first that is wrong, and Unavailable if
        none answers; an endpoint that is down beside one that answers is no error."""
        troubles = await asyncio.gather(*(self._probe(it) for it in self._endpoints))
        for it in self._endpoints:
            if it.wrong is not None:
                raise it.wrong
        if all(trouble is not None for trouble in troubles):
            raise Unavailable(f"no RPC endpoint answers: {'; '.join(map(str, troubles))}")

    async def clients(self) -> tuple[ClientReport, ...]:
        """What each endpoint says about itself. Never raises; made for `doctor`, so wrong endpoints answer too."""
        return tuple(await asyncio.gather(*(_report(it, self._attempt_s) for it in self._endpoints)))

    def _order(self) -> list[int]:
        """All endpoints: the preferred one, the other usable ones as listed, then the rest, soonest retry first."""
        every = sorted(range(len(self._endpoints)), key=lambda i: i != self._preferred)
        rest = [i for i in every if not self._endpoints[i].usable]
        return [i for i in every if i not in rest] + sorted(rest, key=lambda i: self._endpoints[i].wait_until)

    async def _ask(self, index: int, method: str, params: Sequence[Any], timeout_s: float) -> Any:
        try:
            result = await self._endpoints[index].ask(method, params, timeout_s)
        except (NoAnswer, WrongChain, WrongContract):
            self._fail_over(index)
            raise
        self._survey_if_due()
        return result

    async def _tell(self, index: int, method: str, params: Sequence[Any]) -> None:
        try:
            with suppress(RpcError):
                await self._ask(index, method, params, self._attempt_s)
        finally:
            del self._told[index]

    def _fail_over(self, index: int) -> None:
        """Prefer another endpoint from now on, not only until the back-off of this one ends."""
        if index == self._preferred and (others := self.others(index)):
            self._preferred, self._vote = others[0], None
            self.failovers += 1

    def _nobody(self, method: str, tried: Sequence[str]) -> RpcError:
        wrong = [it.wrong for it in self._endpoints if it.wrong is not None]
        if len(wrong) == len(self._endpoints):
            return wrong[0]
        return Unavailable(f"no RPC endpoint answered {method}: {'; '.join(tried) or 'the deadline has passed'}")

    def _survey_if_due(self) -> None:
        now = self._clock()
        running = self._survey is not None and not self._survey.done()
        if len(self._endpoints) > 1 and not running and now - self._surveyed_at >= self._survey_s:
            self._surveyed_at = now
            self._survey = asyncio.create_task(self.survey())

    async def survey(self) -> None:
        """Compare heads, and prefer the first listed endpoint that does not lag, but only when two comparisons in a
        row say so: endpoints of equal merit do not take turns."""
        now = self._clock()
        asked = [it for it in self._endpoints if it.wait_until <= now]
        await asyncio.gather(*map(self._probe, asked))
        fit = [i for i, it in enumerate(self._endpoints) if it in asked and it.usable]
        heads = {i: head for i in fit if (head := self._endpoints[i].head) is not None}
        if not heads:
            return
        freshest = max(heads.values())
        best = next(i for i, head in heads.items() if head >= freshest - self._lag_blocks)
        if best == self._preferred:
            self._vote = None
        elif best != self._vote:
            self._vote = best
        else:
            self._preferred, self._vote = best, None

    async def _probe(self, it: Endpoint) -> str | None:
        """Refresh an endpoint's head; what is wrong with it, or None."""
        try:
            await it.ask_head(self._attempt_s)
        except RpcError as error:
            return f"{it.name}: {error}"
        return None


async def _report(it: Endpoint, timeout_s: float) -> ClientReport:
    try:
        client = await it.ask_unverified("web3_clientVersion", (), timeout_s)
        chain_id = number(await it.ask_unverified("eth_chainId", (), timeout_s))
        block = await it.ask_unverified("eth_getBlockByNumber", ("latest", False), timeout_s)
        if not isinstance(block, dict):
            raise NoAnswer("it has no latest block")
        head, head_time = number(block.get("number")), number(block.get("timestamp"))
    except RpcError as error:
        return ClientReport(it.name, trouble=str(error))
    return ClientReport(it.name, str(client)[:200], chain_id, head, head_time, await _next_time(it, timeout_s))


async def _next_time(it: Endpoint, timeout_s: float) -> int | None:
    try:
        block = await it.ask_unverified("eth_getBlockByNumber", ("pending", False), timeout_s)
        return number(block.get("timestamp")) if isinstance(block, dict) else None
    except RpcError:
        return None


def _names(urls: Sequence[str]) -> list[str]:
    """Redacted, and told apart by their place in the list where that makes them equal."""
    names = []
    for place, url in enumerate(urls, 1):
        try:
            names.append(redacted(url))
        except ValueError as error:
            raise ValueError(f"RPC endpoint {place} is wrong: {error}") from None
    return [name if names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names, 1)]
