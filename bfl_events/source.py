"""From a chain that may reorganise, behind endpoints that may fail, to an ordered stream of advances.

Owns the waiting: the doorbell and the poll behind it, retries, and which trouble is reported, waited out or raised.
Decides nothing about tasks and never sends anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from bfl_events.decode import DecodeError, EventTable
from bfl_events.doorbell import listen
from bfl_events.follower import Advance, Follower, Head, Still
from bfl_events.lineage import PATIENCE_S, Lagging
from bfl_events.log import EventLog, LogUnwritable
from bfl_events.rpc import RpcRefused, Unavailable, WrongChain
from bfl_events.schema import Address, TaskCreated
from bfl_events.view import Contradiction, Reads, Torn, View

__all__ = ["Advance", "EventSource", "Head", "Reads"]

_TRIES_BEFORE_FATAL: Final = 3
_TRIES_BEFORE_BLAME: Final = 5
_FIRST_PAUSE_S: Final = 0.02
_LONGEST_PAUSE_S: Final = 2.0
_ECHO_S: Final = 0.2
"""A ring that brought nothing: the bell's node may be ahead of the endpoint, so look again this soon."""
_LONGEST_DOUBT_S: Final = 30.0
_STANDS_STILL_S: Final = 3.0
"""A block takes this long from one provider to the next at most; after that who lacks it is left for who has it."""
_CLOCK_S: Final = 2.0
"""So long a node may take to tell its clock; a new block's time is as good if the look before is no older than this."""


class EventSource:
    """Follows the factory and those of its tasks that `follow` wants, from the log's first block on.

    `ws_urls` only ring. `poll_s`: seconds between looks without a ring. `chunk`: most blocks a pass. `patience_s`:
    how long a missing block counts as a lag. `on_trouble` hears once about each new trouble, `on_recovered` when it
    is over. `clock` gives seconds; None is the event loop's, so that a virtual loop needs nothing else.
    """

    def __init__(
        self,
        rpc: Reads,
        log: EventLog,
        *,
        factory: Address,
        start_block: int,
        follow: Callable[[TaskCreated], bool],
        ws_urls: Sequence[str] = (),
        poll_s: float = 2.0,
        chunk: int = 2000,
        patience_s: float = PATIENCE_S,
        on_trouble: Callable[[str], None] = lambda _: None,
        on_recovered: Callable[[], None] = lambda: None,
        clock: Callable[[], float] | None = None,
        events: EventTable | None = None,
    ) -> None:
        identity = log.identity
        if (identity.factory, identity.start_block) != (factory, start_block):
            raise ValueError(f"the log is of factory {identity.factory} from block {identity.start_block}")
        self._rpc, self._chain_id, self._events = rpc, identity.chain_id, events
        self._ws_urls, self._poll_s, self._clock = tuple(ws_urls), poll_s, clock
        self._on_trouble, self._on_recovered = on_trouble, on_recovered
        self._follower = Follower(rpc, log, follow=follow, chunk=chunk, patience_s=patience_s, now=self._now)
        self._bell = asyncio.Event()
        self._same_chain = False
        self._trouble: str | None = None
        self._setbacks = 0
        self._undecodable: tuple[str, int] = ("", 0)
        self._doubted: tuple[Address, str] | None = None
        self._doubts, self._doubted_at = 0, 0.0
        self._idle_rings = 0
        self._overtaken_since: float | None = None
        self._present_at: float | None = None

    def ring(self) -> None:
        """Look now: somebody knows that something happened."""
        self._bell.set()

    def distrust(self, task: Address, why: str) -> None:
        """What was handed out of this task's log cannot be all of it, or true: the endpoint left something out or made
        it up. It is read again from its first log on, from another endpoint if there is one."""
        self._doubted = (task, why)
        self.ring()

    async def advances(self) -> AsyncGenerator[Advance, None]:
        """The stream, without an end. Use it inside `contextlib.aclosing`.

        Trouble that may pass (a full disk too) is reported and waited out. Raises WrongChain, WrongContract, LogError,
        and DecodeError if no endpoint gives a log that this version of the contract can have written.
        """
        self._follower.announced = False
        bells = [asyncio.create_task(listen(url, self.ring)) for url in self._ws_urls]
        try:
            while True:
                rung = self._bell.is_set()
                self._bell.clear()
                if self._doubted is not None:
                    await self._read_again(*self._doubted)
                match await self._look():
                    case Advance() as advance:
                        self._idle_rings = 0
                        yield advance
                    case Still.MORE:
                        continue
                    case Still.NOTHING | Lagging():
                        await self._rest(rung)
                    case None:
                        pause = _FIRST_PAUSE_S * 2.0 ** min(self._setbacks, 10)
                        await asyncio.sleep(min(pause, _LONGEST_PAUSE_S))
        finally:
            for bell in bells:
                bell.cancel()
            await asyncio.gather(*bells, return_exceptions=True)

    async def _look(self) -> Advance | Lagging | Still | None:
        """One pass through the endpoint that is best now; None: it came to nothing, try again soon."""
        view, began = View(self._rpc, self._rpc.current, self._events), self._now()
        present_at, self._present_at = self._present_at, None
        try:
            await self._check_chain(view)
            outcome = await self._follower.look(view)
        except (Unavailable, LogUnwritable) as error:
            self._setbacks += 1
            self._troubled(str(error))
        except Torn as error:
            self._setback(view, error)   # the chain moves: no trouble, unless it never ends
        except RpcRefused as error:
            self._troubled(f"{self._rpc.name(view.endpoint)} refused to answer: {error}")
            self._setback(view, error)
        except (Contradiction, DecodeError) as error:
            self._raise_if_all_agree(view, error)
            self._troubled(f"{self._rpc.name(view.endpoint)} cannot be believed: {error}")
            self._setbacks += 1
            self._rpc.blame(view.endpoint, str(error))
        else:
            self._settle(view, outcome)
            still = await self._stands_still(view, outcome)
            return None if still else await self._timed(view, outcome, began, present_at)
        return None

    async def _timed(
        self, view: View, outcome: Advance | Lagging | Still, began: float, before: float | None
    ) -> Advance | Lagging | Still:
        """With the time that it is on the chain. A head that was not there at the look `before` is new, and says it;
        any other may be old, and the node tells what time a block on top of it would have."""
        if isinstance(outcome, Lagging) or outcome is Still.MORE or (isinstance(outcome, Advance) and outcome.behind):
            return outcome
        self._present_at = began
        if outcome is Still.NOTHING:
            return outcome
        head = outcome.head
        if before is not None and began - before <= self._poll_s + _CLOCK_S and outcome.rewound_to is None:
            return replace(outcome, clock=head.time)
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOCK_S):
                return replace(outcome, clock=await view.next_time(head.number, head.hash))
        return outcome

    async def _stands_still(self, view: View, outcome: Advance | Lagging | Still) -> bool:
        """Whether another endpoint has had the next block for a while. A node that stopped following its chain answers
        as if nothing happened there."""
        if outcome is not Still.NOTHING:
            self._overtaken_since = None
            return False
        try:
            async with asyncio.timeout(_STANDS_STILL_S):
                ahead = await self._follower.overtaken(view)
        except TimeoutError:
            return False
        since = self._overtaken_since = None if ahead is None else self._overtaken_since or self._now()
        if since is None or self._now() - since < _STANDS_STILL_S:
            return False
        why = f"it stands still: {ahead} has the next block"
        self._troubled(f"{self._rpc.name(view.endpoint)} lags: {why}")
        self._rpc.blame(view.endpoint, why)
        self._overtaken_since = None
        return True

    def _settle(self, view: View, outcome: Advance | Lagging | Still) -> None:
        self._setbacks = 0
        if isinstance(outcome, Lagging):
            self._troubled(f"{self._rpc.name(view.endpoint)} lags: {outcome.why}")
            return
        self._undecodable = ("", 0)
        if self._trouble is not None and outcome is not Still.MORE:
            self._trouble = None
            self._on_recovered()

    def _setback(self, view: View, error: Exception) -> None:
        self._setbacks += 1
        if self._setbacks % _TRIES_BEFORE_BLAME == 0:
            self._troubled(f"{self._rpc.name(view.endpoint)} does not come to rest: {error}")
            self._rpc.blame(view.endpoint, str(error))

    def _raise_if_all_agree(self, view: View, error: Contradiction | DecodeError) -> None:
        if isinstance(error, DecodeError):
            said, tries = self._undecodable
            self._undecodable = (str(error), tries + 1 if said == str(error) else 1)
            if self._undecodable[1] >= _TRIES_BEFORE_FATAL and not self._rpc.others(view.endpoint):
                raise error

    def _troubled(self, why: str) -> None:
        if why != self._trouble:
            self._trouble = why
            self._on_trouble(why)

    async def _check_chain(self, view: View) -> None:
        if self._same_chain:
            return
        got = await view.chain_id()
        if got != self._chain_id:
            raise WrongChain(self._rpc.name(view.endpoint), self._chain_id, got)
        self._same_chain = True

    async def _read_again(self, task: Address, why: str) -> None:
        """At growing distances: the fault may be of all endpoints, or last."""
        self._doubted = None
        now, endpoint = self._now(), self._rpc.current
        self._doubts = self._doubts + 1 if now - self._doubted_at < 2 * _LONGEST_DOUBT_S else 1
        self._doubted_at = now
        self._troubled(f"{self._rpc.name(endpoint)} cannot be believed: {why}; the task's log is read again")
        self._rpc.blame(endpoint, why)
        try:
            self._follower.forget_task(task)
        except LogUnwritable as error:
            self._doubted = self._doubted or (task, why)
            self._troubled(str(error))
        await asyncio.sleep(min(_FIRST_PAUSE_S * 2.0 ** min(self._doubts, 12), _LONGEST_DOUBT_S))

    async def _rest(self, rung: bool) -> None:
        """Until the bell rings or it is time to look without. A bell that rings for nothing is heard more rarely."""
        if not rung:
            self._idle_rings = 0
            await self._wait(self._poll_s)
            return
        self._idle_rings += 1
        deaf_s = min(_FIRST_PAUSE_S * (2.0 ** min(self._idle_rings - 1, 10) - 1), self._poll_s)
        await asyncio.sleep(deaf_s)
        await self._wait(max(min(self._poll_s, _ECHO_S) - deaf_s, 0))

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._bell.wait()
        except TimeoutError:
            pass

    def _now(self) -> float:
        return asyncio.get_running_loop().time() if self._clock is None else self._clock()
