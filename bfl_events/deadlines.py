"""Who is waited for, until when, and what time brings: quorum, early exit, deadlines, what is due (PROTOCOL 2.1).

Owns decisions that need no money. `now` is always a block's time, in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Literal

from bfl_events.bitmap import EMPTY, bitmap_of, members_of, size
from bfl_events.schema import Address, Bitmap, Params, Phase, Wei
from bfl_events.state import TaskState
from bfl_events.terms import SETTLE_GRACE


class Removal(IntEnum):
    """Why a worker is out, beyond the faults 1 … 7 (PROTOCOL 4.2)."""

    LEFT = 0
    DROPPED = 8
    DROPPED_EXCUSED = 9
    RELEASED = 10


class After(Enum):
    """What follows a missed deadline."""

    NEXT_PHASE = "the next phase"
    EXTENDED = "a fresh window for the same phase"
    RESTARTED = "a new attempt at the round"
    EXPIRED = "the end of the task"


@dataclass(frozen=True, slots=True)
class Deadline:
    """What `nextRound` does when a phase's deadline has passed.

    `dropped`, `active` and `voids` are the values afterwards, as `DeadlineMissed` logs them. `missed` gain one in
    their miss streak and `reset` lose theirs; `fallen` fall out now, of which `leavers` were excused.
    """

    phase: Phase
    absent: Bitmap
    dropped: Bitmap
    active: Bitmap
    voids: int
    missed: Bitmap
    reset: Bitmap
    fallen: Bitmap
    leavers: Bitmap
    after: After


@dataclass(frozen=True, slots=True)
class Due:
    """A call that anybody can make with success from block time `since` on."""

    call: Literal["startTask", "nextRound"]
    since: int


@dataclass(frozen=True, slots=True)
class Claim:
    """Money that `withdraw(account)` would pay to `payout`."""

    account: Address
    payout: Address
    amount: Wei


@dataclass(frozen=True, slots=True)
class Claims:
    """All that can be moved out of a task's contract right now."""

    withdrawals: tuple[Claim, ...]
    refund: Wei
    burn: Wei

    @property
    def empty(self) -> bool:
        return not self.withdrawals and not self.refund and not self.burn


def quorum(active: int) -> int:
    """A majority of the active, at least two."""
    return max(2, size(active) // 2 + 1)


def fine_quorum(roster: int) -> int:
    """Revealed rows without which faults 4 and 5 are not fined: 2f + 1, f of a roster this large (PROTOCOL 4.2)."""
    others = size(roster) - 1
    return 2 * (others // 3 if others >= 15 else others // 2) + 1


def window(params: Params, phase: Phase) -> int:
    """Seconds a phase may last; 0 for the phases that have no deadline of their own."""
    windows = {
        Phase.JOINING: params.join_window, Phase.TRAIN: params.train_window, Phase.OPEN: params.open_window,
        Phase.SCORE: params.score_window, Phase.REVEAL: params.reveal_window, Phase.ATTEST: params.attest_window,
    }
    return windows.get(phase, 0)


def expected(state: TaskState) -> Bitmap:
    """Who is waited for in this phase; empty where nobody is."""
    match state.phase:
        case Phase.TRAIN | Phase.SCORE:
            return Bitmap(state.active & ~state.excused)
        case Phase.OPEN:
            return Bitmap(state.active & state.committed)
        case Phase.REVEAL:
            return Bitmap(state.active & state.scored)
        case Phase.ATTEST:
            return state.active
        case _:
            return EMPTY


def actors(state: TaskState) -> Bitmap:
    """Who of the active has acted in this phase."""
    match state.phase:
        case Phase.TRAIN:
            acted = state.committed
        case Phase.OPEN:
            acted = state.opened
        case Phase.SCORE:
            acted = state.scored
        case Phase.REVEAL:
            acted = state.revealed
        case Phase.ATTEST:
            acted = state.attested
        case _:
            acted = EMPTY
    return Bitmap(acted & state.active)


def phase_complete(state: TaskState) -> bool:
    """Whether a phase of a round ends early: everybody expected has acted, and at least a quorum has."""
    if not Phase.TRAIN <= state.phase <= Phase.REVEAL:
        return False
    acted = actors(state)
    return not expected(state) & ~acted and size(acted) >= quorum(state.active)


def deadline_passes(state: TaskState) -> Deadline:
    """What `nextRound` would do in Train, Open, Score or Reveal once the deadline has passed, as things stand.

    Raises ValueError in another phase.
    """
    if not Phase.TRAIN <= state.phase <= Phase.REVEAL:
        raise ValueError(f"phase {state.phase.name} has no deadline at which nextRound drops anybody")
    acted, waited = actors(state), expected(state)
    absent = Bitmap(waited & ~acted)
    if size(acted) >= quorum(state.active):
        return Deadline(state.phase, absent, state.dropped, state.active, state.voids, EMPTY, EMPTY, EMPTY, EMPTY,
                        After.NEXT_PHASE)
    leavers = Bitmap(state.excused & state.active)
    fallen = Bitmap(leavers | bitmap_of(
        i for i in members_of(absent) if state.member(i).miss_streak + 1 >= state.params.max_miss))
    active, voids = Bitmap(state.active & ~fallen), state.voids + 1
    return Deadline(state.phase, absent, Bitmap(state.dropped | fallen), active, voids, absent, acted, fallen, leavers,
                    _after(state.params, active, voids, acted, waited))


def _after(params: Params, active: Bitmap, voids: int, acted: Bitmap, waited: Bitmap) -> After:
    if voids > params.max_void or size(active) < params.min_active:
        return After.EXPIRED
    if size(acted & active) >= quorum(active):
        return After.NEXT_PHASE
    return After.EXTENDED if size(waited & active) >= quorum(active) else After.RESTARTED


def due(state: TaskState, now: int, *, caller: Address | None = None) -> Due | None:
    """The permissionless call that succeeds at block time `now`; None if there is none, `NothingDue` then.

    `startTask` is due for the requester, if it is the `caller`, as soon as there are enough workers.
    """
    match state.phase:
        case Phase.JOINING:
            return _start_due(state, now, caller)
        case Phase.TRAIN | Phase.OPEN | Phase.SCORE | Phase.REVEAL:
            since = min(state.deadline, state.params.hard_stop) + 1
        case Phase.SETTLE:
            since = state.since.time
        case Phase.ATTEST:
            since = state.since.time if state.attested == state.active else state.deadline + 1
        case _:
            return None
    return Due("nextRound", since) if now >= since else None


def hard_stop_passed(state: TaskState, now: int) -> bool:
    """Whether `completeTask` may expire the task: past the hard stop, 30 days later while a settlement waits."""
    if not state.phase.in_round:
        return False
    return now > state.params.hard_stop + (SETTLE_GRACE if state.phase is Phase.SETTLE else 0)


def _start_due(state: TaskState, now: int, caller: Address | None) -> Due | None:
    enough = size(state.active) >= state.params.min_workers
    full = size(state.active) == state.params.max_workers
    at_once = enough and (full or caller == state.requester)
    since = state.since.time if at_once else state.deadline + 1
    return Due("startTask", since) if now >= since else None


def claims(state: TaskState) -> Claims:
    """What `withdraw`, `refund` and `burn` would pay right now; bonds too once the task has ended."""
    ended = state.phase.ended
    owed = ((m, m.credit + (m.bond if ended else 0)) for m in state.members if m is not None)
    return Claims(
        withdrawals=tuple(Claim(m.account, m.payout, Wei(amount)) for m, amount in owed if amount),
        refund=state.reward_left if ended else Wei(0),
        burn=state.burn_pool if ended else Wei(0),
    )
