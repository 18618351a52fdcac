"""Bugs planted on purpose: mistakes that somebody could make tomorrow, each as a patch of the product.

Owns the patches. They prove that the simulation would notice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from agents.core import intents, permissionless, requester, worker
from agents.core.reduce import fold
from agents.core.state import Me, Memory, Now
from agents.daemon import Daemon
from agents.effects import calls, hands, outbox as outbox_module
from agents.effects.book import Book
from agents.effects.journal import Journal, encode
from agents.effects.outbox import Outbox
from agents.effects.runner import Runner, _Rest
from agents.effects.seals import AccountSeals
from agents.effects.slots import Slot, Slots
from bfl_events import follower, recipients
from bfl_events.bitmap import members_of
from bfl_events.folding import rounds
from bfl_events.lineage import Doubt
from bfl_events.schema import Record
from bfl_events.state import TaskState

Patch = tuple[Any, str, Any]


def salt_without_attempt() -> Iterable[Patch]:
    """A second attempt would be committed with a salt that the first one has shown."""
    original = AccountSeals.salt
    return [(AccountSeals, "salt", lambda self, kind, task, round, attempt: original(self, kind, task, round, 1))]  # noqa: A006


def journal_keyed_by_round() -> Iterable[Patch]:
    """What was trained before a reorg passes for trained from another base."""
    return [(intents.TrainModel, "key", property(lambda self: f"train:{self.task}:{self.round}:"))]


def no_confirmation_wait() -> Iterable[Patch]:
    return [(worker, "settled_enough", lambda task, me, now: True)]


def act_before_journal() -> Iterable[Patch]:
    """The newest outcome is only written with the next one."""
    waiting: dict[int, tuple[str, intents.Outcome]] = {}
    original = Journal.record

    def record(self: Journal, key: str, outcome: intents.Outcome) -> None:
        late = waiting.pop(id(self), None)
        waiting[id(self)] = (key, outcome)
        self._outcomes.pop(key, None)
        self._outcomes[key] = outcome
        if late is not None:
            body = json.dumps(encode(late[1]))
            self._database.execute("INSERT OR REPLACE INTO outcome VALUES (?, ?, ?, ?)",
                                   (late[0], type(late[1]).__name__, body, 0.0))

    del original
    return [(Journal, "record", record)]


def new_nonce_for_a_signed_intent() -> Iterable[Patch]:
    """What is signed and not seen mined yet is signed again with the next nonce."""
    original = Book.deciding

    def deciding(self: Book, key: str) -> Slot | None:
        slot = original(self, key)
        return None if slot is not None and slot.landing is None else slot

    return [(Book, "deciding", deciding)]


def null_block_is_a_reorg() -> Iterable[Patch]:
    """An endpoint that does not have our newest block yet is believed to have another chain."""
    original = follower.judge

    def judge(known: Any, answers: Any, doubt: Doubt = Doubt(), patience_s: float = 0.0) -> Any:  # noqa: B008
        return original(known, answers, Doubt((), doubt.waited_s), 0.0)

    return [(follower, "judge", judge)]


def streak_not_reset() -> Iterable[Patch]:
    """Who acts in a void phase keeps the misses of long ago."""
    def deadline_missed(state: TaskState, record: Record, event: Any, at: Any) -> TaskState:
        after = original(state, record, event, at)
        members = tuple(
            replace(new, miss_streak=max(new.miss_streak, old.miss_streak)) if new is not None and old is not None
            else new for new, old in zip(after.members, state.members, strict=True))
        return replace(after, members=members)

    original = rounds.deadline_missed
    return [(rounds, "deadline_missed", deadline_missed)]


def duplicates_folded_twice() -> Iterable[Patch]:
    """After a rewind the log is folded, and what came with the news once more."""
    original = Daemon._take_advances

    def take(self: Daemon) -> bool:
        records = [record for advance in self._inbox for record in advance.records]
        rewound = any(advance.rewound_to is not None for advance in self._inbox)
        present = original(self)
        if rewound:
            self._world = fold(self._world, records)
        return present

    return [(Daemon, "_take_advances", take)]


def rewind_not_refolded() -> Iterable[Patch]:
    """What a reorg took back stays believed."""
    original = Daemon._refold

    def refold(self: Daemon) -> None:
        if self.outlook is None:
            original(self)

    return [(Daemon, "_refold", refold)]


def opens_something_else() -> Iterable[Patch]:
    """The newest training is opened, whatever was committed."""
    def opening(task: TaskState, memory: Memory, me: Me, index: int) -> bytes | None:
        models = list(memory.models_under(f"train:{task.address}:{task.round}:"))
        return models[-1] if models and index in task.current.commits else None

    return [(worker, "_opening", opening)]


def recipients_from_the_wrong_roster() -> Iterable[Patch]:
    """Sealed for who is a member now, pending joiners included, not for the attempt's roster."""
    def sealed_for(task: TaskState, kind: Any) -> Any:
        if kind != recipients.Content.MODEL:
            return original(task, kind)
        now = members_of(task.active | task.pending)
        return tuple((task.member(index).account, task.member(index).keys[-1].der) for index in now)

    original = worker.sealed_for
    return [(worker, "sealed_for", sealed_for)]


def failures_are_final() -> Iterable[Patch]:
    """What failed once is never tried again (an edge-triggered duty)."""
    return [(Runner, "_rest", lambda self, key: self._resting.__setitem__(key, _Rest(float("inf"), 1)))]


def looks_on_after_a_restart() -> Iterable[Patch]:
    """A process that starts in the middle of a task decides nothing for its first quarter of a minute."""
    original = Daemon._take_advances

    def take(self: Daemon) -> bool:
        begun = self.__dict__.setdefault("_begun", self._clock.time() if self._folded > 5 else 0.0)
        return original(self) and self._clock.time() >= begun + 15.0

    return [(Daemon, "_take_advances", take)]


def waits_for_confirmations_alone() -> Iterable[Patch]:
    """On a chain that makes blocks on demand, everybody waits for a block that nobody asks for."""
    return [(worker, "settled_enough", lambda task, me, now: now.head - task.since.block >= me.confirmations)]


def deadlines_gated_by_estimates() -> Iterable[Patch]:
    """`nextRound` is only sent if the newest block already allows it."""
    original = calls.call_for
    return [(hands, "call_for", lambda *arguments: replace(original(*arguments), gas=None))]


def nobody_helps_the_dead() -> Iterable[Patch]:
    """Everybody takes out only what is his own."""
    original = permissionless.drain

    def drain(task: TaskState, me: Me, now: Now) -> Iterator[intents.Intent]:
        return (intent for intent in original(task, me, now)
                if not isinstance(intent, intents.Withdraw) or intent.worker == me.address)

    return [(worker, "drain", drain), (requester, "drain", drain)]


def only_the_first_in_line_advances() -> Iterable[Patch]:
    original = permissionless.push

    def push(task: TaskState, me: Me, now: Now) -> Iterator[intents.Intent]:
        return original(task, me, now) if permissionless.place_in_line(task, me) == 0 else iter(())

    return [(worker, "push", push)]


def sent_before_it_is_written_down() -> Iterable[Patch]:
    """The bytes leave first; killed in between, the nonce is signed again for something else."""
    original = Outbox._sign_slot

    async def sign_slot(self: Outbox, key: str, payload: Any) -> Slot:
        with patch.object(self._book, "add", lambda slot: None):
            slot = await original(self, key, payload)
        await self._node.push(slot.last.raw)
        self._book.add(slot)
        return slot

    return [(outbox_module.Outbox, "_sign_slot", sign_slot)]


def unmined_is_forgotten_at_a_restart() -> Iterable[Patch]:
    return [(Slots, "open", lambda self: {})]


def extensions_share_a_key() -> Iterable[Patch]:
    """The key of `nextRound` without the deadline: what was sent once is never sent for the extended phase."""
    key = property(lambda self: f"next-round:{self.task}:{self.round}:{self.attempt}:{self.phase.name}")
    return [(intents.AdvanceRound, "key", key)]


def waits_for_the_requester() -> Iterable[Patch]:
    """Nobody but the requester settles."""
    original = permissionless.push

    def push(task: TaskState, me: Me, now: Now) -> Iterator[intents.Intent]:
        return original(task, me, now) if task.deadline else iter(())

    return [(worker, "push", push)]


def scores_with_the_wrong_row() -> Iterable[Patch]:
    """The first row of the attempt is revealed, whatever was committed. (The newest one would do: since rows are taken
    only where they hold, the newest is nearly always the one that was committed last.)"""
    def committed_row(task: TaskState, memory: Memory, me: Me, index: int) -> Any:
        rows = [row for _, row in memory.rows_under(f"score:{task.address}:{task.attempt}:")]
        return rows[0] if rows and index in task.current.score_commits else None

    return [(worker, "_committed_row", committed_row)]


BUGS: Mapping[str, Callable[[], Iterable[Patch]]] = {
    bug.__name__: bug for bug in (
        salt_without_attempt, journal_keyed_by_round, no_confirmation_wait, act_before_journal,
        new_nonce_for_a_signed_intent, null_block_is_a_reorg, streak_not_reset, duplicates_folded_twice,
        rewind_not_refolded, opens_something_else, recipients_from_the_wrong_roster, failures_are_final,
        deadlines_gated_by_estimates, nobody_helps_the_dead, only_the_first_in_line_advances,
        sent_before_it_is_written_down, unmined_is_forgotten_at_a_restart, extensions_share_a_key,
        waits_for_the_requester, scores_with_the_wrong_row,
        looks_on_after_a_restart, waits_for_confirmations_alone,
    )
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The product with this bug, as long as the block lasts."""
    patches = list(BUGS[name]())
    kept = [(owner, attribute, owner.__dict__[attribute]) for owner, attribute, _ in patches]
    for owner, attribute, double in patches:
        setattr(owner, attribute, double)
    try:
        yield
    finally:
        for owner, attribute, original in kept:
            setattr(owner, attribute, original)
