"""An event loop whose time jumps to the next timer: nothing sleeps, and the same start gives the same run.

Owns virtual time and who started which task. Knows nothing of agents or chains. The inner loop is asyncio's own, less
what is for files, threads, signals and debugging: simulations spend most of their time in here.
"""

from __future__ import annotations

import asyncio
import heapq
from asyncio import Handle, TimerHandle
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, Final

LIVELOCK: Final = 200_000
"""So many turns of the loop at one moment: somebody spins without waiting for anything."""


class Group:
    """The tasks of one process, in the order in which they were started."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[Any]] = []

    def add(self, task: asyncio.Task[Any]) -> None:
        if len(self._tasks) > 200:
            self._tasks = self.alive
        self._tasks.append(task)

    @property
    def alive(self) -> list[asyncio.Task[Any]]:
        return [task for task in self._tasks if not task.done()]


GROUP: ContextVar[Group | None] = ContextVar("GROUP", default=None)
"""Where tasks that are started in this context are entered."""


class Stuck(Exception):
    """Nobody waits for time any more, or somebody does not let it pass."""


class Turn(TimerHandle):
    """What a handle must be here, without what is for debugging."""

    __slots__ = ()

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context | None) -> None:
        self._callback, self._args, self._cancelled = callback, args, False
        self._context = copy_context() if context is None else context

    def cancel(self) -> None:
        self._cancelled = True


class VirtualLoop(asyncio.BaseEventLoop):
    """Seconds start at 0 and pass only while every task waits."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._turns = self._timers = 0
        self._due: list[tuple[float, int, Turn]] = []

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Handle:
        turn = Turn(callback, args, context)
        self._ready.append(turn)
        return turn

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None,
                ) -> TimerHandle:
        turn = Turn(callback, args, context)
        self._timers += 1
        heapq.heappush(self._due, (when, self._timers, turn))
        return turn

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None,
                   ) -> TimerHandle:
        turn = Turn(callback, args, context)
        self._timers += 1
        heapq.heappush(self._due, (self._now + delay, self._timers, turn))
        return turn

    def create_task(self, coro: Coroutine[Any, Any, Any], *, name: object = None, context: Context | None = None,
                    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, name=None if name is None else str(name), context=context)
        group = GROUP.get()
        if group is not None:
            group.add(task)
        return task

    def _run_once(self) -> None:
        """All turns until the loop is stopped. In each: if nobody is ready, leap to the next timer; then run whoever
        was ready."""
        ready, due, pop = self._ready, self._due, heapq.heappop
        while not self._stopping:
            if not ready:
                self._leap()
            now = self._now
            while due and due[0][0] <= now:
                turn = pop(due)[2]
                if not turn._cancelled:
                    ready.append(turn)
            self._turns += 1
            if self._turns > LIVELOCK:
                raise Stuck(f"the loop turns without end at {self._now:.3f} s: {asyncio.all_tasks(self)}")
            for _ in range(len(ready)):
                turn = ready.popleft()
                if not turn._cancelled:
                    try:
                        turn._context.run(turn._callback, *turn._args)
                    except (SystemExit, KeyboardInterrupt, Stuck):
                        raise
                    except BaseException as error:  # noqa: BLE001
                        self.call_exception_handler({"message": f"in {turn._callback!r}", "exception": error})

    def _leap(self) -> None:
        due = self._due
        while due and due[0][2]._cancelled:
            heapq.heappop(due)
        if not due:
            raise Stuck(f"everybody waits for somebody else at {self._now:.3f} s")
        if due[0][0] > self._now:
            self._now = due[0][0]
            self._turns = 0

    def _process_events(self, event_list: object) -> None:
        """There are no files."""

    def _write_to_self(self) -> None:
        """There are no other threads."""
