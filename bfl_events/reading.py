"""What one endpoint holds of our contracts in a span of blocks, as complete as its own headers let us tell.

Owns the reading of a span: the logs, those of tasks that are created in it, and the second question where a header's
bloom speaks of logs that did not come. Commits nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from bfl_events.decode import RawLog
from bfl_events.schema import Address, Record
from bfl_events.view import Header, Span, View

LOGS_A_PASS: Final = 1000
Wanted = Callable[[Iterable[Record]], list[Address]]


async def read(view: View, where: Span | Header, known: Sequence[Address], wanted: Wanted) -> list[Record] | None:
    """The records of `known` contracts and of the `wanted` tasks created there; None: too many at once."""
    raws = await view.logs(where, known)
    if isinstance(where, Span) and len(raws) > 2 * LOGS_A_PASS and where.end.number > where.first:
        return None
    records = await view.decoded(raws, where, known)
    if new := wanted(records):
        raws += (of_new := await view.logs(where, new))
        records += await view.decoded(of_new, where, new)
    span = Span(where.number, where) if isinstance(where, Header) else where
    for header in span.headers:
        left_out = await _left_out(view, header, raws, [*known, *new], doubted=span.doubted)
        records += left_out
        if late := wanted(left_out):
            records += await view.decoded(await view.logs(header, late), header, late)
    records.sort(key=lambda record: (record.block, record.log_index))
    return records


async def _left_out(view: View, header: Header, raws: Sequence[RawLog], known: Sequence[Address], *, doubted: bool
                    ) -> list[Record]:
    """What the receipts hold and the logs did not, if the header gives reason to look. A node whose log index is
    behind or damaged answers with less, and without an error. Of two logs of one kind a bloom does not tell."""
    shown = [raw for raw in raws if int(raw["blockNumber"], 16) == header.number]
    if not header.hides(shown, known, view.events) and not (doubted and header.may_hold_logs_of(known)):
        return []
    found = await view.receipt_logs(header, known)
    if found is None:      # the bloom may have erred, and the fold is there
        return []
    places = {int(raw["logIndex"], 16) for raw in shown}
    records = await view.decoded(found, header, known)
    return [record for record in records if record.log_index not in places]
