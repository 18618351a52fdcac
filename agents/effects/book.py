"""The account's open nonces: in memory for reading, written through to `Slots`; and which of them were seen mined.

Owns the answer to "which slot decides this key". Must not talk to a node. What was seen mined is kept in memory only:
the chain tells it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agents.effects.slots import Attempt, Ending, Landing, Slot, Slots


class Book:
    """`open`: slots not yet buried, by nonce. `landed`: where an open slot was last seen mined. `leaving`: nonces that
    nobody waits for any more, most of them because they are mined already. `top`: the highest nonce ever signed."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self.open: dict[int, Slot] = slots.open()
        self.landed: dict[int, Landing] = {}
        self.leaving: set[int] = set()
        self.top: int | None = slots.top()

    def deciding(self, key: str) -> Slot | None:
        """The slot whose fate decides this key; None when a new one must be signed."""
        slots = [self.current(slot) for slot in self._slots.of(key)]
        for slot in slots:
            if slot.landing is not None and slot.landing.ending is Ending.MINED:
                return slot
        return slots[0] if slots and slots[0].landing is None else None

    def current(self, slot: Slot) -> Slot:
        """The slot as it stands now, with where it was last seen."""
        slot = self.open.get(slot.nonce, slot)
        return replace(slot, landing=self.landed.get(slot.nonce, slot.landing))

    def unwanted(self, slot: Slot) -> bool:
        """Abandoned, or a later nonce was signed for the same key after this one had reverted."""
        return slot.abandoned or any(other.key == slot.key and nonce > slot.nonce for nonce, other in self.open.items())

    def gap(self, mined: int) -> list[int]:
        """Nonces below the highest open one that are neither mined nor ours."""
        return [nonce for nonce in range(mined, max(self.open, default=mined)) if nonce not in self.open]

    def forgotten_below(self, nonce: int) -> bool:
        """Whether what used the nonces right below is not on record: this one may belong to that time as well.

        So it is after an older backup was restored, or the outbox was lost.
        """
        while nonce > 0:
            nonce -= 1
            slot = self.open.get(nonce) or self._slots.at(nonce)
            if slot is None:
                return True
            landing = self.landed.get(nonce, slot.landing)
            if landing is not None and landing.ending is not Ending.LOST:
                return False
        return False

    def most_wei(self) -> int:
        """What everything that is signed and unmined may still cost."""
        return sum(slot.most_wei for nonce, slot in self.open.items() if nonce not in self.landed)

    # ---- each durable when it returns

    def add(self, slot: Slot) -> None:
        self._slots.add(slot)
        self.open[slot.nonce] = slot
        self.top = slot.nonce if self.top is None else max(self.top, slot.nonce)

    def add_version(self, nonce: int, attempt: Attempt) -> Slot:
        """A replacement goes last, to be sent from now on; one without bytes (found on the chain) goes first."""
        self._slots.add_attempt(nonce, attempt)
        slot = self.open[nonce]
        versions = (*slot.attempts, attempt) if attempt.raw else (attempt, *slot.attempts)
        self.open[nonce] = replace(slot, attempts=versions)
        return self.open[nonce]

    def set_abandoned(self, nonce: int, *, abandoned: bool) -> Slot:
        self._slots.set_abandoned(nonce, abandoned)
        self.open[nonce] = replace(self.open[nonce], abandoned=abandoned)
        return self.open[nonce]

    def bury(self, landings: Sequence[tuple[int, Landing]]) -> list[Slot]:
        """Close slots; returns them."""
        if not landings:
            return []
        self._slots.close_slots(landings)
        for nonce, _ in landings:
            self.landed.pop(nonce, None)
            self.leaving.discard(nonce)
        return [self.open.pop(nonce) for nonce, _ in landings]

    def reopen(self, mined: int) -> list[Slot]:
        """Closed slots at or above the mined count: the node lost more than was buried. They are to be sent again."""
        if self.top is None or mined > self.top or all(nonce in self.open for nonce in range(mined, self.top + 1)):
            return []
        slots = self._slots.reopen(mined)
        self.open.update({slot.nonce: slot for slot in slots})
        return slots
