"""Is this still the chain that the outbox signed for? Two chains may share a chain id; block 0 tells them apart.

Owns the comparison. Bytes signed for one development chain must not be sent to its successor.
"""

from __future__ import annotations

from agents.effects.node import Node
from agents.effects.ports import Fatal
from agents.effects.slots import Slots


class Genesis:
    """Remembers block 0 of the first chain it sees, in the outbox's database."""

    def __init__(self, slots: Slots, node: Node, chain_id: int) -> None:
        self._slots, self._node, self._chain_id = slots, node, chain_id
        self._checked = False

    async def check(self, *, again: bool = False) -> None:
        """Once per process, and `again` when the chain went backwards. Raises Fatal for another chain, Transient."""
        if self._checked and not again:
            return
        known, seen = self._slots.genesis(), await self._node.genesis()
        if known is None and seen is not None:
            self._slots.remember_genesis(seen)
        elif known is not None and seen is not None and seen != known:
            raise Fatal(f"chain {self._chain_id} now begins with block 0x{seen.hex()[:16]}, before it began with"
                        f" 0x{known.hex()[:16]}: it was reset, or the endpoint serves another chain. If it was reset,"
                        " start with a new home, or remove this network's folder from the home", exit_code=14)
        self._checked = True
