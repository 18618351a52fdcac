"""A second endpoint's word on the logs of a span, before they are committed: an answer with a hole has no error.

Owns whom to ask, for how long, and whose fault a difference is. Commits nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from bfl_events.decode import DecodeError
from bfl_events.reading import Wanted, read
from bfl_events.rpc import RpcError
from bfl_events.schema import Address, Record
from bfl_events.view import Contradiction, Header, Reads, Span, Torn, View

PATIENCE_S: Final = 2.0
MUTE_S: Final = 30.0


class Witness:
    """Asks one of the other endpoints, if there is one; who takes longer than PATIENCE_S is not asked for a while."""

    def __init__(self, rpc: Reads, now: Callable[[], float]) -> None:
        self._rpc, self._now = rpc, now
        self._mute_until: dict[int, float] = {}

    async def read(self, view: View, where: Span | Header, known: Sequence[Address], wanted: Wanted
                   ) -> list[Record] | None:
        """As `reading.read` through `view`, and confirmed by another endpoint or by nobody else being there.

        Raises Contradiction if `view`'s endpoint left something out or made it up, Torn if nobody can tell which of
        the two did. Blames the other endpoint where the fault is its.
        """
        other = self._other(view)
        if other is None:
            return await read(view, where, known, wanted)
        asking = asyncio.create_task(self._testimony(other, where, known, wanted))
        try:
            own = await read(view, where, known, wanted)
            theirs = await asking
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        if own is not None and theirs is not None and own != theirs:
            await self._settle(view, own, other, theirs)
        return own

    def _other(self, view: View) -> View | None:
        now = self._now()
        fit = [it for it in self._rpc.others(view.endpoint) if self._mute_until.get(it, now) <= now]
        return view.through(fit[0]) if fit else None

    async def _testimony(self, other: View, where: Span | Header, known: Sequence[Address], wanted: Wanted
                         ) -> list[Record] | None:
        """None: it does not hold this end of the chain, does not answer, or nothing that can be used."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                found = await read(other, where, known, wanted)
                end = where if isinstance(where, Header) else where.end
                return found if await other.hash(end.number) == end.hash else None
        except TimeoutError:
            self._mute_until[other.endpoint] = self._now() + MUTE_S
        except (Contradiction, DecodeError) as error:
            self._rpc.blame(other.endpoint, str(error))
        except (RpcError, Torn):
            pass
        return None

    async def _settle(self, view: View, own: Sequence[Record], other: View, theirs: Sequence[Record]) -> None:
        name = self._rpc.name
        if (place := await _denied(view, theirs, own)) is not None:
            raise Contradiction(f"it left out {place}, which {name(other.endpoint)} has and its own header admits")
        if (place := await _denied(other, own, theirs)) is not None:
            self._rpc.blame(other.endpoint, f"it left out {place}, which {name(view.endpoint)} has")
            return
        raise Torn(f"{name(view.endpoint)} and {name(other.endpoint)} hold different logs of the same blocks")


async def _denied(party: View, theirs: Sequence[Record], own: Sequence[Record]) -> str | None:
    """A log that this party does not show although the bloom of its own header, of that very block, allows it."""
    shown = set(own)
    for record in theirs:
        if record not in shown:
            header = await party.header(record.block)
            if header is not None and header.hash == record.block_hash and header.allows(record, party.events):
                return f"log {record.log_index} of block {record.block}"
    return None
