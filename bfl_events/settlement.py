"""What a judged round costs and pays: faults, penalties, ejections, rewards, streaks, and attesting's end (PROTOCOL 4).

Owns the arithmetic of money, in wei; every division floors. It judges nobody: `scoring` did.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import assert_never

from bfl_events.bitmap import EMPTY, bitmap_of, members_of, size
from bfl_events.deadlines import fine_quorum
from bfl_events.schema import Bitmap, Params, Phase, Wei
from bfl_events.state import Member, TaskState
from bfl_events.terms import BPS


class Fault(IntEnum):
    """Reasons of `WorkerPenalized` (PROTOCOL 4.2)."""

    INVALID = 1
    NO_REVEAL = 2
    MISSED = 3
    DEVIANT = 4
    LOW = 5
    NO_ATTEST = 6
    UNOPENED = 7


@dataclass(frozen=True, slots=True)
class Penalty:
    """One `WorkerPenalized`. `ejected` says that `WorkerRemoved` follows, which then releases `bond_left`."""

    index: int
    fault: Fault
    amount: Wei
    bond_left: Wei
    strikes: int
    miss_streak: int
    low_streak: int
    unopened: int
    ejected: bool


@dataclass(frozen=True, slots=True)
class SettledRound:
    """What the second step of a settlement changes.

    `credits` are the rewards by index; `penalties` stand in the contract's order; pools and `active` are the values
    afterwards. `miss_cleared` and `low_cleared` are the workers whose streaks end.
    """

    penalties: tuple[Penalty, ...]
    eligible: Bitmap
    top: Bitmap
    per_top: Wei
    per_rest: Wei
    per_forfeit: Wei
    reward_left: Wei
    forfeit_pool: Wei
    burn_pool: Wei
    active: Bitmap
    credits: Mapping[int, Wei]
    miss_cleared: Bitmap
    low_cleared: Bitmap


@dataclass(frozen=True, slots=True)
class AttestResult:
    """How attesting ends: `fined` pay fault 6, `voters` share what is left of the forfeits.

    Without a final hash nobody pays and nobody shares.
    """

    penalties: tuple[Penalty, ...]
    voters: Bitmap
    per_voter: Wei
    forfeit_pool: Wei


def share(amount: int, bps: int) -> Wei:
    """So many ten-thousandths of an amount, rounded down."""
    return Wei(amount * bps // BPS)


def round_reward(state: TaskState) -> Wei:
    """R: an equal share of what is left for the rounds that are left."""
    return Wei(state.reward_left // (state.params.rounds - state.round + 1))


def split_reward(reward: int, eligible: int, top: int, top_share_bps: int) -> tuple[Wei, Wei]:
    """(perTop, perRest) for so many eligible workers, so many of them at the top; rounding favours the top.

    Raises ZeroDivisionError if nobody is at the top: then nothing is paid.
    """
    rest = eligible - top
    rest_pool = reward * (BPS - top_share_bps) // BPS if rest else 0
    return Wei((reward - rest_pool) // top), Wei(rest_pool // rest if rest else 0)


def settle(state: TaskState) -> SettledRound:
    """The second step of a settlement, from the state after the first (`RoundScored`)."""
    params = state.params
    penalties = tuple(_penalties(state))
    active = Bitmap(state.active & ~bitmap_of(p.index for p in penalties if p.ejected))
    forfeits = sum(p.amount for p in penalties)
    burned = share(forfeits, params.burn_bps)
    pool = state.forfeit_pool + forfeits - burned
    n, k = size(state.eligible), size(state.top)
    per_top = per_rest = per_forfeit = Wei(0)
    if n:
        per_top, per_rest = split_reward(round_reward(state), n, k, params.top_share_bps)
        per_forfeit = Wei(pool // n)
    return SettledRound(
        penalties=penalties,
        eligible=state.eligible,
        top=state.top,
        per_top=per_top,
        per_rest=per_rest,
        per_forfeit=per_forfeit,
        reward_left=Wei(state.reward_left - per_top * k - per_rest * (n - k)),
        forfeit_pool=Wei(pool - per_forfeit * n),
        burn_pool=Wei(state.burn_pool + burned),
        active=active,
        credits={i: Wei((per_top if state.top >> i & 1 else per_rest) + per_forfeit)
                 for i in members_of(state.eligible)},
        miss_cleared=took_part(state, active),
        low_cleared=Bitmap(took_part(state, active) & state.accepted & ~state.deviant),
    )


def took_part(state: TaskState, active: int) -> Bitmap:
    """The active who opened and revealed: a settled round ends their miss streak, an accepted model the low one too."""
    return Bitmap(active & state.opened & state.revealed)


def faults(state: TaskState) -> dict[int, Fault]:
    """The one fault of each worker that a settlement fines, by index, ascending; from the state after `RoundScored`.

    Dropped workers answer for their models only. Scores and quality are fined only with enough rows.
    """
    active, enough = state.active, size(state.revealed) >= fine_quorum(state.roster)
    in_order = (
        (Fault.INVALID, (active | state.dropped) & state.invalid),
        (Fault.NO_REVEAL, active & state.scored & ~state.revealed),
        (Fault.UNOPENED, active & state.committed & ~state.opened),
        (Fault.MISSED, active & ~state.excused & ~(state.committed & state.scored)),
        (Fault.DEVIANT, active & state.deviant if enough else 0),
        (Fault.LOW, active & state.low if enough and state.params.max_low else 0),
    )
    found: dict[int, Fault] = {}
    for fault, guilty in in_order:
        for index in members_of(guilty):
            found.setdefault(index, fault)
    return dict(sorted(found.items()))


def _penalties(state: TaskState) -> Iterator[Penalty]:
    for index, fault in faults(state).items():
        penalty = penalise(state.params, state.member(index), fault)
        yield replace(penalty, ejected=penalty.ejected and bool(state.active >> index & 1))


def penalise(params: Params, member: Member, fault: Fault) -> Penalty:
    """What a fault costs a worker. Out: by two strikes, by misses in a row, or with less left than one slash."""
    collateral, floor = params.collateral, share(params.collateral, params.slash_bps)
    unopened = member.unopened + (fault is Fault.UNOPENED)
    missed = member.miss_streak + (fault is Fault.MISSED)
    low = member.low_streak + (fault is Fault.LOW)
    struck, bps = _severity(params, fault, unopened, low)
    strikes = member.strikes + struck
    amount = min(share(collateral, bps), member.bond)
    if fault is Fault.INVALID and strikes > 1:
        amount = member.bond
    left = Wei(member.bond - amount)
    return Penalty(
        index=member.index,
        fault=fault,
        amount=amount,
        bond_left=left,
        strikes=strikes,
        miss_streak=missed,
        low_streak=0 if fault is Fault.LOW and struck else low,
        unopened=unopened,
        ejected=(struck and strikes > 1) or (fault is Fault.MISSED and missed >= params.max_miss)
        or bool(collateral and left < floor),
    )


def _severity(params: Params, fault: Fault, unopened: int, low: int) -> tuple[bool, int]:
    """(whether it is a strike, the penalty in basis points of the collateral)."""
    match fault:
        case Fault.INVALID:
            return True, params.slash_bps
        case Fault.UNOPENED:
            return (True, params.slash_bps // 2) if unopened > 1 else (False, params.fee_bps)
        case Fault.LOW:
            return (True, params.slash_bps // 2) if low >= params.max_low else (False, 0)
        case Fault.MISSED | Fault.NO_ATTEST:
            return False, params.miss_bps
        case Fault.NO_REVEAL | Fault.DEVIANT:
            return False, params.fee_bps
        case _:
            assert_never(fault)


def attest_result(state: TaskState) -> AttestResult:
    """How attesting would end right now (fault 6, the rest of the forfeits). Raises ValueError outside Attest."""
    if state.phase is not Phase.ATTEST:
        raise ValueError(f"phase {state.phase.name}: only Attest ends with forfeits")
    if not any(state.final_hash):
        return AttestResult((), EMPTY, Wei(0), state.forfeit_pool)
    absent = members_of(state.active & ~state.attested)
    penalties = tuple(
        replace(penalise(state.params, state.member(i), Fault.NO_ATTEST), ejected=False) for i in absent)
    voters = bitmap_of(
        i for i in members_of(state.active & state.attested) if state.attestations[i].final_hash == state.final_hash)
    pool = state.forfeit_pool + sum(p.amount for p in penalties)
    per_voter = Wei(pool // size(voters))
    return AttestResult(penalties, voters, per_voter, Wei(pool - per_voter * size(voters)))
