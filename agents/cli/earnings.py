"""One account's money in one task, added up from its logs: what it staked, earned, lost and took out.

Pure. Owns the sums and the sentences about single movements; the rules that made them are the contract's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agents.cli.session import short
from agents.notation import ether, money
from bfl_events import schema as ev
from bfl_events.bitmap import members_of
from bfl_events.deadlines import Removal, claims
from bfl_events.schema import Address, Record
from bfl_events.scoring import CONTROL_LANES, lane_of, unpack_row
from bfl_events.settlement import Fault
from bfl_events.state import Attempt, TaskState

FAULTS: Final = {
    Fault.INVALID: "its model was invalid: more than half of the roster scored it 0",
    Fault.NO_REVEAL: "it committed scores and did not reveal them",
    Fault.MISSED: "it committed no model or no scores in a round that was settled",
    Fault.DEVIANT: "its scores lay outside the others' by more than devTol",
    Fault.LOW: "its model stayed below the threshold; maxLow rounds of that in a row cost collateral",
    Fault.NO_ATTEST: "it did not attest the final model",
    Fault.UNOPENED: "it committed a model and did not open it",
}
_REMOVALS: Final[Mapping[int, str]] = {
    Removal.LEFT: "it left",
    Removal.DROPPED: "it was dropped for missing maxMiss phases in a row (its bond is held)",
    Removal.DROPPED_EXCUSED: "it left before committing and was dropped",
    Removal.RELEASED: "it was released at the boundary",
}


@dataclass(frozen=True, slots=True)
class Row:
    """Wei, and counts of settled rounds: in the roster, paid, missed."""

    task: Address
    phase: str
    staked: int
    earned: int
    penalised: int
    withdrawn: int
    withdrawable: int
    rounds: int
    paid: int
    missed: int

    def document(self) -> dict[str, Any]:
        amounts = {
            name: str(getattr(self, name)) for name in ("staked", "earned", "penalised", "withdrawn", "withdrawable")
        }
        return {
            "task": self.task,
            "phase": self.phase,
            **{f"{name}_wei": value for name, value in amounts.items()},
            "rounds": self.rounds,
            "paid": self.paid,
            "missed": self.missed,
        }

    def cells(self) -> tuple[str, ...]:
        amounts = (self.staked, self.earned, self.penalised, self.withdrawn, self.withdrawable)
        return (short(self.task), self.phase, *map(ether, amounts), f"{self.rounds} / {self.paid} / {self.missed}")


HEAD: Final = ("task", "phase", "staked", "earned", "penalised", "withdrawn", "withdrawable", "rounds / paid / missed")


def row(task: TaskState, records: Iterable[Record], account: Address) -> Row | None:
    """The account's line in the ledger; None if it has nothing to do with the task. Requesters get their refunds."""
    index = task.index_of(account)
    if index is None and account != task.requester:
        return None
    events = [record.event for record in records if record.emitter == task.address]
    penalties = [e for e in events if isinstance(e, ev.WorkerPenalized) and e.worker == account]
    return Row(
        task=task.address,
        phase=task.phase.name.lower(),
        staked=0 if index is None else task.member(index).bond,
        earned=0 if index is None else sum(_earned(event, index) for event in events),
        penalised=sum(penalty.amount for penalty in penalties),
        withdrawn=sum(_taken(event, account) for event in events),
        withdrawable=withdrawable(task, account),
        rounds=sum(1 for a in task.attempts if index is not None and a.scored is not None and a.roster >> index & 1),
        paid=sum(
            1 for e in events if index is not None and isinstance(e, ev.RewardsDistributed) and e.eligible >> index & 1
        ),
        missed=sum(1 for penalty in penalties if penalty.reason == Fault.MISSED),
    )


def withdrawable(task: TaskState, account: Address) -> int:
    """What `withdraw` (and, for the requester, `refund`) would pay now, in wei."""
    owed = claims(task)
    own = sum(claim.amount for claim in owed.withdrawals if claim.account == account)
    return own + (owed.refund if account == task.requester else 0)


def movements(task: TaskState, records: Sequence[Record], tx: bytes) -> Iterator[str]:
    """What one transaction did, a sentence for each event of this task, in order."""
    for record in records:
        if record.tx == tx and record.emitter == task.address:
            yield from _sentences(task, record.event)


def _earned(event: object, index: int) -> int:
    match event:
        case ev.RewardsDistributed() if event.eligible >> index & 1:
            return (event.per_top if event.top_k >> index & 1 else event.per_rest) + event.per_forfeit
        case ev.FinalForfeits() if event.attesters >> index & 1:
            return event.per_attester
        case _:
            return 0


def _taken(event: object, account: Address) -> int:
    match event:
        case ev.Withdrawn() if event.worker == account:
            return event.amount
        case ev.Refunded() if event.requester == account:
            return event.amount
        case _:
            return 0


def _sentences(task: TaskState, event: object) -> Iterator[str]:
    match event:
        case ev.WorkerJoined():
            yield f"{short(event.worker)} joined with {money(event.collateral)}, active from round {event.active_from}."
        case ev.WorkerPenalized():
            fault = Fault(event.reason)
            lost = money(event.amount) if event.amount else "nothing yet"
            yield (
                f"{short(event.worker)} lost {lost} in round {event.round}: fault {event.reason} "
                f"({fault.name.lower()}), {FAULTS[fault]}. {money(event.bond_left)} of its bond are left."
            )
            yield from _evidence(task, event, fault)
        case ev.WorkerRemoved():
            reason = (
                _REMOVALS.get(event.reason) or f"ejected by fault {event.reason} ({Fault(event.reason).name.lower()})"
            )
            yield f"{short(event.worker)} is out: {reason}. {money(event.bond_released)} of its bond are released."
        case ev.RewardsDistributed():
            yield from _rewards(task, event)
        case ev.FinalForfeits():
            yield f"Each of the attesters received {money(event.per_attester)} of the remaining forfeits."
        case ev.Withdrawn():
            yield f"{money(event.amount)} were paid to {event.to} for {short(event.worker)}."
        case ev.Refunded():
            yield f"{money(event.amount)} of unspent reward went back to the requester {event.requester}."
        case ev.Burned():
            yield f"{money(event.amount)} of forfeits were burned; they never return to the requester."
        case ev.RoundScored():
            accepted = [short(task.member(i).account) for i in members_of(event.accepted)]
            yield f"Round {event.round} was scored; threshold {event.theta}; accepted: {', '.join(accepted) or 'none'}."
        case ev.TaskInitialized():
            yield f"The task was created with a reward of {money(event.reward)}."
        case ev.TaskEnded():
            yield (
                f"The task ended as {event.phase.name.lower()}; {money(event.refundable)} return to the requester, "
                f"{money(event.burn_pool)} are to be burned."
            )
        case _:
            yield f"{type(event).__name__}: no money moved."


def _rewards(task: TaskState, event: ev.RewardsDistributed) -> Iterator[str]:
    if not event.eligible:
        yield f"Round {event.round} paid nobody: nobody was eligible; its reward rolls forward."
    for index in members_of(event.eligible):
        place = "top" if event.top_k >> index & 1 else "rest"
        worker, amount = short(task.member(index).account), money(_earned(event, index))
        yield f"{worker} earned {amount} in round {event.round} ({place})."


def _evidence(task: TaskState, event: ev.WorkerPenalized, fault: Fault) -> Iterator[str]:
    index = task.index_of(event.worker)
    attempt = next((a for a in reversed(task.attempts) if a.round == event.round and a.scored is not None), None)
    if index is None or attempt is None or attempt.scored is None:
        return
    medians = unpack_row(attempt.scored.medians)
    if fault in (Fault.INVALID, Fault.LOW):
        median, theta = medians[lane_of(index)], attempt.scored.theta
        yield f"  Evidence: median score {median}, threshold {theta}; scores of it: {_scores_of(attempt, index)}."
    elif fault is Fault.DEVIANT and index in attempt.revealed:
        own, lows = unpack_row(attempt.revealed[index].row), unpack_row(attempt.scored.lows)
        tolerance = task.params.dev_tol
        far = [
            f"lane {k}: {own[k]} against {lows[k]} to {medians[k]}"
            for k in range(attempt.lanes)
            if k != lane_of(index)
            and (own[k] > medians[k] + tolerance or own[k] < lows[k] - tolerance)
            and _counts(attempt, k)
        ]
        yield f"  Evidence: more than {tolerance} away in {'; '.join(far) or 'more than half of its lanes'}."


def _counts(attempt: Attempt, lane: int) -> bool:
    return lane < CONTROL_LANES or lane - CONTROL_LANES in attempt.opened


def _scores_of(attempt: Attempt, index: int) -> str:
    return ", ".join(
        str(unpack_row(row.row)[lane_of(index)]) for scorer, row in attempt.revealed.items() if scorer != index
    )
