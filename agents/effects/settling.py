"""One pass over everything signed and not yet buried: find receipts, send the same bytes again, pay more, void.

Owns what happens to a nonce after it was signed. Must not sign new nonces for intents, and must not wait: whoever waits
for a landing hears of it through `Ears`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import assert_never

from agents.effects.book import Book
from agents.effects.claims import Claims, Gone, Ours, Wait
from agents.effects.fees import outpriced
from agents.effects.genesis import Genesis
from agents.effects.node import Head, Node
from agents.effects.ports import Clock, Transient
from agents.effects.refusals import Refusal
from agents.effects.slots import VOID_GAS, Ending, Landing, Payload, Slot
from agents.effects.writer import Writer
from bfl_events.boundaries import Boundary, passing

Report = Callable[[str, Mapping[str, object]], None]

_RESEND_S = 1.0          # the same bytes go out again at most this often
_SKIPPED_BLOCKS = 3      # passed over by so many blocks though first in line: it pays too little


class InsufficientFunds(Transient):
    """Transient, not fatal: the agent keeps its place in the task while the operator tops the account up."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Blocks and seconds. `bury` must exceed what a node can lose; `foreign_s`: how long a nonce that was used by
    an unknown transaction is looked at again before the key counts as shared."""

    bury: int = 12
    stuck_s: float = 6.0
    interval_s: float = 2.0
    foreign_s: float = 180.0


@dataclass(frozen=True, slots=True)
class Ears:
    """Who hears: `report` every step, `landed` a nonce's end, `failed` what waiters should know before there is one."""

    report: Report
    landed: Callable[[int, Landing], None]
    failed: Callable[[int, Exception], None]

    def tell(self, event: str, slot: Slot, **more: object) -> None:
        self.report(event, {"key": slot.key, "nonce": slot.nonce, "tx": "0x" + slot.last.hash.hex(), **more})


class Settler:
    """The passes. The caller makes sure that only one runs at a time, and none while a nonce is being signed."""

    def __init__(self, book: Book, node: Node, writer: Writer, genesis: Genesis, clock: Clock, timing: Timing,
                 ears: Ears) -> None:
        self._book, self._node, self._writer, self._genesis = book, node, writer, genesis
        self._clock, self._timing, self._ears = clock, timing, ears
        self._claims = Claims(node, clock, writer.account, patience_s=timing.stuck_s, foreign_s=timing.foreign_s)
        self._pushed: dict[int, float] = {}
        self._gap_since: float | None = None
        self._mined = 0
        self._compared = False
        self.refused: dict[int, str] = {}                  # why no node would mine what was signed for this nonce

    async def settle(self) -> None:
        """One bounded pass. Raises RpcRefused, Transient, Fatal."""
        head = await self._node.head()
        mined = await self._node.nonce()                   # at least as new as the head
        await self._genesis.check(again=mined < self._mined)
        self._mined = mined
        self.compare(mined)
        self.reopen(mined)
        await self._fill_gap(mined, head)
        await self._look_at_used(mined, head)
        for nonce in sorted(nonce for nonce in self._book.open if nonce >= mined):
            await self._push_on(self._book.open[nonce], head, first=nonce == mined)

    async def push(self, slot: Slot) -> None:
        """Send the newest version, from the second time on to every endpoint: who took it first may have dropped it.
        What the node says about it decides nothing that a receipt must decide."""
        if await self._would_be_lost(slot):
            self._ears.tell("withheld", slot)
            return
        refusal, words = await self._node.push(slot.last.raw, widely=slot.nonce in self._pushed)
        self._pushed[slot.nonce] = self._clock.time()
        match refusal:
            case None | Refusal.KNOWN:
                self._ears.tell("sent", slot)
                if (landing := await self._node.landing((slot.last,))) is not None:
                    self._land(slot.nonce, landing)         # a chain that mines at once has it already
            case Refusal.USED | Refusal.OUTBID | Refusal.FEE:
                pass                                        # the next pass sees the receipt, or pays more
            case Refusal.FUNDS:
                balance = await self._node.balance()
                self._ears.tell("funds", slot, balance=balance, error=words)
                missing = max(1, slot.most_wei - balance)
                self._ears.failed(slot.nonce, insufficient(self._writer, balance, missing))
            case Refusal.LATER:
                self._ears.tell("refused", slot, error=words)
            case Refusal.NEVER:
                self._ears.tell("refused", slot, error=words)
                await self._give_up(slot, words)
            case _:
                assert_never(refusal)

    def compare(self, mined: int) -> None:
        """Say once if the chain counts transactions of this account that are not on record."""
        recorded = -1 if self._book.top is None else self._book.top
        if not self._compared and recorded >= 0 and mined > recorded + 1:
            self._ears.report("forgotten", {"first": recorded + 1, "count": mined - recorded - 1})
        self._compared = True

    def reopen(self, mined: int) -> None:
        """The account's count says that buried transactions are gone: they are open again."""
        for slot in self._book.reopen(mined):
            self._ears.tell("reopened", slot)

    def pushed(self, nonce: int) -> bool:
        """Given to a node by this process, or seen mined."""
        return nonce in self._pushed or nonce in self._book.landed

    def held(self, nonce: int) -> bool:
        """Used on the chain, with no receipt of ours so far."""
        return self._claims.held(nonce)

    # ---- used nonces

    async def _look_at_used(self, mined: int, head: Head) -> None:
        """Newest first. A block hash vouches for its ancestors: below one unchanged landing nothing can have changed.
        But what is about to be closed is always looked at itself."""
        unchanged, buried = False, []
        for nonce in sorted((nonce for nonce in self._book.open if nonce < mined), reverse=True):
            known = self._book.landed.get(nonce)
            if unchanged and known is not None and not self._is_deep(known, head):
                continue
            landing = await self._node.landing(self._book.open[nonce].attempts)
            unchanged = unchanged or (landing is not None and landing == known)
            landing = landing or await self._judge(nonce, head)
            if landing is None:
                continue
            self._land(nonce, landing)
            if self._is_deep(landing, head):
                buried.append((nonce, landing))
        for slot in self._book.bury(buried):
            self._pushed.pop(slot.nonce, None)
            self._ears.tell("buried", slot)

    def _is_deep(self, landing: Landing, head: Head) -> bool:
        return landing.receipt is None or head.number - landing.receipt.block >= self._timing.bury

    async def _judge(self, nonce: int, head: Head) -> Landing | None:
        self._book.landed.pop(nonce, None)
        if not self._claims.held(nonce):
            self._ears.tell("held", self._book.open[nonce])
        slot = self._book.open[nonce]
        verdict = await self._claims.judge(slot, head, forgotten=self._book.forgotten_below(nonce))
        match verdict:
            case Wait():
                return None
            case Gone():
                return Landing(Ending.LOST)
            case Ours(attempt):
                slot = self._book.add_version(nonce, attempt)
                self._ears.tell("adopted", slot)
                return await self._node.landing(slot.attempts)
            case _:
                assert_never(verdict)

    def _land(self, nonce: int, landing: Landing) -> None:
        self._claims.settled(nonce)
        self._book.leaving.discard(nonce)
        if landing.ending is Ending.MINED and self._book.open[nonce].abandoned:
            # it took effect, and that is why nobody waits any more: after a reorg the same bytes go out again
            self._book.set_abandoned(nonce, abandoned=False)
        if self._book.landed.get(nonce) != landing:
            with passing(Boundary.TX_LANDED):
                self._book.landed[nonce] = landing
            block = None if landing.receipt is None else landing.receipt.block
            self._ears.tell(landing.ending.value, self._book.open[nonce], block=block)
        self._ears.landed(nonce, landing)

    # ---- unused nonces

    async def _push_on(self, slot: Slot, head: Head, *, first: bool) -> None:
        """Not mined: void it, pay more, or send the same bytes again."""
        self._claims.settled(slot.nonce)
        if self._book.landed.pop(slot.nonce, None) is not None:
            self._ears.tell("vanished", slot)
        if slot.nonce in self._book.leaving:
            self._book.leaving.discard(slot.nonce)
            slot = self._book.set_abandoned(slot.nonce, abandoned=True)
            self._ears.tell("abandoned", slot)
        now, last = self._clock.time(), slot.last
        overdue = now - last.signed_at >= self._timing.stuck_s
        again = now - self._pushed.get(slot.nonce, now - _RESEND_S) >= _RESEND_S
        if again and not overdue and not last.void and self._book.unwanted(slot):
            overdue = not await self._node.knows(last.hash)    # what no node has any more is not sent again unwanted
        passed_over = first and head.number >= last.head + _SKIPPED_BLOCKS
        if overdue and not last.void and (self._book.unwanted(slot) or await self._would_be_lost(slot)):
            slot = await self._replace(slot, head, void=True)
        elif head.base_fee > last.fee.max_fee or (overdue and (passed_over or outpriced(last.fee, head.base_fee))):
            slot = await self._replace(slot, head, void=last.void)
        if slot.last is not last or again:
            await self.push(slot)

    async def _would_be_lost(self, slot: Slot) -> bool:
        """A call with money whose contract was reorganised away would be a plain transfer to an empty address."""
        call = slot.payload
        if slot.last.void or call.to is None or not (call.value and call.data):
            return False
        return not await self._node.code(call.to)

    async def _replace(self, slot: Slot, head: Head, *, void: bool) -> Slot:
        attempt = await self._writer.better(slot, head, void=void)
        if attempt is None:
            self._ears.tell("capped", slot)
            return slot
        slot = self._book.add_version(slot.nonce, attempt)
        self._ears.tell("replaced", slot)
        return slot

    async def _give_up(self, slot: Slot, words: str) -> None:
        """No node will mine these bytes: use the nonce up at once, so that the next ones can pass."""
        if slot.last.void:
            return
        self.refused[slot.nonce] = words
        slot = self._book.set_abandoned(slot.nonce, abandoned=True)
        voided = await self._replace(slot, await self._node.head(), void=True)
        if voided.last.void:
            await self.push(voided)

    async def _fill_gap(self, mined: int, head: Head) -> None:
        """A nonce below ours that nobody holds any more (used by a stranger, then reorganised away) blocks the rest."""
        gap, now = self._book.gap(mined), self._clock.time()
        self._gap_since = (self._gap_since or now) if gap else None
        if self._gap_since is None or now - self._gap_since < self._timing.stuck_s:
            return
        fee = await self._writer.offer(head)
        for nonce in gap:
            payload = Payload(self._writer.account, b"", 0, VOID_GAS)
            void = self._writer.void(nonce, fee, head)
            self._book.add(Slot(nonce, f"gap:{nonce}", payload, (void,), abandoned=True))
            self._ears.tell("signed", self._book.open[nonce])


def insufficient(writer: Writer, balance: int, missing: int) -> InsufficientFunds:
    """What is missing, and what to do. Amounts in wei."""
    return InsufficientFunds(
        f"account {writer.account} holds {balance / 1e18:.6g} ether on chain {writer.chain_id}, too little for its next"
        f" transaction: send it {missing / 1e18:.6g} ether or more; the transaction is tried again by itself")
