"""`bfl-agent run --replay`: what an agent would have decided at each event of a recorded history, for debugging.

Owns where the history, the account and its memory come from, and how the looks are shown. Opens no network, takes no
lock, reads no key and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agents.cli.exits import Exit
from agents.cli.failures import Failure, usage
from agents.cli.replay_views import LEGEND, Tally, document_of, lines_of
from agents.cli.session import Session
from agents.core import requester, worker
from agents.core.hindsight import Subject, look_back
from agents.core.past_clock import by_the_chains_clock
from agents.core.past_memory import Entry, Ideal, Journalled, LoggedSeals, Nothing, PastMemory
from agents.core.state import LEAVE, Limits, Me
from bfl_events.archive import open_archive
from bfl_events.compare import task_of
from bfl_events.export import ExportHeader
from bfl_events.replay import parse_until, replay, up_to
from bfl_events.schema import Address, Record
from bfl_events.state import TaskState

if TYPE_CHECKING:
    from agents.settings import Settings

MEMORIES = ("journal", "ideal", "none")
NO_LIMITS = Limits(
    max_collateral_wei=2**128, max_open_collateral_wei=2**128, max_collateral_factor=2**128, max_fee_bps=10_000,
    max_miss_bps=10_000, max_slash_bps=10_000, max_accept_bps=10_000, min_max_miss=0, min_window_blocks=0)


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked on the command line. `account` None: the home's own; `task` None: all it would look at."""

    file: Path
    until: str | None
    memory: str | None
    account: Address | None
    task: Address | None


@dataclass(frozen=True, slots=True)
class History:
    """What was recorded. `ends`: each task as it stands in the end."""

    header: ExportHeader
    records: Sequence[Record]
    ends: Mapping[Address, TaskState]


def replay_decisions(session: Session, question: Question) -> None:
    """Print every look. Raises Failure, SettingsError, Fatal, and what a damaged or impossible history raises."""
    if question.memory not in (None, *MEMORIES):
        raise usage("There is no such memory.", f"{question.memory!r} is none of {', '.join(MEMORIES)}.", "Name one.")
    try:
        until = None if question.until is None else parse_until(question.until)
    except ValueError as error:
        raise usage("There is no such place to stop at.", str(error), "Name another, or leave out --until.") from None
    archive = open_archive(question.file)
    numbered = list(archive.records())
    ends = {address: state for address, state in replay(numbered).tasks.items() if isinstance(state, TaskState)}
    if question.task not in (None, *ends):
        raise usage(f"Task {question.task} is not in this history.", f"It holds {len(ends)} tasks.", "Correct --task.")
    subject = _subject(session, question, History(archive.header, [record for _, record in numbered], ends))
    shown = numbered if until is None else list(up_to(numbered, until))
    if question.task is not None:
        shown = [(line, record) for line, record in shown if task_of(record) == question.task]
    end = None
    if until is None and numbered:
        newest = numbered[-1][1].time
        end = (max(newest, int(subject.memory.newest())), archive.header.end.number)
    session.note(LEGEND)
    tally, line = Tally(), 0
    for step in look_back(shown, subject, end):
        line = step.numbered[-1][0] if step.numbered else line
        tally.take(step, line)
        session.show(document_of(step), lines_of(step))
    session.show(tally.document(), tally.lines())


# ---- who looks back -------------------------------------------------------------------------------------------------


def _subject(session: Session, question: Question, history: History) -> Subject:
    """The home's agent with its policy; or any account, of whose policy nothing is known."""
    if question.account is not None:
        role = str(session.flags.get("role", "worker"))
        development = session.flags.get("profile") == "development"
        me = Me(question.account, LoggedSeals(history.header.chain_id, question.account, history.ends), NO_LIMITS,
                int(session.flags.get("chain", {}).get("confirmations") or 0), task=question.task)
        if question.memory == "journal":
            raise usage("Another account's journal is not here.", "Only a home has one, and --as goes without.",
                        "Use --memory ideal, or --home without --as.")
        memory = _without_journal(question.memory or "ideal", me.address, history.ends)
        return Subject(role, me, _DECIDE[_role(role)], memory, 0.0 if development else None)
    settings = session.settings
    from agents.identity import choose
    from agents.policy import limits_of

    address = choose(settings.home, settings.account.address).address
    me = Me(address, LoggedSeals(history.header.chain_id, address, history.ends), limits_of(settings.policy),
            settings.chain.confirmations, settings.store.retain_rounds, question.task)
    memory, wishes = _home_memory(settings, question, history, address)
    block_s = 0.0 if settings.profile == "development" else None
    return Subject(settings.role, me, _DECIDE[settings.role], memory, block_s, wishes)


_DECIDE = {"worker": worker.decide, "requester": requester.decide}


def _role(role: str) -> str:
    if role not in _DECIDE:
        raise usage("There is no such role.", f"{role!r} is neither worker nor requester.", "Correct --role.")
    return role


def _home_memory(
    settings: Settings, question: Question, history: History, address: Address
) -> tuple[PastMemory, Sequence[tuple[float, Address]]]:
    """The journal if there is one, else as asked; and the operator's wishes to leave, which the journal keeps."""
    from agents.effects.diary import entries

    path = settings.home.network(history.header.chain_id, history.header.factory).journal
    if not path.exists():
        if question.memory == "journal":
            raise Failure(
                "This home has no journal of that chain and factory.", f"{path} does not exist.",
                "Use --memory ideal, or another --home.", Exit.CONFIGURATION)
        return _without_journal(question.memory or "ideal", address, history.ends), ()
    journal = by_the_chains_clock([Entry(*entry) for entry in entries(path)], history.records, address)
    wishes = [(entry.at, entry.key.removeprefix(LEAVE)) for entry in journal if entry.key.startswith(LEAVE)]
    if question.memory in (None, "journal"):
        return Journalled(journal), wishes
    return _without_journal(question.memory, address, history.ends), wishes


def _without_journal(memory: str, address: Address, ends: Mapping[Address, TaskState]) -> PastMemory:
    return Nothing() if memory == "none" else Ideal(address, ends)
