"""Opens what a home holds, as it is: what is damaged is moved aside, what is missing is noticed, both are said.

Owns the sentences about files. Works under the account's lock; deletes nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from agents.effects.journal import Journal, JournalDamaged
from agents.effects.model_files import damaged_models
from agents.effects.salvage import defect, holds_something, set_aside
from agents.home import NetworkHome
from bfl_events.log import EventLog

_REPAIR = {
    "events": "Every event is read again from the chain",
    "journal": "What it knew comes again from the chain and the peers, or is done again; repeat a wish to leave",
    "outbox": "The chain tells what was sent: nonces go on from its count, and what this account signed before and is "
              "mined later is not taken for somebody else's",
}


class Opening:
    """One start. `tell(part, sentence)` hears of each loss once."""

    def __init__(self, home: NetworkHome, tell: Callable[[str, str], None]) -> None:
        self._home, self._tell = home, tell
        self._told: set[str] = set()
        self._journal_is_new = not holds_something(home.journal)

    def mend(self) -> None:
        """Move damaged databases and model files aside. Reads files, blocks. Raises OSError."""
        home = self._home
        for part, path in (("events", home.events), ("journal", home.journal), ("outbox", home.outbox)):
            if (why := defect(path)) is not None:
                self._lost(part, f"{path.name} is damaged ({why}) and was moved to {set_aside(path).name}")
        damaged = [set_aside(path) for path in damaged_models(home.models)]
        if damaged:
            self._tell("models", f"{len(damaged)} of the model files did not have the content that their names promise "
                       f"and were moved aside, to {damaged[0].name} and the like. They come again from the peers, or "
                       "are made again")

    def journal(self) -> Journal:
        """The journal; a new one where an entry cannot be read."""
        try:
            return Journal(self._home.journal)
        except JournalDamaged as error:
            self._lost("journal", f"{error}; it was moved to {set_aside(self._home.journal).name}")
            return Journal(self._home.journal)

    def compare(self, events: EventLog, journal: Journal, *, outbox_used: bool) -> None:
        """Say which database is empty although the others show that it was used.

        So is one that was copied without its `-wal` file, which holds the newest entries.
        """
        journalled = journal.outcomes()
        worked = any(key.startswith("train:") for key in journalled)
        empty = {
            "events": bool(journalled) and events.cursor() is None,
            "outbox": worked and not outbox_used,
            "journal": self._journal_is_new and events.cursor() is not None,
        }
        for part in (part for part, is_empty in empty.items() if is_empty and part not in self._told):
            self._lost(part, f"{part}.sqlite is gone or empty, although this agent has been here before")

    def _lost(self, part: str, what: str) -> None:
        self._told.add(part)
        self._tell(part, f"{what}. {_REPAIR[part]}")
