"""Whom are we waiting for, until when, what happens then: one task's state put into sentences.

Owns the wording. Pure; the rules are `bfl_events.deadlines`'. Must not decide anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, assert_never

from agents.cli.session import short
from agents.notation import money
from bfl_events.bitmap import members_of, size
from bfl_events.deadlines import After, actors, deadline_passes, expected, hard_stop_passed, quorum
from bfl_events.schema import Address, Bitmap, Phase
from bfl_events.state import TaskState
from bfl_events.terms import BPS

_ACT: Final[Mapping[Phase, tuple[str, str]]] = {
    Phase.TRAIN: ("model commitments", "has not committed a model"),
    Phase.OPEN: ("opened models", "committed a model and has not opened it"),
    Phase.SCORE: ("score commitments", "has not committed scores"),
    Phase.REVEAL: ("revealed scores", "committed scores and has not revealed them"),
    Phase.ATTEST: ("attestations", "has not attested the final model"),
}


@dataclass(frozen=True, slots=True)
class Waiting:
    """A member that is waited for, and what its silence costs it. Wei."""

    account: Address
    index: int
    since: str
    cost: int
    threat: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What `rounds explain` says. `left_s` is negative once the deadline has passed; None where time does not count."""

    task: Address
    round: int
    rounds: int
    attempt: int
    phase: Phase
    deadline: int
    left_s: float | None
    acted: int
    expected: int
    waiting: tuple[Waiting, ...]
    me: str
    next: str
    options: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        waiting = [
            {"worker": w.account, "index": w.index, "state": w.since, "cost_wei": str(w.cost), "then": w.threat}
            for w in self.waiting
        ]
        return {
            "task": self.task,
            "round": self.round,
            "rounds": self.rounds,
            "attempt": self.attempt,
            "phase": self.phase.name.lower(),
            "deadline": self.deadline,
            "left_s": self.left_s,
            "acted": self.acted,
            "expected": self.expected,
            "waiting_for": waiting,
            "you": self.me,
            "next": self.next,
            "options": list(self.options),
        }

    def lines(self) -> Iterator[str]:
        until = "" if self.left_s is None else f" · deadline {duration(self.left_s)}"
        yield f"Task {self.task} · round {self.round}/{self.rounds} · attempt {self.attempt} · {self.phase.name}{until}"
        if self.expected:
            acts = _ACT[self.phase][0]
            yield f"Waiting for  {self.expected - self.acted} of {self.expected} {acts}"
        for w in self.waiting:
            yield f"  {short(w.account)}  {w.since}{f'  → {w.threat}' if w.threat else ''}"
        yield f"You          {self.me}"
        yield f"What happens next: {self.next}"
        if self.options:
            yield f"You can also: {' · '.join(self.options)}"


def duration(seconds: float) -> str:
    """in 8 min 10 s; 3 min 0 s ago."""
    left = abs(round(seconds))
    parts = [(left // 86_400, "d"), (left // 3_600 % 24, "h"), (left // 60 % 60, "min"), (left % 60, "s")]
    shown = [f"{count} {unit}" for count, unit in parts if count][:2] or ["0 s"]
    return f"in {' '.join(shown)}" if seconds >= 0 else f"{' '.join(shown)} ago"


def explain(task: TaskState, now: float, me: Address | None) -> Explanation:
    """The state of one task at `now` (seconds), as seen by `me`."""
    waited, acted = expected(task), actors(task)
    absent = Bitmap(waited & ~acted)
    timed = task.phase == Phase.JOINING or task.phase in _ACT
    return Explanation(
        task=task.address,
        round=task.round,
        rounds=task.params.rounds,
        attempt=task.attempt,
        phase=task.phase,
        deadline=task.deadline,
        left_s=task.deadline - now if timed else None,
        acted=size(Bitmap(acted & waited)),
        expected=size(waited),
        waiting=tuple(_waiting(task, index) for index in members_of(absent)),
        me=_standing(task, me, absent),
        next=_next(task, now),
        options=_options(task, me),
    )


def _waiting(task: TaskState, index: int) -> Waiting:
    member = task.member(index)
    since = _ACT[task.phase][1]
    if member.miss_streak:
        since += f"; {member.miss_streak} missed in a row before"
    bps = {
        Phase.TRAIN: task.params.miss_bps,
        Phase.SCORE: task.params.miss_bps,
        Phase.ATTEST: task.params.miss_bps,
        Phase.OPEN: task.params.fee_bps if not member.unopened else task.params.slash_bps // 2,
        Phase.REVEAL: task.params.fee_bps,
    }[task.phase]
    cost = task.params.collateral * bps // BPS
    condition = "if this round settles without it" if task.phase != Phase.ATTEST else "if a final model is found"
    threat = f"loses {money(cost)} {condition}" if cost else ""
    if member.miss_streak + 1 >= task.params.max_miss:
        threat += f"{' and ' if threat else ''}is dropped as absent too often"
    return Waiting(member.account, index, since, cost, threat)


def _standing(task: TaskState, me: Address | None, absent: Bitmap) -> str:
    if me is None:
        return "no account in this home"
    index = task.index_of(me)
    if index is None:
        return (
            "the requester; it has no duty in a round"
            if me == task.requester
            else f"{short(me)} has no seat in this task"
        )
    if task.phase.ended:
        member = task.member(index)
        left = member.credit + member.bond
        return f"ended; {money(left)} to withdraw" if left else "ended; everything is withdrawn"
    if absent >> index & 1:
        return f"{_ACT[task.phase][1]}: it is your turn (the running agent does it; bfl-agent status)"
    if task.pending >> index & 1:
        return "joined late; active after the next settlement"
    return "nothing to do now"


def _next(task: TaskState, now: float) -> str:
    late = now > task.deadline
    match task.phase:
        case Phase.NONE:
            return "the task was never initialised."
        case Phase.JOINING:
            return _joining(task, late)
        case Phase.TRAIN | Phase.OPEN | Phase.SCORE | Phase.REVEAL:
            if hard_stop_passed(task, int(now)):
                return "the hard stop has passed: anybody may call nextRound() and the task expires."
            return _deadline(task, late)
        case Phase.SETTLE:
            return (
                "anybody calls nextRound(): scores, rewards and penalties are computed on chain. There is no deadline."
            )
        case Phase.ATTEST:
            return (
                "as soon as all have attested, or at the deadline, anybody calls nextRound() and the task completes; "
                "more than half of the active must name the same hash."
            )
        case Phase.COMPLETED | Phase.CANCELLED | Phase.EXPIRED:
            return f"nothing: the task is {task.phase.name.lower()}. Members withdraw, the requester takes its refund."
        case _:
            assert_never(task.phase)


def _joining(task: TaskState, late: bool) -> str:
    joined, needed = size(task.active), task.params.min_workers
    if joined >= needed:
        when = (
            "now"
            if late or joined == task.params.max_workers
            else "at the deadline, when all seats are taken, or if the requester says so"
        )
        return f"{joined} of {needed} needed workers have joined; anybody calls startTask() {when}."
    if late:
        return f"only {joined} of {needed} workers joined in time: anybody calls startTask() and the task is cancelled."
    return f"{joined} of {needed} needed workers have joined; too few at the deadline cancels, and everything returns."


def _deadline(task: TaskState, late: bool) -> str:
    outcome = deadline_passes(task)
    lead = (
        "the deadline has passed: anybody calls nextRound() now"
        if late
        else "when all have acted the next phase begins at once; otherwise, at the deadline, anybody calls nextRound()"
    )
    return f"{lead}; as things stand {_after(task, outcome.after)}."


def _after(task: TaskState, after: After) -> str:
    needed = quorum(task.active)
    match after:
        case After.NEXT_PHASE:
            acted = size(actors(task))
            return f"enough have acted ({acted} of a quorum of {needed}) and the round goes on without the rest"
        case After.EXTENDED:
            return f"fewer than {needed} have acted: the same phase gets a fresh window and nothing is lost"
        case After.RESTARTED:
            return f"fewer than {needed} can still act: the round begins again with a new attempt"
        case After.EXPIRED:
            return "too few are left: the task expires, bonds return, unspent reward goes back to the requester"
        case _:
            assert_never(after)


def _options(task: TaskState, me: Address | None) -> tuple[str, ...]:
    index = None if me is None else task.index_of(me)
    if index is None:
        return ()
    if task.phase.ended:
        member = task.member(index)
        return ("bfl-agent ledger withdraw",) if member.credit + member.bond else ()
    leave = f"bfl-agent task leave {task.address}"
    match task.phase:
        case Phase.JOINING:
            return (f"{leave} (the collateral returns at once)",)
        case Phase.TRAIN if not task.committed >> index & 1:
            return (f"{leave} (no fee before you commit; the bond returns after this round)",)
        case Phase.ATTEST:
            return ()
        case _:
            return (f"{leave} (you still owe this round's acts)",)
