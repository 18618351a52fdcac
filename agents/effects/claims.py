"""Who used a nonce of ours, when no receipt of ours says so.

Owns the patience and the verdict. For a moment every reorg looks like this (FACTS 3.4), so nothing is concluded at
once. If it lasts, the transaction is looked for: one of ours from a forgotten time (an older backup was restored), or a
stranger's.
"""

from __future__ import annotations

from dataclasses import dataclass

from agents.effects.node import Head, Node, Usage
from agents.effects.ports import Clock, Fatal
from agents.effects.slots import Attempt, Slot
from bfl_events.schema import Address


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again at the next pass."""


@dataclass(frozen=True, slots=True)
class Ours:
    """A version signed in a forgotten time. Its bytes are unknown, its hash has the receipt."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Gone:
    """Used before we signed, or by something no longer to be found: the nonce is lost, the key is free."""


Verdict = Wait | Ours | Gone


class Claims:
    """`patience_s` before the first search and between searches, `foreign_s` before a stranger is believed."""

    def __init__(self, node: Node, clock: Clock, account: Address, *, patience_s: float, foreign_s: float) -> None:
        self._node, self._clock, self._account = node, clock, account
        self._patience_s, self._foreign_s = patience_s, foreign_s
        self._since: dict[int, float] = {}
        self._searched: dict[int, float] = {}

    def held(self, nonce: int) -> bool:
        return nonce in self._since

    def settled(self, nonce: int) -> None:
        """A receipt of ours was found after all, or the nonce is unused again."""
        self._since.pop(nonce, None)
        self._searched.pop(nonce, None)

    async def judge(self, slot: Slot, head: Head, *, forgotten: bool) -> Verdict:
        """Raises Fatal when another user of the key is certain. It is not where this slot follows a `forgotten` time:
        what was signed then may be mined at any moment."""
        now = self._clock.time()
        waited = now - self._since.setdefault(slot.nonce, now)
        if now - self._searched.get(slot.nonce, self._since[slot.nonce]) < self._patience_s:
            return Wait()
        self._searched[slot.nonce] = now
        signed_at = min(slot.attempts[0].head, head.number)
        usage = await self._node.who_used(slot.nonce, signed_at, head.number)
        if usage is not None and self._fits(slot, usage):
            last = slot.last
            return Ours(Attempt(usage.tx, b"", last.fee, self._is_void(usage), last.signed_at, last.head))
        if usage is not None and forgotten:
            return Gone()
        if waited < self._foreign_s:
            return Wait()
        if usage is None or usage.block <= signed_at or not slot.intended:
            return Gone()
        raise Fatal(f"somebody else uses account {self._account}: transaction 0x{usage.tx.hex()} in block {usage.block}"
                    f" took nonce {slot.nonce}, which this agent had signed for {slot.key}. One account belongs to one"
                    " agent: stop the other user, or give this agent an account of its own", exit_code=12)

    def _fits(self, slot: Slot, usage: Usage) -> bool:
        p = slot.payload
        same = ((usage.to or "").lower(), usage.data, usage.value) == ((p.to or "").lower(), p.data, p.value)
        return same or self._is_void(usage)

    def _is_void(self, usage: Usage) -> bool:
        return (usage.to or "").lower() == self._account.lower() and not usage.data and not usage.value
