"""What an agent remembered at each moment of a recorded history, as far as it can be told afterwards (see `hindsight`).

Nothing at all; its journal, whose entries have a time; or ideal: as if every piece of work had succeeded at once, with
the result that the chain shows later. Must not read a file, and knows no key: `LoggedSeals` stand in for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from typing import Protocol, assert_never

from agents.core import intents as i
from agents.core.specification import Specification
from agents.core.state import ZERO_HASH, Memory
from bfl_events.commitment import Place, model_commitment, score_commitment
from bfl_events.recipients import majority_base
from bfl_events.schema import Address, Word
from bfl_events.scoring import pack_row
from bfl_events.state import Attempt, TaskState


class PastMemory(Protocol):
    """Asked in the order of time."""

    def at(self, time: float) -> Memory: ...

    def learn(self, wanted: Iterable[i.Intent]) -> bool:
        """Told what is wanted; whether the memory is another one now, so that it is to be decided again."""
        ...

    def newest(self) -> float:
        """When the last thing was remembered; 0 if that has no time."""
        ...


class Nothing:
    """An agent that has just lost everything, at every moment."""

    def at(self, time: float) -> Memory:
        return Memory()

    def learn(self, wanted: Iterable[i.Intent]) -> bool:
        return False

    def newest(self) -> float:
        return 0.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A journalled outcome; `at` in seconds by the agent's own clock."""

    at: float
    key: str
    outcome: i.Outcome


class Journalled:
    """What the journal held. Files are taken to be there from their entry on, until their round was cleared.

    A block's time is in whole seconds, and an entry of the same second counts as earlier.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._coming = sorted(entries, key=lambda entry: entry.at)[::-1]
        self._newest = self._coming[0].at if self._coming else 0.0
        self._outcomes: dict[str, i.Outcome] = {}
        self._models: set[bytes] = set()
        self._clears: dict[str, i.ClearRound] = {}

    def at(self, time: float) -> Memory:
        while self._coming and int(self._coming[-1].at) <= time:
            entry = self._coming.pop()
            self._outcomes.pop(entry.key, None)
            self._outcomes[entry.key] = entry.outcome
            if isinstance(entry.outcome, i.ModelReady):
                self._models.add(entry.outcome.model_hash)
            if (clear := self._clears.get(entry.key)) is not None:
                self._models -= set(clear.models)
        return Memory(self._outcomes, self._models)

    def newest(self) -> float:
        return self._newest

    def learn(self, wanted: Iterable[i.Intent]) -> bool:
        """The keys of terms and of cleared rounds do not name their files; what was wanted does."""
        known = len(self._models)
        for intent in wanted:
            match intent:
                case i.LoadTerms() if isinstance(self._outcomes.get(intent.key), i.TermsReady):
                    self._models.add(intent.model_hash)
                case i.ClearRound():
                    self._clears[intent.key] = intent
        return len(self._models) > known


class Ideal:
    """All work is done the moment it is wanted. `tasks` is how the history ends; where that does not show what came out
    of a piece of work, something stands for it that nothing else equals."""

    def __init__(self, me: Address, tasks: Mapping[Address, TaskState]) -> None:
        self._me, self._tasks = me, tasks
        self._outcomes: dict[str, i.Outcome] = {}
        self._models: set[bytes] = set()

    def at(self, time: float) -> Memory:
        return Memory(self._outcomes, self._models)

    def newest(self) -> float:
        return 0.0

    def learn(self, wanted: Iterable[i.Intent]) -> bool:
        learned = False
        for intent in wanted:
            if isinstance(intent, i.Work) and self._lacks(intent):
                self._do(intent)
                learned = True
        return learned

    def _lacks(self, work: i.Work) -> bool:
        outcome = self._outcomes.get(work.key)
        lost = isinstance(outcome, i.ModelReady) and outcome.model_hash not in self._models
        return outcome is None or lost or (isinstance(work, i.LoadTerms) and work.model_hash not in self._models)

    def _do(self, work: i.Work) -> None:
        outcome = self._outcomes[work.key] = self._outcome(work)
        if isinstance(outcome, i.ModelReady):
            self._models.add(outcome.model_hash)
        if isinstance(work, i.LoadTerms):
            self._models.add(work.model_hash)
        if isinstance(work, i.ClearRound):
            self._models -= set(work.models)

    def _outcome(self, work: i.Work) -> i.Outcome:
        match work:
            case i.LoadTerms():
                return i.TermsReady(self._terms().encode().decode())
            case i.DryRun() | i.DeliverFinal() | i.ClearRound():
                return i.Done()
            case i.FetchModel():
                return i.ModelReady(work.model_hash)
            case i.TrainModel():
                return i.ModelReady(self._trained(work) or _unknown(work))
            case i.AggregateModels(task, round):
                return i.ModelReady(self._start_of(self._tasks[task], round + 1) or _unknown(work))
            case i.ScoreModels(task, _, attempt):
                logged, index = self._attempt(task, attempt)
                row = logged.revealed.get(index) if logged is not None else None
                return i.RowReady(row.row if row is not None else pack_row([0] * work.lanes))
            case i.PublishModel(task, _, attempt):
                logged, index = self._attempt(task, attempt)
                opened = logged.opened.get(index) if logged is not None else None
                return i.Published(opened.cid, opened.size) if opened is not None else i.Published(_unknown(work), 0)
            case i.PublishCopy():
                return i.Published(self._announced(work) or _unknown(work), 0)
            case _:
                assert_never(work)

    def _terms(self) -> Specification:
        """The document is not on the chain; of all that it says, only the allow-list counts in a decision."""
        return Specification("unknown", 2, allowed=(self._me.lower(),))

    def _attempt(self, task: Address, number: int) -> tuple[Attempt | None, int]:
        return attempt_of(self._tasks.get(task), self._me, number)

    def _trained(self, work: i.TrainModel) -> bytes | None:
        """The model that was opened after having been committed to on this base."""
        task = self._tasks[work.task]
        index = task.index_of(self._me)
        for attempt in task.attempts:
            opened = attempt.opened.get(index) if index is not None else None
            if attempt.round == work.round and index is not None and opened is not None \
                    and attempt.commits[index].base_hash == work.base_hash:
                return opened.model_hash
        return None

    def _start_of(self, task: TaskState, round: int) -> bytes | None:
        """G(round - 1): what I built on, else what most did; after the last round what I attested, else the final."""
        index = task.index_of(self._me)
        if round > task.params.rounds:
            attested = task.attestations.get(index) if index is not None else None
            final = attested.final_hash if attested is not None else task.final_hash
            return final if final != ZERO_HASH else None
        attempts = [attempt for attempt in reversed(task.attempts) if attempt.round == round]
        mine = (attempt.commits[index].base_hash for attempt in attempts if index is not None
                and index in attempt.commits)
        return next(chain(mine, filter(None, map(majority_base, attempts))), None)

    def _announced(self, work: i.PublishCopy) -> bytes | None:
        """The CID under which I told of this copy."""
        task = self._tasks[work.task]
        index = task.index_of(self._me)
        attested = task.attestations.get(index) if index is not None else None
        if work.kind == 2:
            return attested.cid if attested is not None and attested.final_hash == work.model_hash else None
        kind = 2 if work.kind == 3 else 3        # a repair is told by HereModel, a checkpoint by Checkpoint
        return next((n.cid for n in task.notices if (n.sender, n.kind, n.round, n.ref)
                     == (self._me, kind, work.round, work.model_hash)), None)


def _unknown(work: i.Work) -> bytes:
    return sha256(b"what the chain does not show: " + work.key.encode()).digest()


def attempt_of(task: TaskState | None, me: Address, number: int) -> tuple[Attempt | None, int]:
    """An attempt of a task by its number, and my index in it; (None, 0) if there is none of both."""
    index = task.index_of(me) if task is not None else None
    attempts = task.attempts if task is not None else ()
    found = next((attempt for attempt in attempts if attempt.number == number), None)
    return (found, index) if found is not None and index is not None else (None, 0)


@dataclass(frozen=True, slots=True)
class LoggedSeals:
    """Commitments without a key: exact where the chain shows the salt, else the logged one is taken to be meant.

    `tasks` is how the history ends.
    """

    chain_id: int
    me: Address
    tasks: Mapping[Address, TaskState]

    def model(self, task: Address, round: int, attempt: int, model_hash: bytes) -> bytes:
        logged, index = attempt_of(self.tasks.get(task), self.me, attempt)
        if logged is None or index not in logged.commits:
            return b""
        opened = logged.opened.get(index)
        if opened is None:
            return logged.commits[index].digest
        return model_commitment(Place(self.chain_id, task, round, attempt), self.me, model_hash, opened.salt)

    def scores(self, task: Address, round: int, attempt: int, row: Sequence[Word]) -> bytes:
        logged, index = attempt_of(self.tasks.get(task), self.me, attempt)
        if logged is None or index not in logged.score_commits:
            return b""
        revealed = logged.revealed.get(index)
        if revealed is None:
            return logged.score_commits[index].digest
        return score_commitment(Place(self.chain_id, task, round, attempt), self.me, row, revealed.salt)
