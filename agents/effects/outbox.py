"""Transactions, exactly once per key: sign once, persist, then send the same bytes until they are buried (FACTS 3.4).

Owns the account's nonces and who waits for which. Must not know contracts. It takes no second nonce for a signed
intent unless the first is used up: reverted, voided by a self-transfer, or taken by others. Only receipts decide what
is mined. One process per account and chain: the lock file is the daemon's business.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from agents.effects.book import Book
from agents.effects.fees import FeePolicy
from agents.effects.genesis import Genesis
from agents.effects.node import Node, RpcCaller
from agents.effects.ports import Clock, Fatal, Receipt, Rejected, Transient
from agents.effects.settling import Ears, InsufficientFunds, Report, Settler, Timing, insufficient
from agents.effects.signer import Signer
from agents.effects.slots import Ending, Landing, Payload, Slot, Slots
from agents.effects.writer import Writer
from bfl_events.rpc import RpcRefused
from bfl_events.schema import Address

__all__ = ["InsufficientFunds", "Outbox", "Pending", "Prepare", "Report", "Reverted", "Timing"]

Prepare = Callable[[], Awaitable[Payload]]

_UNREACHED = (RpcRefused, Transient)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 4.0
_QUIET = 5      # what is mined and not buried only has a reorg to fear, and new heads ring anyway


class Reverted(Exception):
    """Mined with status 0: the nonce is used up and the key is free again."""

    def __init__(self, receipt: Receipt) -> None:
        super().__init__(f"transaction 0x{receipt.tx.hex()} reverted in block {receipt.block}")
        self.receipt = receipt


@dataclass(frozen=True, slots=True)
class Pending:
    """One line of `status`. `state`: waiting | giving up | held | mined | reverted | void. `max_fee` in wei per gas."""

    key: str
    nonce: int
    state: str
    tx: bytes
    attempts: int
    age_s: float
    max_fee: int


def _silent(event: str, fields: Mapping[str, object]) -> None:
    del event, fields


class Outbox:
    """`async with outbox:` runs the settling loop; or drive it by `run()`, or by `settle()` (simulation).

    `report(event, fields)` is called right after every durable or visible step: signed, sent, mined, reverted, void,
    lost, buried, replaced, vanished, abandoned, withheld, reopened, held, adopted, forgotten, refused, funds, capped,
    unavailable.
    """

    def __init__(self, rpc: RpcCaller, signer: Signer, path: Path | str, *, chain_id: int, clock: Clock,
                 fees: FeePolicy | None = None, timing: Timing | None = None, report: Report = _silent) -> None:
        self._slots = Slots(path, chain_id=chain_id, account=signer.address)
        self._book = Book(self._slots)
        self._node = Node(rpc, signer.address)
        self._writer = Writer(self._node, signer, clock, fees or FeePolicy(), chain_id)
        self._ears = Ears(report, self._resolve, self._answer)
        self._timing, self._clock = timing or Timing(), clock
        self._genesis = Genesis(self._slots, self._node, chain_id)
        self._settler = Settler(self._book, self._node, self._writer, self._genesis, clock, self._timing, self._ears)
        self._waiters: dict[int, asyncio.Future[Landing]] = {}
        self._preparing: Counter[str] = Counter()
        self._dropped: set[str] = set()
        self._idle = False
        self._failure: Fatal | None = None
        self._lock, self._bell = asyncio.Lock(), asyncio.Event()
        self._runner: asyncio.Task[None] | None = None

    # ---- for callers

    @property
    def account(self) -> Address:
        return self._writer.account

    @property
    def used(self) -> bool:
        """Whether it has ever signed anything."""
        return self._book.top is not None

    @property
    def failure(self) -> Fatal | None:
        """Why the settling loop ended; a person must mend it, and the process should end with it."""
        return self._failure

    async def send(self, key: str, prepare: Prepare) -> Receipt:
        """Mined once for this key, whoever asks and how often. `prepare` is called only if something must be signed.

        Raises Reverted, Rejected (abandoned, refused by the node for good, or its nonce was lost), Transient (nothing
        was signed, or the account ran dry), Fatal. A cancelled caller leaves a signed transaction to its fate.
        """
        if self._failure is not None:
            raise self._failure
        slot = self._book.deciding(key)
        if slot is None:
            slot = await self._sign_first(key, prepare)
        elif slot.nonce not in self._book.open:
            await self._reopen_if_forgotten(slot)
        elif slot.landing is not None and await self._node.landing(slot.attempts) is None:
            self._book.landed.pop(slot.nonce, None)            # a reorg took it back: wait until it lands again
        elif slot.abandoned and slot.landing is None and not slot.last.void:
            self._book.set_abandoned(slot.nonce, abandoned=False)
        self._book.leaving.discard(slot.nonce)
        landing = await self._landing_of(slot)
        match landing.ending, landing.receipt:
            case Ending.MINED, Receipt() as receipt:
                return receipt
            case Ending.REVERTED, Receipt() as receipt:
                raise Reverted(receipt)
            case Ending.VOID, _ if slot.nonce in self._settler.refused:
                raise Rejected("TransactionRefused", (self._settler.refused[slot.nonce],))
            case Ending.VOID, _:
                raise Rejected("Abandoned", (key,))
            case _:
                raise Rejected("NonceLost", (key, slot.nonce))

    def afloat(self, key: str) -> bool:
        """Whether what was signed for this key was also given to a node, by this process, or is mined."""
        slots = [slot for slot in self._book.open.values() if slot.key == key]
        return bool(slots) and all(self._settler.pushed(slot.nonce) for slot in slots)

    async def abandon(self, key: str) -> None:
        """Unsigned: dropped. Signed and still unmined when it counts as stuck, or when the node has lost it: its nonce
        goes to a self-transfer.

        The next pass writes down what it finds unmined.
        """
        if self._preparing[key]:
            self._dropped.add(key)
        for nonce, slot in self._book.open.items():
            if slot.key == key and nonce not in self._book.landed and not slot.abandoned:
                self._book.leaving.add(nonce)
                self.wake()

    def wake(self) -> None:
        """A new head, or anything else that may have changed the chain."""
        self._bell.set()

    def pending(self) -> list[Pending]:
        """Everything not yet buried, by nonce."""
        now = self._clock.time()
        return [Pending(slot.key, nonce, self._state(slot), slot.last.hash, len(slot.attempts),
                        max(0.0, now - slot.attempts[0].signed_at), slot.last.fee.max_fee)
                for nonce, slot in sorted(self._book.open.items())]

    async def settle(self) -> None:
        """One bounded pass over everything not yet buried. Raises RpcRefused, Transient, Fatal."""
        async with self._lock:
            if self._book.open:
                await self._settler.settle()

    async def run(self) -> None:
        """Settle on every `wake()` and every few seconds while something is open. Ends by Fatal or cancellation."""
        pause = _FIRST_PAUSE_S
        while True:
            self._bell.clear()
            try:
                await self.settle()
                pause, nap = _FIRST_PAUSE_S, self._timing.interval_s
                if len(self._book.landed) == len(self._book.open):
                    nap *= _QUIET
            except _UNREACHED as error:
                self._ears.report("unavailable", {"error": str(error), "again_in_s": pause})
                pause, nap = min(2 * pause, _LONGEST_PAUSE_S), pause
                self._bell.clear()                      # do not hammer a node that is down
            except Fatal as error:
                self._failure = error
                for nonce in list(self._waiters):
                    self._answer(nonce, error)
                raise
            await self._doze(nap if self._book.open else None)

    async def close(self) -> None:
        """Stop the loop of `async with`, tell the waiters, close the database."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        for nonce in list(self._waiters):
            self._answer(nonce, Transient("the outbox was closed; what is signed is sent again at the next start"))
        self._slots.close()

    async def __aenter__(self) -> Self:
        self._runner = asyncio.create_task(self.run(), name="outbox")
        self._runner.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        traceback: TracebackType | None) -> None:
        await self.close()

    # ---- the first version

    async def _sign_first(self, key: str, prepare: Prepare) -> Slot:
        self._preparing[key] += 1
        try:
            payload = await prepare()
            async with self._lock:
                if (slot := self._book.deciding(key)) is not None:
                    return slot
                slot = await self._sign_slot(key, payload)
                await self._push_quietly(slot)
        except RpcRefused as error:
            raise Transient(f"the node refused a request: {error}") from error
        finally:
            self._preparing[key] -= 1
            if not self._preparing[key]:
                del self._preparing[key]
                self._dropped.discard(key)
        return slot

    async def _sign_slot(self, key: str, payload: Payload) -> Slot:
        await self._genesis.check()
        head, mined, balance = await asyncio.gather(self._node.head(), self._node.nonce(), self._node.balance())
        fee = await self._writer.offer(head)
        missing = payload.value + payload.gas * fee.max_fee + self._book.most_wei() - balance
        if missing > 0:
            self._ears.report("funds", {"key": key, "balance": balance, "missing": missing})
            raise insufficient(self._writer, balance, missing)
        if key in self._dropped:
            raise Rejected("Abandoned", (key,))
        self._settler.compare(mined)
        nonce = mined if self._book.top is None else max(mined, self._book.top + 1)
        slot = Slot(nonce, key, payload, (self._writer.call(nonce, payload, fee, head),))
        self._book.add(slot)                            # durable before the first byte leaves
        self._ears.tell("signed", slot)
        return slot

    async def _push_quietly(self, slot: Slot) -> None:
        """The signed bytes are safe: whatever goes wrong from here on is the next pass's business."""
        try:
            await self._settler.push(slot)
        except _UNREACHED as error:
            self._ears.report("unavailable", {"error": str(error), "key": slot.key})
        if self._idle or slot.nonce not in self._book.landed:
            self.wake()

    async def _reopen_if_forgotten(self, slot: Slot) -> None:
        """Somebody asks for what was buried: perhaps the chain has lost it. Without an answer the record stands."""
        try:
            mined = await self._node.nonce()
        except _UNREACHED:
            return
        if mined <= slot.nonce:
            self._settler.reopen(mined)

    # ---- who waits

    async def _landing_of(self, slot: Slot) -> Landing:
        slot = self._book.current(slot)
        if slot.landing is not None:
            return slot.landing
        future = self._waiters.get(slot.nonce)
        if future is None:
            future = self._waiters[slot.nonce] = asyncio.get_running_loop().create_future()
        self.wake()
        return await asyncio.shield(future)

    def _resolve(self, nonce: int, landing: Landing) -> None:
        future = self._waiters.pop(nonce, None)
        if future is not None and not future.done():
            future.set_result(landing)

    def _answer(self, nonce: int, error: Exception) -> None:
        future = self._waiters.pop(nonce, None)
        if future is not None and not future.done():
            future.set_exception(error)
            future.exception()                          # every waiter may have been cancelled

    def _state(self, slot: Slot) -> str:
        landing = self._book.landed.get(slot.nonce)
        if landing is not None:
            return landing.ending.value
        if self._settler.held(slot.nonce):
            return "held"
        return "giving up" if slot.abandoned or slot.last.void else "waiting"

    async def _doze(self, seconds: float | None) -> None:
        """Until the bell rings or, if given, so many seconds of the caller's clock have passed."""
        self._idle = seconds is None
        timer = None if seconds is None else self._clock.call_later(seconds, self._bell.set)
        try:
            await self._bell.wait()
        finally:
            self._idle = False
            if timer is not None:
                timer.cancel()
