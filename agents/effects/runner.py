"""Makes what runs equal to what is wanted: starts the new, cancels the unwanted, rests after failures.

Level-triggered: it holds no queue. Owns retry and cancellation; must not decide what is wanted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from agents.core.intents import Intent, Outcome
from agents.effects.ports import Clock, Rejected, Transient

FIRST_REST_S = 0.25
LONGEST_REST_S = 15.0
OBSERVE_S = 10.0            # a sent transaction may take this long to show in the log before it is looked at again

Perform = Callable[[Intent], Awaitable[Outcome | None]]
Record = Callable[[str, Outcome], None]
GiveUp = Callable[[Intent], Awaitable[None]]
Report = Callable[[Intent, str, Outcome | BaseException | None], None]


@dataclass(slots=True)
class _Rest:
    until: float
    failures: int


class Runner:
    """Runs one asyncio task per wanted intent key.

    `perform` returns the outcome of work, which is recorded before anything else happens, or None for a transaction.
    `report(intent, what, detail)` hears "started", "finished" with the outcome, "failed" with the error, "cancelled".
    `give_up(intent)` is told of what was cancelled because it is no longer wanted, not of a shutdown. `changed` is set
    when one ends.
    """

    def __init__(self, perform: Perform, record: Record, clock: Clock, report: Report, give_up: GiveUp) -> None:
        self._perform, self._record, self._clock, self._report = perform, record, clock, report
        self._give_up = give_up
        self._running: dict[str, asyncio.Task[None]] = {}
        self._unwanted: set[str] = set()
        self._resting: dict[str, _Rest] = {}
        self._draining = False
        self.changed = asyncio.Event()
        self.failure: BaseException | None = None

    def reconcile(self, wanted: Iterable[Intent]) -> None:
        """Start what is wanted and neither runs nor rests; cancel what runs and is no longer wanted."""
        by_key = {intent.key: intent for intent in wanted}
        for key in [key for key in self._running if key not in by_key and key not in self._unwanted]:
            self._unwanted.add(key)            # once: whoever is cancelled may need a moment to end well
            self._running[key].cancel()
        for key in [key for key in self._resting if key not in by_key]:
            del self._resting[key]
        if self._draining:
            return
        now = self._clock.time()
        for key, intent in by_key.items():
            rest = self._resting.get(key)
            if key not in self._running and (rest is None or now >= rest.until):
                self._running[key] = asyncio.create_task(self._run(intent), name=key)

    def busy(self) -> tuple[str, ...]:
        """Keys of what runs now."""
        return tuple(self._running)

    def drain(self) -> None:
        """From now on nothing is started; what runs goes on as long as it is wanted."""
        self._draining = True

    def next_retry(self) -> float | None:
        """When the first resting intent may run again, in the clock's seconds."""
        return min((rest.until for key, rest in self._resting.items() if key not in self._running), default=None)

    async def stop(self) -> None:
        """Cancel everything and wait until it has ended."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _run(self, intent: Intent) -> None:
        self._report(intent, "started", None)
        try:
            outcome = await self._perform(intent)
            if outcome is not None:
                self._record(intent.key, outcome)
                self._resting.pop(intent.key, None)
            else:
                self._resting[intent.key] = _Rest(self._clock.time() + OBSERVE_S, 0)
            self._report(intent, "finished", outcome)
        except asyncio.CancelledError:
            self._report(intent, "cancelled", None)
            if intent.key in self._unwanted:
                await self._let_go(intent)
            raise
        except (Transient, Rejected) as error:
            self._rest(intent.key)
            self._report(intent, "failed", error)
        except Exception as error:  # noqa: BLE001 - the one boundary: the daemon raises it again
            self.failure = error
        finally:
            self._running.pop(intent.key, None)
            self._unwanted.discard(intent.key)
            self.changed.set()

    async def _let_go(self, intent: Intent) -> None:
        """What is wrong with that is heard, as with any other effect: nobody waits for a cancelled task."""
        try:
            await self._give_up(intent)
        except (Transient, Rejected) as error:
            self._report(intent, "failed", error)
        except Exception as error:  # noqa: BLE001 - the same boundary
            self.failure = error

    def _rest(self, key: str) -> None:
        failures = self._resting[key].failures + 1 if key in self._resting else 1
        seconds = min(LONGEST_REST_S, FIRST_REST_S * 2.0 ** (failures - 1))
        self._resting[key] = _Rest(self._clock.time() + seconds, failures)
