"""What an agent finds missing from its memory when it starts, and when that is made good.

Changes one decision only: an own commitment that the journal cannot know is marked, so that it is not taken for
somebody else's.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from agents.core.intents import Done, Outcome
from agents.core.losses import Loss, forgotten_commitments, losses, repaired, told_marks
from agents.core.state import Me, Memory, World
from agents.effects.ports import Transient
from bfl_events.schema import Address


class Recollection:
    """`tell(loss, made_good)` hears of each loss once, and once more when the open round lacks nothing."""

    def __init__(self, record: Callable[[str, Outcome], None], tell: Callable[[Loss, bool], None]) -> None:
        self._record, self._tell = record, tell
        self._looked = False
        self._open: dict[Address, Loss] = {}

    def look(self, world: World, memory: Memory, me: Me) -> None:
        """Before every decision; only the first look after a start compares the whole memory with the chain."""
        if not self._looked:
            self._looked = True
            self._compare(world, memory, me)
        for address, loss in list(self._open.items()):
            task = world.tasks.get(address)
            if task is None or repaired(task, memory, me):
                del self._open[address]
                self._tell(loss, True)

    def _compare(self, world: World, memory: Memory, me: Me) -> None:
        self._open = {loss.task: loss for loss in losses(world, memory, me)}
        for loss in self._open.values():
            self._tell(loss, False)
        with suppress(Transient):                   # the disk is full: a mark is rarely missed
            marks = [mark for loss in self._open.values() for mark in told_marks(loss)]
            for key in (*forgotten_commitments(world, memory, me), *marks):
                self._record(key, Done())
