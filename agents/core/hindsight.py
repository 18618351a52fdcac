"""A recorded history gone through again: what an agent would have decided at each block, and what came of it.

An agent looks when a block has come, and again and again as time passes; here it looks after each block that holds
events, and once more shortly before the next one. Pure; what it remembered is a `PastMemory`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import groupby

from agents.core import intents as i
from agents.core.admission import decline, joinable
from agents.core.past_memory import PastMemory
from agents.core.reduce import fold
from agents.core.state import Me, Memory, Now, World
from bfl_events import schema as ev
from bfl_events.schema import Address, Event, Record

Decide = Callable[[World, Memory, Me, Now], tuple[i.Intent, ...]]
Numbered = tuple[int, Record]
DUTIES = (i.CommitModel, i.OpenModel, i.CommitScores, i.SubmitScore, i.AttestFinal)
_BLOCKS = 32          # over which the time a block takes is averaged, as the daemon does


class End(Enum):
    """How an intent stopped being wanted."""

    DONE = "done"              # the chain shows its effect, whoever caused it, or the memory its outcome
    MISSED = "missed"          # a duty of this agent's own, and its time is over
    DROPPED = "dropped"        # no longer needed, or no longer possible


@dataclass(frozen=True, slots=True)
class Gone:
    intent: i.Intent
    end: End


@dataclass(frozen=True, slots=True)
class Step:
    """One look. `numbered`: the block's events with their lines, none if only time has passed since the last look.

    `worked`: wanted, and done at once. `wanted`: what was not wanted before. `unforeseen`: acts of this account that
    nothing wanted explains. `declined`: tasks with the reason why they are not joined, where that is new.
    """

    now: Now
    numbered: tuple[Numbered, ...]
    worked: tuple[i.Work, ...]
    wanted: tuple[i.Intent, ...]
    gone: tuple[Gone, ...]
    unforeseen: tuple[Numbered, ...]
    declined: tuple[tuple[Address, str], ...]

    @property
    def quiet(self) -> bool:
        return not (self.worked or self.wanted or self.gone or self.unforeseen or self.declined)


@dataclass(frozen=True, slots=True)
class Subject:
    """Who looks back. `wishes`: (time, task) of the operator's wishes to leave. `block_s` None: to be estimated."""

    role: str
    me: Me
    decide: Decide
    memory: PastMemory
    block_s: float | None = None
    wishes: Sequence[tuple[float, Address]] = ()


def look_back(numbered: Iterable[Numbered], subject: Subject, end: tuple[int, int] | None = None) -> Iterator[Step]:
    """All looks at the events' blocks, and those in between at which something changed. Raises FoldError.

    `end`: (time, block) up to which it is known that nothing else was logged.
    """
    eyes = _Eyes(subject)
    for _, group in groupby(numbered, key=lambda line: line[1].block):
        block = tuple(group)
        record = block[0][1]
        waited = eyes.look(eyes.now(record.time, record.block - 1), ())
        if not waited.quiet:
            yield waited
        eyes.see(record)
        yield eyes.look(eyes.now(record.time, record.block), block)
    if end is not None and not (last := eyes.look(eyes.now(*end), ())).quiet:
        yield last


@dataclass(slots=True)
class _Eyes:
    subject: Subject
    world: World = World()
    wanted: dict[str, i.Intent] = field(default_factory=dict)
    declined: dict[Address, str] = field(default_factory=dict)
    blocks: list[tuple[int, int]] = field(default_factory=list)

    def see(self, record: Record) -> None:
        self.blocks = [*self.blocks[1 - _BLOCKS:], (record.block, record.time)]

    def now(self, time: int, head: int) -> Now:
        return Now(float(time), head, self._block_s() if self.subject.block_s is None else self.subject.block_s)

    def _block_s(self) -> float:
        if len(self.blocks) < 2:
            return 0.0
        (first, began), (last, ended) = self.blocks[0], self.blocks[-1]
        return (ended - began) / (last - first)

    def look(self, now: Now, block: tuple[Numbered, ...]) -> Step:
        earlier, before = self.world, self.wanted
        self.world = fold(earlier, (record for _, record in block))
        me, memory, self.wanted, done = self._decide(self.world, now)
        worked = tuple(work for key, work in done.items() if key not in self.wanted and key not in before)
        gone = tuple(
            Gone(intent, self._end(intent, block, memory)) for key, intent in before.items() if key not in self.wanted)
        fresh = tuple(intent for key, intent in self.wanted.items() if key not in before)
        unforeseen = tuple(
            (line, record) for place, (line, record) in enumerate(block) if doer(record.event) == me.address
            and not any(_explains(intent, record, me) for intent in before.values())
            and not self._due_on_arrival(earlier, block[:place], record))
        return Step(now, block, worked, fresh, gone, unforeseen, self._newly_declined(memory, me, now))

    def _due_on_arrival(self, earlier: World, so_far: tuple[Numbered, ...], act: Record) -> bool:
        """After a reorg an act may be mined anew in its cause's block, and with fewer confirmations than it had."""
        now = self.now(act.time, act.block + self.subject.me.confirmations)
        me, _, wanted, _ = self._decide(fold(earlier, (record for _, record in so_far)), now)
        return any(_explains(intent, act, me) for intent in wanted.values())

    def _decide(self, world: World, now: Now) -> tuple[Me, Memory, dict[str, i.Intent], dict[str, i.Work]]:
        """Decide until nothing more is learnt by it: what is wanted in the end, and the work wanted on the way."""
        subject, done = self.subject, dict[str, i.Work]()
        me = replace(subject.me, leaving=frozenset(task for at, task in subject.wishes if at <= now.time))
        while True:
            memory = subject.memory.at(now.time)
            wanted = subject.decide(world, memory, me, now)
            if not subject.memory.learn(wanted):
                return me, memory, {intent.key: intent for intent in wanted}, done
            done |= {intent.key: intent for intent in wanted if isinstance(intent, i.Work)}

    def _end(self, intent: i.Intent, block: tuple[Numbered, ...], memory: Memory) -> End:
        if intent.key in memory.outcomes or any(_explains(intent, record, self.subject.me) for _, record in block):
            return End.DONE
        replaced = any(type(other) is type(intent) and other.task == intent.task for other in self.wanted.values())
        left = any(isinstance(record.event, ev.WorkerLeaving) and record.event.worker == self.subject.me.address
                   for _, record in block)
        return End.MISSED if isinstance(intent, DUTIES) and not replaced and not left else End.DROPPED

    def _newly_declined(self, memory: Memory, me: Me, now: Now) -> tuple[tuple[Address, str], ...]:
        if self.subject.role != "worker":
            return ()
        reasons = {}
        for task in self.world.tasks.values():
            seated = me.address in task.seats or me.task not in (None, task.address)
            if not seated and joinable(task, now) and (reason := decline(task, memory, me, now)):
                reasons[task.address] = reason
        known, self.declined = self.declined, reasons
        return tuple((task, reason) for task, reason in reasons.items() if known.get(task) != reason)


def doer(event: Event) -> Address | None:
    """Whose act an event shows, where it is an act that an agent decides on."""
    match event:
        case (ev.WorkerJoined(worker=account) | ev.ModelCommitted(worker=account) | ev.ModelSubmitted(worker=account)
              | ev.ScoresCommitted(worker=account) | ev.ScoresSubmitted(worker=account)
              | ev.FinalAttested(worker=account) | ev.Notice(sender=account)):
            return account
        case _:
            return None


def _explains(intent: i.Intent, record: Record, me: Me) -> bool:
    return record.emitter == intent.task and effect(intent, record.event, me.address)


def effect(intent: i.Intent, event: Event, me: Address) -> bool:
    """Whether an event of the intent's task shows its effect; of what anybody may do, whoever did it."""
    match intent, event:
        case i.JoinTask(), ev.WorkerJoined(worker):
            return worker == me
        case i.CommitModel(_, round, attempt, _, base), ev.ModelCommitted():
            return (event.worker, event.round, event.attempt, event.base_hash) == (me, round, attempt, base)
        case i.OpenModel(_, round, attempt, digest), ev.ModelSubmitted():
            return (event.worker, event.round, event.attempt, event.model_hash) == (me, round, attempt, digest)
        case i.CommitScores(_, round, attempt), ev.ScoresCommitted():
            return (event.worker, event.round, event.attempt) == (me, round, attempt)
        case i.SubmitScore(_, round, attempt, row), ev.ScoresSubmitted():
            return (event.worker, event.round, event.attempt, event.row) == (me, round, attempt, row)
        case i.AttestFinal(_, digest), ev.FinalAttested():
            return (event.worker, event.final_hash) == (me, digest)
        case i.SendNotice(_, kind, round, to, ref), ev.Notice():
            return (event.sender, event.kind, event.round, event.to, event.ref) == (me, kind, round, to, ref)
        case i.LeaveTask(), ev.WorkerLeaving(_, worker):
            return worker == me
        case i.Withdraw(_, worker), ev.Withdrawn():
            return event.worker == worker
        case (i.Refund(), ev.Refunded()) | (i.Burn(), ev.Burned()) | (i.StartTask(), ev.TaskStarted() | ev.TaskEnded()):
            return True
        case i.AdvanceRound(), (ev.PhaseChanged() | ev.RoundAdvanced() | ev.DeadlineMissed() | ev.PhaseExtended()
                                | ev.RoundScored() | ev.RewardsDistributed() | ev.TaskEnded()):
            return True
        case _:
            return False
