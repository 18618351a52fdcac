"""The settlement of a round, attesting, and the end."""

from __future__ import annotations

from bfl_events import schema as ev
from bfl_events.bitmap import bit, members_of
from bfl_events.folding.checks import (
    FoldError,
    ended,
    equal,
    evolve_member,
    evolve_task,
    in_phase,
    in_settlement,
    member_at,
    once,
    seat,
    with_attempt,
    with_member,
)
from bfl_events.schema import Bitmap, Phase, Record, Wei
from bfl_events.scoring import eligible_workers, low_workers
from bfl_events.settlement import Fault, share, took_part
from bfl_events.state import Attestation, Position, TaskState


def round_scored(state: TaskState, record: Record, event: ev.RoundScored, at: Position) -> TaskState:
    in_settlement(state, record, event.round, step=0)
    return evolve_task(
        state, step=1, accepted=event.accepted, top=event.top_k, deviant=event.deviant, invalid=event.invalid,
        eligible=eligible_workers(event.accepted, state.opened, state.revealed, event.deviant),
        low=low_workers(state.params, event), attempts=with_attempt(state, scored=event), at=at,
    )


def penalized(state: TaskState, record: Record, event: ev.WorkerPenalized, at: Position) -> TaskState:
    index = seat(state, record, event.worker)
    member = state.member(index)
    equal(record, "bondLeft", event.bond_left, member.bond - event.amount)
    struck = event.strikes - member.strikes
    if struck not in (0, 1):
        raise FoldError(record, f"strikes go from {member.strikes} to {event.strikes}")
    if event.reason not in set(Fault):
        raise FoldError(record, f"there is no fault {event.reason}")
    in_phase(state, record, Phase.ATTEST if event.reason == Fault.NO_ATTEST else Phase.SETTLE)
    low = member.low_streak
    if event.reason == Fault.LOW:
        low = 0 if struck else low + 1
    members = with_member(
        state, index, bond=event.bond_left, strikes=event.strikes, low_streak=low,
        miss_streak=member.miss_streak + (event.reason == Fault.MISSED),
        unopened=member.unopened + (event.reason == Fault.UNOPENED),
    )
    return evolve_task(state, members=members, fined=Wei(state.fined + event.amount), at=at)


def rewards_distributed(
    state: TaskState, record: Record, event: ev.RewardsDistributed, at: Position
) -> TaskState:
    in_settlement(state, record, event.round, step=1)
    equal(record, "eligible", event.eligible, state.eligible)
    equal(record, "topK", event.top_k, state.top)
    members, tried = list(state.members), took_part(state, state.active)
    good = tried & state.accepted & ~state.deviant
    for index in members_of(event.eligible | tried):
        member, mark = member_at(state, record, index), bit(index)
        earned = (event.per_top if event.top_k & mark else event.per_rest) + event.per_forfeit
        members[index] = evolve_member(
            member,
            credit=Wei(member.credit + earned) if event.eligible & mark else member.credit,
            miss_streak=0 if tried & mark else member.miss_streak,
            low_streak=0 if good & mark else member.low_streak,
        )
    return evolve_task(
        state, step=2, voids=0, members=tuple(members), reward_left=event.reward_left,
        forfeit_pool=event.forfeit_pool, fined=Wei(0),
        burn_pool=Wei(state.burn_pool + share(state.fined, state.params.burn_bps)),
        attempts=with_attempt(state, paid=event), at=at,
    )


def attested(state: TaskState, record: Record, event: ev.FinalAttested, at: Position) -> TaskState:
    in_phase(state, record, Phase.ATTEST)
    index = seat(state, record, event.worker)
    once(record, index, allowed=state.active, done=state.attested)
    attestation = Attestation(event.final_hash, event.cid, at)
    return evolve_task(
        state, members=with_member(state, index, commitment=event.final_hash),
        attested=Bitmap(state.attested | bit(index)),
        attestations={**state.attestations, index: attestation}, at=at,
    )


def final_forfeits(state: TaskState, record: Record, event: ev.FinalForfeits, at: Position) -> TaskState:
    in_phase(state, record, Phase.ATTEST)
    members = list(state.members)
    for index in members_of(event.attesters):
        member = member_at(state, record, index)
        members[index] = evolve_member(member, credit=Wei(member.credit + event.per_attester))
    return evolve_task(
        state, members=tuple(members), forfeit_pool=event.forfeit_pool, fined=Wei(0), at=at)


def task_ended(state: TaskState, record: Record, event: ev.TaskEnded, at: Position) -> TaskState:
    if state.phase.ended or not event.phase.ended:
        raise FoldError(record, f"a task in phase {state.phase.name} cannot end in {event.phase.name}")
    equal(record, "refundable", event.refundable, state.reward_left)
    return evolve_task(
        state, phase=event.phase, since=at, forfeit_pool=Wei(0), burn_pool=event.burn_pool, fined=Wei(0), at=at)


def refunded(state: TaskState, record: Record, event: ev.Refunded, at: Position) -> TaskState:
    ended(state, record)
    equal(record, "requester", event.requester, state.requester)
    equal(record, "amount", event.amount, state.reward_left)
    return evolve_task(state, reward_left=Wei(0), refunded=Wei(state.refunded + event.amount), at=at)


def burned(state: TaskState, record: Record, event: ev.Burned, at: Position) -> TaskState:
    ended(state, record)
    equal(record, "amount", event.amount, state.burn_pool)
    return evolve_task(state, burn_pool=Wei(0), burned=Wei(state.burned + event.amount), at=at)
