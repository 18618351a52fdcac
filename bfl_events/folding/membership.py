"""Joining, leaving, keys, and money that goes out: what changes a member outside a round's phases."""

from __future__ import annotations

from bfl_events import schema as ev
from bfl_events.bitmap import bit
from bfl_events.deadlines import Removal
from bfl_events.folding.checks import FoldError, equal, evolve_task, in_phase, seat, with_member
from bfl_events.schema import Bitmap, Phase, Record, Wei
from bfl_events.state import EncryptionKey, Member, Position, Standing, TaskState


def joined(state: TaskState, record: Record, event: ev.WorkerJoined, at: Position) -> TaskState:
    running = state.phase.in_round
    if not running:
        in_phase(state, record, Phase.JOINING)
    if event.worker in state.seats:
        raise FoldError(record, f"{event.worker} has a seat already")
    members, index, mark = state.members, event.index, bit(event.index)
    freed = index < len(members) and members[index] is None
    if not freed and index != len(members):
        raise FoldError(record, f"seat {index} is not free")
    newcomer = Member(
        account=event.worker, index=index, payout=event.payout, join_round=event.active_from,
        bond=event.collateral, credit=Wei(0), keys=(EncryptionKey(event.active_from, event.enc_key, at),),
    )
    members = (*members[:index], newcomer, *members[index + 1:])
    return evolve_task(
        state, members=members, count=len(members), seats={**state.seats, event.worker: index},
        active=state.active if running else Bitmap(state.active | mark),
        pending=Bitmap(state.pending | mark) if running else state.pending, at=at,
    )


def leaving(state: TaskState, record: Record, event: ev.WorkerLeaving, at: Position) -> TaskState:
    index = seat(state, record, event.worker)
    mark = bit(index)
    if not state.phase.in_round or not (state.active | state.pending) & mark:
        raise FoldError(record, f"{event.worker} is no member of a running task")
    if state.leaving & mark:
        raise FoldError(record, f"{event.worker} is leaving already")
    owes_nothing = state.phase is Phase.TRAIN and state.active & ~state.committed & mark
    return evolve_task(
        state, members=with_member(state, index, status=Standing.LEAVING),
        leaving=Bitmap(state.leaving | mark),
        excused=Bitmap(state.excused | mark) if owes_nothing else state.excused, at=at,
    )


def removed(state: TaskState, record: Record, event: ev.WorkerRemoved, at: Position) -> TaskState:
    index = seat(state, record, event.worker)
    member, others = state.member(index), ~bit(index)
    if event.reason in (Removal.DROPPED, Removal.DROPPED_EXCUSED):
        equal(record, "bondReleased", event.bond_released, 0)
        return evolve_task(state, members=with_member(state, index, status=Standing.GONE), at=at)
    equal(record, "bondReleased", event.bond_released, member.bond)
    active = Bitmap(state.active & others)
    if state.phase is Phase.JOINING:
        members = (*state.members[:index], None, *state.members[index + 1:])
        seats = {account: taken for account, taken in state.seats.items() if taken != index}
        return evolve_task(state, members=members, seats=seats, active=active, at=at)
    members = with_member(
        state, index, status=Standing.GONE, bond=Wei(0), credit=Wei(member.credit + member.bond))
    return evolve_task(
        state, members=members, active=active, pending=Bitmap(state.pending & others),
        dropped=Bitmap(state.dropped & others), at=at,
    )


def key_rotated(state: TaskState, record: Record, event: ev.KeyRotated, at: Position) -> TaskState:
    key = EncryptionKey(event.effective_round, event.enc_key, at)
    if event.who == state.requester:
        return evolve_task(state, requester_keys=(*state.requester_keys, key), at=at)
    index = seat(state, record, event.who)
    keys = (*state.member(index).keys, key)
    return evolve_task(state, members=with_member(state, index, keys=keys), at=at)


def withdrawn(state: TaskState, record: Record, event: ev.Withdrawn, at: Position) -> TaskState:
    total = Wei(state.withdrawn + event.amount)
    index = state.seats.get(event.worker)
    if index is None:                       # the bond of a seat that was just given up while joining
        in_phase(state, record, Phase.JOINING)
        return evolve_task(state, withdrawn=total, at=at)
    member = state.member(index)
    equal(record, "to", event.to, member.payout)
    bond = member.bond if state.phase.ended else Wei(0)
    equal(record, "amount", event.amount, member.credit + bond)
    members = with_member(state, index, credit=Wei(0), bond=Wei(member.bond - bond))
    return evolve_task(state, members=members, withdrawn=total, at=at)
