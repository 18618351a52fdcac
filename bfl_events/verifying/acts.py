"""Whether a member's call could have succeeded: for each event that a call begins with, what it had to say.

Owns the contract's checks as seen from its logs. What follows from an act is `transitions`' business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bfl_events import schema as ev
from bfl_events.bitmap import bit
from bfl_events.deadlines import Removal
from bfl_events.schema import Address, Phase, Record
from bfl_events.scoring import row_faults, words_for
from bfl_events.state import TaskState
from bfl_events.terms import MAX_CID_BYTES, MAX_KEY_BYTES
from bfl_events.verifying.evidence import Evidence, digest_of, true_opener

NEED_MODEL, CHECKPOINT = 1, 3
Act = (
    ev.WorkerJoined | ev.WorkerLeaving | ev.WorkerRemoved | ev.ModelCommitted | ev.ModelSubmitted | ev.ScoresCommitted
    | ev.ScoresSubmitted | ev.KeyRotated | ev.Notice | ev.FinalAttested | ev.Withdrawn | ev.Refunded | ev.Burned
)


@dataclass(slots=True)
class Verdict:
    """`wants` are the fields that follow from the lines before, `problems` what no other value would mend.

    `lines`, or those of the members in `doubts`, may be the wrong ones instead; `instead` are values to go on with
    where the true ones cannot be known.
    """

    wants: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    doubts: list[Address] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    instead: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Context:
    """What an act is checked against."""

    state: TaskState
    chain_id: int
    evidence: Evidence


def check_act(context: Context, number: int, record: Record, act: Act) -> Verdict:
    """Everything that is wrong with an act that stands in line `number`."""
    state, verdict = context.state, Verdict()
    match act:
        case ev.WorkerJoined():
            _joined(context, record, act, verdict)
        case ev.WorkerLeaving():
            _leaving(state, record, act, verdict)
        case ev.WorkerRemoved():
            _gave_up_seat(state, act, verdict)
        case ev.ModelCommitted() | ev.ScoresCommitted():
            _committed(context, record, act, verdict)
        case ev.ModelSubmitted() | ev.ScoresSubmitted():
            _opened(context, number, record, act, verdict)
        case ev.KeyRotated():
            verdict.wants["effective_round"] = state.round + 1
            _require_key(act.enc_key, verdict)
            if act.who != state.requester:
                _require_member(state, act.who, verdict)
        case ev.Notice():
            _notice(state, act, verdict)
        case ev.FinalAttested():
            _attested(state, record, act, verdict)
        case ev.Withdrawn():
            _withdrawn(state, act, verdict)
        case ev.Refunded():
            verdict.wants |= {"requester": state.requester, "amount": state.reward_left}
            _require_ended(state, verdict)
        case ev.Burned():
            verdict.wants["amount"] = state.burn_pool
            _require_ended(state, verdict)
    return verdict


def _joined(context: Context, record: Record, act: ev.WorkerJoined, verdict: Verdict) -> None:
    state, running = context.state, context.state.phase.in_round
    free = next((i for i, member in enumerate(state.members) if member is None), state.count)
    verdict.wants |= {
        "index": state.count if running else free, "active_from": state.round + 1,
        "collateral": state.params.collateral,
    }
    stranger = context.evidence.renamed.get(act.worker)
    if stranger is not None:
        verdict.wants["worker"] = stranger.account
        verdict.lines += stranger.lines if len(stranger.lines) == 1 else ()      # one name is wrong, not several
    if state.phase is not Phase.JOINING and not (running and state.params.late_join
                                                 and state.round < state.params.rounds):
        verdict.problems.append(f"nobody can join in phase {state.phase.name} of round {state.round}")
    if act.worker in state.seats:
        verdict.problems.append(f"{act.worker} has a seat already")
        verdict.doubts.append(act.worker)
    if act.worker == state.requester:
        verdict.problems.append("the requester cannot be a worker")
    if verdict.wants["index"] >= state.params.max_workers:
        verdict.problems.append(f"all {state.params.max_workers} seats are taken")
    _require_key(act.enc_key, verdict)
    _require_in_time(state, record, verdict)


def _leaving(state: TaskState, record: Record, act: ev.WorkerLeaving, verdict: Verdict) -> None:
    verdict.wants["round"] = state.round
    if not state.phase.in_round:
        verdict.problems.append(f"nobody leaves like this in phase {state.phase.name}")
    _require_member(state, act.worker, verdict)
    index = state.index_of(act.worker)
    if index is not None and state.leaving & bit(index):
        verdict.problems.append(f"{act.worker} has announced this before")
        verdict.doubts.append(act.worker)
    _require_in_time(state, record, verdict)


def _gave_up_seat(state: TaskState, act: ev.WorkerRemoved, verdict: Verdict) -> None:
    verdict.wants |= {"round": 0, "reason": Removal.LEFT}
    index = state.index_of(act.worker)
    if state.phase is not Phase.JOINING:
        verdict.problems.append(f"nothing in phase {state.phase.name} removes a worker here")
    elif index is None:
        verdict.problems.append(f"{act.worker} has no seat")
    else:
        verdict.wants["bond_released"] = state.member(index).bond


def _committed(
    context: Context, record: Record, act: ev.ModelCommitted | ev.ScoresCommitted, verdict: Verdict
) -> None:
    state = context.state
    owner = context.evidence.owners.get(act.commitment)
    verdict.wants |= {"round": state.round, "attempt": state.attempt}
    if owner is not None and (owner.round, owner.attempt) == (state.round, state.attempt):
        verdict.wants["worker"] = owner.worker
    _require_active(state, verdict.wants.get("worker", act.worker), verdict)
    _require_phase(state, Phase.TRAIN if isinstance(act, ev.ModelCommitted) else Phase.SCORE, record, verdict)


def _opened(
    context: Context, number: int, record: Record, act: ev.ModelSubmitted | ev.ScoresSubmitted, verdict: Verdict
) -> None:
    state, models = context.state, isinstance(act, ev.ModelSubmitted)
    phase, committed, done = (
        (Phase.OPEN, state.committed, state.opened) if models else (Phase.REVEAL, state.scored, state.revealed))
    verdict.wants |= {"round": state.round, "attempt": state.attempt}
    _require_phase(state, phase, record, verdict)
    index = state.index_of(act.worker)
    meant = replace(act, round=state.round, attempt=state.attempt)
    digest = (context.evidence.digests[number] if meant == act and number in context.evidence.digests
              else digest_of(context.chain_id, state.address, meant))
    if index is None or not committed & bit(index) or state.member(index).commitment != digest:
        waiting = {m.account: m.commitment for m in state.members
                   if m is not None and committed & ~done & bit(m.index)}
        opener = true_opener(context.chain_id, state.address, meant, waiting)
        if opener is None:
            verdict.problems.append(f"{act.worker} logged no commitment in this phase that this opens")
            verdict.doubts.append(act.worker)
        else:
            verdict.wants["worker"] = opener
            index = state.index_of(opener)
    if index is not None and done & bit(index):
        verdict.problems.append(f"{act.worker} has done this before")
    _check_content(state, index, act, verdict)


def _check_content(
    state: TaskState, index: int | None, act: ev.ModelSubmitted | ev.ScoresSubmitted, verdict: Verdict
) -> None:
    match act:
        case ev.ModelSubmitted():
            if len(act.cid) > MAX_CID_BYTES:
                verdict.problems.append(f"cid has {len(act.cid)} bytes, more than {MAX_CID_BYTES}")
            if not 0 <= act.size < 2**64:
                verdict.problems.append(f"size is {act.size}, outside 64 bits")
        case ev.ScoresSubmitted():
            broken = row_faults(act.row, index, state.lanes) if index is not None else ()
            verdict.problems += broken
            if broken:                       # nothing can be computed from it
                verdict.instead["row"] = (0,) * words_for(state.lanes)


def _notice(state: TaskState, act: ev.Notice, verdict: Verdict) -> None:
    if not NEED_MODEL <= act.kind <= CHECKPOINT:
        verdict.problems.append(f"there is no kind {act.kind} of notice")
    if len(act.cid) > MAX_CID_BYTES:
        verdict.problems.append(f"cid has {len(act.cid)} bytes, more than {MAX_CID_BYTES}")
    if act.sender != state.requester or act.kind != NEED_MODEL:
        _require_member(state, act.sender, verdict)


def _attested(state: TaskState, record: Record, act: ev.FinalAttested, verdict: Verdict) -> None:
    _require_phase(state, Phase.ATTEST, record, verdict)
    _require_active(state, act.worker, verdict)
    index = state.index_of(act.worker)
    if index is not None and state.attested & bit(index):
        verdict.problems.append(f"{act.worker} has attested already")
        verdict.doubts.append(act.worker)
    if not any(act.final_hash):
        verdict.problems.append("nobody can attest the hash 0")
    if len(act.cid) > MAX_CID_BYTES:
        verdict.problems.append(f"cid has {len(act.cid)} bytes, more than {MAX_CID_BYTES}")


def _withdrawn(state: TaskState, act: ev.Withdrawn, verdict: Verdict) -> None:
    index = state.index_of(act.worker)
    if index is None:
        verdict.problems.append(f"{act.worker} has no seat")
        verdict.doubts += [one.account for one in state.members if one is not None and one.payout == act.to]
        return
    member = state.member(index)
    owed = member.credit + (member.bond if state.phase.ended else 0)
    verdict.wants |= {"to": member.payout, "amount": owed}
    verdict.doubts.append(act.worker)
    if not owed:
        verdict.problems.append(f"{act.worker} has nothing to withdraw")


def _require_phase(state: TaskState, phase: Phase, record: Record, verdict: Verdict) -> None:
    if state.phase is not phase:
        verdict.problems.append(f"it belongs to phase {phase.name}, but the task is in {state.phase.name}")
    _require_in_time(state, record, verdict)


def _require_in_time(state: TaskState, record: Record, verdict: Verdict) -> None:
    if state.phase is not Phase.SETTLE and not state.phase.ended and record.time > state.deadline:
        verdict.problems.append(f"the phase was over at {state.deadline}, and this is logged at {record.time}")


def _require_active(state: TaskState, account: Address, verdict: Verdict) -> None:
    index = state.index_of(account)
    if index is None or not state.active & bit(index):
        verdict.problems.append(f"{account} is not active")


def _require_member(state: TaskState, account: Address, verdict: Verdict) -> None:
    index = state.index_of(account)
    if index is None or not (state.active | state.pending) & bit(index):
        verdict.problems.append(f"{account} is no member")


def _require_ended(state: TaskState, verdict: Verdict) -> None:
    if not state.phase.ended:
        verdict.problems.append(f"the task is in phase {state.phase.name} and has not ended")


def _require_key(key: bytes, verdict: Verdict) -> None:
    if not 1 <= len(key) <= MAX_KEY_BYTES:
        verdict.problems.append(f"an encryption key has 1 … {MAX_KEY_BYTES} bytes, not {len(key)}")


def mended(act: Act, wants: Mapping[str, Any]) -> Act:
    """The act as the lines before require it."""
    return replace(act, **wants)
