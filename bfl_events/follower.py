"""One bounded pass over the chain: what is new since the log's cursor, read, checked and committed.

Owns the log's cursor and the list of followed tasks. Backfill, live and recovery are this one code path. Does not
wait, retry or report: that is `source`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, assert_never

from bfl_events.lineage import Ask, Doubt, Extend, Lagging, Ref, Rewind, Verdict, judge
from bfl_events.log import EventLog
from bfl_events.reading import LOGS_A_PASS
from bfl_events.rpc import RpcError, RpcRefused, Unavailable
from bfl_events.schema import Address, Record, TaskCreated
from bfl_events.view import Contradiction, Header, Reads, Span, Torn, View
from bfl_events.witness import Witness

FIRST_CHUNK: Final = 64
FEW_BLOCKS: Final = 8
"""So many new blocks have their headers read one by one; more are history, and only the last one's is."""


@dataclass(frozen=True, slots=True)
class Head:
    """The block up to which the records handed out are complete; `time` is its timestamp in seconds, `base_fee` in wei
    per gas."""

    number: int
    hash: bytes
    time: int
    base_fee: int = 0


@dataclass(frozen=True, slots=True)
class Advance:
    """One step of the stream, already in the log.

    `rewound_to`: first forget everything after that block. `behind`: blocks still to be read before this is the
    chain's present; decide only when it is 0. `clock`: what time it is on the chain now, None if that is not known.
    """

    head: Head
    records: tuple[Record, ...] = ()
    rewound_to: int | None = None
    behind: int = 0
    clock: int | None = None


class Still(Enum):
    """A pass that brought nothing to hand out."""

    MORE = auto()      # there is more to do: take the next pass at once
    NOTHING = auto()   # the chain is where it was


class Follower:
    """Follows the factory and those of its tasks that `follow` wants. `chunk`: most blocks a pass. `announced`: the
    head was handed out once, so that a pass without news brings nothing."""

    def __init__(
        self,
        rpc: Reads,
        log: EventLog,
        *,
        follow: Callable[[TaskCreated], bool],
        chunk: int,
        patience_s: float,
        now: Callable[[], float],
    ) -> None:
        identity = log.identity
        self._rpc, self._log, self._follow, self._now = rpc, log, follow, now
        self._factory, self._start = identity.factory, identity.start_block
        self._longest_chunk, self._chunk = max(chunk, 1), min(FIRST_CHUNK, max(chunk, 1))
        self._patience_s, self._witness = patience_s, Witness(rpc, now)
        self._cursor = log.cursor()
        self._tasks = self._wanted(log.creations())
        self.announced = False
        self._rewound_to: int | None = None
        self._doubt_since: float | None = None
        self._careful_to = -1

    async def look(self, view: View) -> Advance | Lagging | Still:
        """One look through one endpoint, with at most one commit. Raises what `View` raises, Torn and LogError."""
        tip, cursor = await view.latest(), self._cursor
        if cursor is None:
            return await self._begin(view, tip)
        if tip.hash == cursor.hash:
            return self._nothing_new(tip)
        if 0 < tip.number - cursor.number <= min(FEW_BLOCKS, self._chunk):
            inner = await _between(view, cursor, tip)
            if inner is not None:
                return await self._next_blocks(view, inner, tip, cursor)
        match await self._verdict(view, tip, cursor):
            case Extend():
                return await self._extend(view, tip, cursor)
            case Rewind(to):
                self._rewind(to)
                return Still.MORE
            case Lagging() as lagging:
                return lagging
            case Ask():
                raise AssertionError("_verdict answers every question")
            case verdict:
                assert_never(verdict)

    def forget_task(self, task: Address) -> None:
        """Rewind to before a task's creation, to read its log again, and this time every header with it."""
        creations = [record for record in self._log.creations() if self._creates(record, task)]
        before = creations[0].block if creations else 0
        if self._cursor is not None:
            self._careful_to = self._cursor.number
        self._rewind(max((ref.number for ref in self._log.refs() if ref.number < before), default=None))

    @staticmethod
    def _creates(record: Record, task: Address) -> bool:
        return isinstance(record.event, TaskCreated) and record.event.task == task

    async def overtaken(self, view: View) -> str | None:
        """Who has the next block, if another endpoint does: then this one stands still."""
        cursor = self._cursor
        if cursor is None:
            return None
        others = [view.through(other) for other in self._rpc.others(view.endpoint)]
        answers = await asyncio.gather(*(other.header(cursor.number + 1) for other in others), return_exceptions=True)
        for other, answer in zip(others, answers, strict=True):
            if isinstance(answer, Header) and answer.parent == cursor.hash:
                return self._rpc.name(other.endpoint)
            if isinstance(answer, BaseException) and not isinstance(answer, RpcError | Contradiction):
                raise answer
        return None

    def _nothing_new(self, tip: Header) -> Advance | Still:
        self._doubt_since = None
        if self.announced and self._rewound_to is None:
            return Still.NOTHING
        return self._hand_out(tip, (), 0)

    async def _begin(self, view: View, tip: Header) -> Advance | Lagging | Still:
        if tip.number < self._start:
            return Lagging(f"it is at block {tip.number} and has not reached block {self._start}, where the log begins")
        start = tip if tip.number == self._start else await view.header(self._start)
        if start is None:
            raise Torn(f"it has block {tip.number} but not block {self._start}")
        self._log.anchor(Ref(start.number, start.hash))
        return await self._extend(view, tip, None)

    async def _verdict(self, view: View, tip: Header, cursor: Ref) -> Verdict:
        """Whether the endpoint still holds what we have read."""
        answers: dict[int, bytes | None] = {tip.number: tip.hash}
        if cursor.number not in answers:
            answers[cursor.number] = await _hash(view, cursor.number, tip)
        if answers[cursor.number] == cursor.hash:
            self._doubt_since = None
            return Extend()
        since = self._doubt_since = self._now() if self._doubt_since is None else self._doubt_since
        doubt = Doubt(await self._opinions(view, cursor.number), self._now() - since)
        known = self._log.refs()
        while isinstance(verdict := judge(known, answers, doubt, self._patience_s), Ask):
            answers[verdict.number] = await _hash(view, verdict.number, tip)
        if isinstance(verdict, Lagging) and answers[cursor.number] is None and cursor.hash in doubt.others:
            self._rpc.blame(view.endpoint, verdict.why)
        return verdict

    async def _opinions(self, view: View, number: int) -> tuple[bytes | None, ...]:
        """What the other endpoints hold at a height; who does not answer has no opinion."""
        views = [View(self._rpc, other) for other in self._rpc.others(view.endpoint)]
        answers = await asyncio.gather(*(other.hash(number) for other in views), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, RpcError | Contradiction):
                raise answer
        return tuple(answer for answer in answers if not isinstance(answer, BaseException))

    def _rewind(self, to: int | None) -> None:
        self._log.rewind(to)
        self._cursor, self._doubt_since = self._log.cursor(), None
        self._tasks = self._wanted(self._log.creations())
        block = self._start - 1 if to is None else to
        self._rewound_to = block if self._rewound_to is None else min(block, self._rewound_to)

    async def _next_blocks(self, view: View, inner: tuple[Header, ...], tip: Header, cursor: Ref) -> Advance | Still:
        """The usual case: every header from the cursor on is known, and what its bloom says. A single block is read by
        its hash, so that nothing can move meanwhile."""
        self._doubt_since = None
        if inner:
            return await self._extend(view, tip, cursor, inner)
        try:
            records = await self._read(view, tip)
        except RpcRefused:   # it has forgotten the block, or knows no logs by block hash
            return await self._extend(view, tip, cursor)
        if not records and tip.may_hold_logs_of([self._factory, *self._tasks]):
            return await self._extend(view, tip, cursor)   # perhaps a node that lags answered
        return self._commit(records or [], tip, tip)

    async def _extend(
        self, view: View, tip: Header, cursor: Ref | None, inner: tuple[Header, ...] = ()
    ) -> Advance | Still:
        """The next blocks after the cursor, by number; believed only if both ends still stand afterwards. `inner` are
        the headers up to `tip`, if they are known."""
        first = self._start if cursor is None else cursor.number + 1
        careful = first <= self._careful_to and not inner
        chunk = min(self._chunk, FEW_BLOCKS) if careful else self._chunk
        last = tip.number if inner else min(tip.number, first + chunk - 1)
        end = tip if last == tip.number else await view.header(last)
        if end is None:
            raise Torn(f"it claims to be at block {tip.number} but does not have block {last}")
        if careful and cursor is not None:
            inner = await _between(view, cursor, end) or ()
        try:
            records = await self._read(view, Span(first, end, inner, first <= self._careful_to))
        except (Unavailable, RpcRefused):
            self._chunk = max(1, (last - first + 1) // 2)
            raise
        if records is None:
            self._chunk = max(1, (last - first + 1) // 2)
            return Still.MORE
        ends = [Ref(end.number, end.hash)] if cursor is None or inner else [Ref(end.number, end.hash), cursor]
        for known, held in zip(ends, await asyncio.gather(*(view.hash(ref.number) for ref in ends)), strict=True):
            if held != known.hash:
                raise Torn(f"block {known.number} was replaced while it was read")
        self._adapt(len(records), last - first + 1)
        return self._commit(records, end, tip)

    async def _read(self, view: View, where: Span | Header) -> list[Record] | None:
        return await self._witness.read(view, where, [self._factory, *self._tasks], self._wanted)

    def _wanted(self, records: Iterable[Record]) -> list[Address]:
        created = [record.event for record in records if isinstance(record.event, TaskCreated)]
        return [event.task for event in created if self._follow(event)]

    def _adapt(self, logs: int, blocks: int) -> None:
        """Passes of about LOGS_A_PASS logs: decoding them keeps the event loop busy."""
        if logs > LOGS_A_PASS:
            self._chunk = max(1, blocks // 2)
        elif logs < LOGS_A_PASS // 4 and blocks >= self._chunk:
            self._chunk = min(4 * self._chunk, self._longest_chunk)

    def _commit(self, records: Sequence[Record], end: Header, tip: Header) -> Advance:
        cursor = Ref(end.number, end.hash)
        self._log.append(records, cursor)
        self._cursor = cursor
        self._tasks += self._wanted(records)
        return self._hand_out(end, tuple(records), tip.number - end.number)

    def _hand_out(self, end: Header, records: tuple[Record, ...], behind: int) -> Advance:
        rewound_to, self._rewound_to, self.announced = self._rewound_to, None, True
        return Advance(Head(end.number, end.hash, end.time, end.base_fee), records, rewound_to, behind)


async def _between(view: View, cursor: Ref, tip: Header) -> tuple[Header, ...] | None:
    """The headers after the cursor and before the tip; None unless each is the parent of the next."""
    inner = await asyncio.gather(*map(view.header, range(cursor.number + 1, tip.number)))
    parent, chain = cursor.hash, []
    for header in (*inner, tip):
        if header is None or header.parent != parent:
            return None
        parent = header.hash
        chain.append(header)
    return tuple(chain[:-1])


async def _hash(view: View, number: int, tip: Header) -> bytes | None:
    return None if number > tip.number else await view.hash(number)
