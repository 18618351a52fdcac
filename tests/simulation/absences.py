"""Who may be absent from what: a live honest worker loses nothing but the fees for its own absences (PROTOCOL 4.2).

Owns what excuses an absence, and that every fine has an absence behind it; `judge` gives it the evidence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from agents.core.global_model import agreed_start, confirmed_start
from bfl_events import schema as ev
from bfl_events.bitmap import members_of
from bfl_events.schema import Address, Bitmap, Phase
from bfl_events.settlement import Fault
from bfl_events.state import Attempt, TaskState

if TYPE_CHECKING:
    from tests.simulation.judge import Judge

CATCH_UP_S: Final = 5.0
"""How long after a disturbance somebody may still be behind. Sources look again every 5 s where no block rings; the
longest that was needed in 1,800 seeds is 4.4 s."""
GIVING_UP_S: Final = 8.0
"""How long before a score window ends somebody's last attempt to fetch may be: its cut-off, its clock, its rest."""
ABSENT_FROM: Final[Mapping[int, tuple[Phase, ...]]] = {
    Fault.NO_REVEAL: (Phase.REVEAL,), Fault.MISSED: (Phase.TRAIN, Phase.SCORE), Fault.NO_ATTEST: (Phase.ATTEST,),
    Fault.UNOPENED: (Phase.OPEN,),
}
"""Faults that only say that somebody was absent, and from what."""


@dataclass(frozen=True, slots=True)
class Window:
    """A phase, or an extension of it. `deadline` in virtual seconds: later nobody may act in it. `closes`: the same by
    the chain's clock."""

    phase: Phase
    round: int
    attempt: int
    deadline: float
    closes: int

    def __str__(self) -> str:
        return f"{self.phase.name} of round {self.round}"


def check_absences(judge: Judge, task: TaskState) -> None:
    """Who was there, on time and connected, is neither fined nor ever found absent."""
    missed, ends, window = set[tuple[Address, int, Phase]](), list[float](), None
    for record in judge.records():
        match record.event:
            case ev.RoundAdvanced(round, attempt, _, deadline):
                window = Window(Phase.TRAIN, round, attempt, judge.passed(deadline), deadline)
            case (ev.PhaseChanged(round, attempt, phase, deadline)
                  | ev.PhaseExtended(round, attempt, phase, deadline)) if phase is not Phase.SETTLE:
                window = Window(phase, round, attempt, judge.passed(deadline), deadline)
                if phase is Phase.SCORE:
                    ends = [*(ends if isinstance(record.event, ev.PhaseExtended) else ()), window.deadline]
            case ev.DeadlineMissed(round, _, phase, absent):
                assert window is not None
                for account in _accounts(task, absent):
                    missed.add((account, round, phase))
                    _check_absence(judge, task, account, window)
                continue
            case ev.WorkerPenalized(round, worker, Fault.NO_ATTEST):
                assert window is not None
                _check_absence(judge, task, worker, window)
                continue
            case ev.WorkerPenalized(round, worker, reason) as fine:
                was_absent = any((worker, round, phase) in missed for phase in ABSENT_FROM.get(reason, ()))
                if not was_absent and not (reason == Fault.INVALID and _hidden(judge, task, fine, ends)):
                    _check_fine(judge, fine)
                continue
            case _:
                continue
        _count(judge, task, window)


def _check_absence(judge: Judge, task: TaskState, account: Address, window: Window) -> None:
    if judge.is_honest(account) and not excuse(judge, task, account, window):
        judge.violated(f"{judge.name(account)} is absent from {window} without having been away")


def _check_fine(judge: Judge, fine: ev.WorkerPenalized) -> None:
    """For something else than an absence that was judged."""
    if fine.reason in ABSENT_FROM:
        judge.violated(f"{judge.name(fine.worker)} is fined for fault {fine.reason}, but was there")
    elif judge.is_honest(fine.worker):
        judge.violated(f"{judge.name(fine.worker)}, which is honest, is fined for fault {fine.reason}")


def _count(judge: Judge, task: TaskState, window: Window) -> None:
    """How many were called to act, and how many of them could not have been absent without being noticed."""
    for account in _called(task, window):
        if judge.is_honest(account):
            judge.counts["called"] += 1
            judge.counts["called without excuse"] += not excuse(judge, task, account, window)


def _called(task: TaskState, window: Window) -> Iterator[Address]:
    attempt = attempt_of(task, window.attempt)
    match window.phase:
        case Phase.TRAIN | Phase.SCORE:
            yield from _accounts(task, attempt.roster)
        case Phase.OPEN:
            yield from (task.member(index).account for index in attempt.commits)
        case Phase.REVEAL:
            yield from (task.member(index).account for index in attempt.score_commits)
        case Phase.ATTEST:
            yield from _accounts(task, task.active)


# ---- excuses --------------------------------------------------------------------------------------------------------


def excuse(judge: Judge, task: TaskState, account: Address, window: Window) -> str:
    """Why this worker may be absent from that; nothing if it may not."""
    host, end = judge.index[account], window.deadline
    for one in judge.faults.disturbances:
        if one.host in (None, host) and one.since <= end <= one.until + CATCH_UP_S:
            return one.kind
    seat, attempt = task.seats[account], attempt_of(task, window.attempt)
    if window.phase is Phase.OPEN and seat in attempt.commits and _lost(judge, host, attempt.commits[seat].digest, end):
        return "its model is lost"
    if window.phase in (Phase.TRAIN, Phase.SCORE) and _strange(task, account, window):
        return "fewer than two have told it from which model its first round starts"
    return ""


def _lost(judge: Judge, host: int, digest: bytes, until: float) -> bool:
    """What was committed to was made before the worker lost what it knew; no training gives the same model twice."""
    made = judge.made.get(digest, 0.0)
    return any(loss.host == host and loss.since <= made <= loss.at <= until and loss.takes("journal", "models")
               for loss in judge.faults.losses)


def _strange(task: TaskState, account: Address, window: Window) -> bool:
    """A late joiner in its first round, which believes nobody alone (PROTOCOL 2.4); most of the others may be dead."""
    if window.round == 1 or task.member(task.seats[account]).join_round != window.round:
        return False
    attempt, by = attempt_of(task, window.attempt), window.closes - CATCH_UP_S
    commits = {index: commit for index, commit in attempt.commits.items() if commit.at.time <= by}
    then = replace(task, notices=tuple(notice for notice in task.notices if notice.at.time <= by),
                   attempts=(replace(attempt, commits=commits),))
    return agreed_start(then, window.round) is None and confirmed_start(then, window.round) is None


def _hidden(judge: Judge, task: TaskState, fine: ev.WorkerPenalized, ends: list[float]) -> bool:
    """Nobody could read what was opened when scorers gave up waiting for it (PROTOCOL 1: beyond assumption iv)."""
    settled = next(a for a in reversed(task.attempts) if a.round == fine.round and a.scored is not None)
    cid = settled.opened[task.seats[fine.worker]].cid
    return any(cid in one.cids and one.since <= moment and one.until >= moment - GIVING_UP_S
               for one in judge.faults.hidings for moment in ends)


def opened_in(attempt: Attempt) -> tuple[bytes, ...]:
    """The seed of an attempt, and the models that were opened in it."""
    return (attempt.seed, *(attempt.opened[index].model_hash for index in sorted(attempt.opened)))


def attempt_of(task: TaskState, number: int) -> Attempt:
    return next(attempt for attempt in task.attempts if attempt.number == number)


def _accounts(task: TaskState, members: Bitmap) -> Iterator[Address]:
    return (task.member(index).account for index in members_of(members))
