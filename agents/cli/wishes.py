"""The operator's wish to leave a task, kept in the agent's journal: its next start fulfils it, and does not join again.

For commands that run while no agent does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from agents.cli.exits import Exit
from agents.cli.failures import Failure
from agents.core.intents import Done
from agents.core.state import LEAVE
from agents.effects.diary import entries
from agents.effects.journal import Journal, JournalDamaged
from agents.home import NetworkHome
from bfl_events.schema import Address


def note(network: NetworkHome, task: Address) -> None:
    """Raises Failure, and what the journal raises."""
    with _journal(network) as journal:
        journal.record(LEAVE + task, Done())


def noted(network: NetworkHome, task: Address) -> bool:
    """Also while an agent runs."""
    return network.journal.exists() and any(key == LEAVE + task for _, key, _ in entries(network.journal))


def take_back(network: NetworkHome, task: Address) -> None:
    """Raises Failure, and what the journal raises."""
    with _journal(network) as journal:
        journal.forget(LEAVE + task)


@contextmanager
def _journal(network: NetworkHome) -> Iterator[Journal]:
    try:
        journal = Journal(network.journal)
    except JournalDamaged as error:
        raise Failure("The agent's journal cannot be read.", f"{error}.",
                      "Start the agent, which mends it, and repeat this command then.", Exit.BUG) from error
    with closing(journal):
        yield journal
