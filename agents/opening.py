"""Opens what a home holds, as it is: what is damaged is moved aside, what is missing is noticed, both are said.

Owns the sentences about files. Works under the account's lock; deletes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from agents.effects.journal import Journal, JournalDamaged
from agents.effects.model_files import SUFFIX
from agents.effects.salvage import damaged_models, defect, holds_something, set_aside
from agents.home import NetworkHome
from bfl_events.log import EventLog

Tell = Callable[[str, str], None]

_REPAIR = {
    "events": "Every event is read again from the chain",
    "journal": "What it knew comes again from the chain and the peers, or is done again; repeat a wish to leave",
    "outbox": "The chain tells what was sent: nonces go on from its count, and what this account signed before and is "
              "mined later is not taken for somebody else's",
}


def mend(home: NetworkHome, tell: Tell) -> frozenset[str]:
    """Move damaged databases and model files aside; returns which databases are not there. `tell(part, sentence)`."""
    paths = {"events": home.events, "journal": home.journal, "outbox": home.outbox}
    absent = frozenset(part for part, path in paths.items() if not holds_something(path))
    for part, path in paths.items():
        if part not in absent and (why := defect(path)) is not None:
            tell(part, f"{path.name} is damaged ({why}) and was moved to {set_aside(path).name}. {_REPAIR[part]}")
    damaged = [set_aside(path) for path in damaged_models(home.models, SUFFIX)]
    if damaged:
        tell("models", f"{len(damaged)} model files did not have the content that their names promise and were moved "
                       f"aside, the first to {damaged[0].name}. They come again from the peers, or are made again")
    return absent


def open_journal(path: Path, tell: Tell) -> Journal:
    """The journal; a new one where an entry cannot be read."""
    try:
        return Journal(path)
    except JournalDamaged as error:
        tell("journal", f"{error}; it was moved to {set_aside(path).name}. {_REPAIR['journal']}")
        return Journal(path)


def tell_missing(absent: frozenset[str], events: EventLog, journal: Journal, tell: Tell) -> None:
    """Say which of the absent databases must have been there before; in a new home none."""
    began = {"events": bool(journal.outcomes()), "outbox": bool(journal.outcomes()),
             "journal": events.cursor() is not None}
    for part in sorted(absent):
        if began[part]:
            tell(part, f"{part}.sqlite is gone or empty, although this agent has been here before. {_REPAIR[part]}")
