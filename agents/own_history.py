"""The part of the event log that an agent begins with. Owns the choice only; the log does the reading."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bfl_events.log import EventLog
from bfl_events.schema import Address, Record


@dataclass(frozen=True, slots=True)
class OwnHistory:
    """Everything but the tasks that ended without this account; `task`, the one it is here for, in any case."""

    log: EventLog
    account: Address
    task: Address | None

    def records(self) -> Iterable[Record]:
        return self.log.records_concerning(self.account, self.task)
