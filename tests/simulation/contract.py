"""A Python model of FLTaskFactory and FLTask: the same calls, checks, typed errors and events as the Solidity contract.

Its storage is the fold of its own logs, its transitions are `bfl_events.transitions`; what it adds are the checks of
each call, in the contract's order. Differentially tested against the EVM in tests/system/test_fold_equals_views.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bfl_events import schema as ev, transitions
from bfl_events.commitment import (
    Creation,
    Place,
    address_bytes,
    audit_seed,
    model_commitment,
    score_commitment,
    task_address,
)
from bfl_events.fold import Created, apply, begin
from bfl_events.keccak import keccak256
from bfl_events.rules import bit, check_params, hard_stop_passed, row_faults, size
from bfl_events.schema import Address, Event, Params, Phase, Record, Wei
from bfl_events.state import TaskState
from bfl_events.terms import MAX_CID_BYTES, MAX_KEY_BYTES
from bfl_events.transitions import Steps, Surroundings
from tests.simulation.chain import ChainModel, ContractError

NOBODY: Final = "0x" + "00" * 20
FURNACE: Final = "0x000000000000000000000000000000000000dEaD"
NEED_MODEL, CHECKPOINT = 1, 3


class WrongPhase(ContractError): ...
class PhaseOver(ContractError): ...
class NothingDue(ContractError): ...
class NotActive(ContractError): ...
class WrongRound(ContractError): ...
class WrongAttempt(ContractError): ...
class BadParams(ContractError): ...
class BadValue(ContractError): ...
class AlreadyRegistered(ContractError): ...
class AlreadyDone(ContractError): ...
class Full(ContractError): ...
class NotAllowed(ContractError): ...
class BadReveal(ContractError): ...
class BadScores(ContractError): ...
class NothingToWithdraw(ContractError): ...
class TaskExists(ContractError): ...


def is_key(key: bytes) -> bool:
    return 1 <= len(key) <= MAX_KEY_BYTES


def is_cid(cid: bytes) -> bool:
    return len(cid) <= MAX_CID_BYTES


def allow_leaf(account: Address) -> bytes:
    """OpenZeppelin's leaf of ["address"]."""
    return keccak256(keccak256(bytes(12) + address_bytes(account)))


def allow_node(a: bytes, b: bytes) -> bytes:
    """OpenZeppelin's inner node: the pair in ascending order."""
    return keccak256(min(a, b) + max(a, b))


class FactoryModel:
    """FLTaskFactory."""

    def __init__(self, chain: ChainModel, address: Address, implementation: Address) -> None:
        self.chain, self.address, self.implementation = chain, address, implementation
        self.tasks: dict[Address, TaskModel] = {}

    def create_task(
        self, sender: Address, nonce: bytes, params: Params, spec_cid: bytes, model_cid: bytes, requester_key: bytes,
        *, value: int,
    ) -> TaskModel:
        creation = Creation(sender, nonce, params, spec_cid, model_cid, requester_key, value)
        address = task_address(self.address, self.implementation, creation)
        if address in self.tasks:
            raise TaskExists(address)
        if check_params(params, self.chain.time, value):
            raise BadParams
        if not is_cid(spec_cid) or not is_cid(model_cid) or not is_key(requester_key):
            raise BadParams
        self.chain.begin_transaction()
        created = self.chain.stamp(self.address, ev.TaskCreated(address, sender, nonce))
        deadline = self.chain.time + params.join_window
        opened = self.chain.stamp(address, ev.TaskInitialized(
            sender, Wei(value), params, spec_cid, model_cid, requester_key, deadline))
        self.chain.pay(sender, address, value)
        self.chain.commit((created, opened))
        self.tasks[address] = TaskModel(self.chain, begin(created), opened)
        return self.tasks[address]


class TaskModel:
    """FLTask. Every call takes its sender first and returns the events it logged; `state` is what the views return."""

    def __init__(self, chain: ChainModel, created: Created, opened: Record) -> None:
        self.chain = chain
        self.address = created.address
        self.state: TaskState = apply(created, opened)

    @property
    def balance(self) -> int:
        return self.chain.balances[self.address]

    # ------------------------------------------------------------------------------------------------ joining

    def join_task(
        self, sender: Address, payout: Address, enc_key: bytes, proof: Sequence[bytes] = (), *, value: int
    ) -> tuple[Event, ...]:
        call, s = self._call(), self.state
        running = s.phase.in_round
        if not running:
            self._require_phase(Phase.JOINING)
        elif not s.params.late_join or s.round == s.params.rounds:
            raise WrongPhase(s.phase)
        self._require_in_time()
        if sender in s.seats:
            raise AlreadyRegistered
        if sender == s.requester:
            raise NotAllowed
        if not is_key(enc_key) or payout == self.address or value != s.params.collateral:
            raise BadValue
        self._require_listed(sender, proof)
        free = next((i for i in range(s.count) if not s.active & bit(i)), s.count)
        index = s.count if running else free
        if index >= s.params.max_workers:
            raise Full
        self.chain.pay(sender, self.address, value)
        to = sender if payout == NOBODY else payout
        return call.log(ev.WorkerJoined(sender, index, to, Wei(value), s.round + 1, enc_key)).done()

    def remove_worker(self, sender: Address) -> tuple[Event, ...]:
        call, s = self._call(), self.state
        index = self._seat(sender)
        if s.phase is Phase.JOINING:
            return self._give_up_seat(call, index)
        if not s.phase.in_round:
            raise WrongPhase(s.phase)
        self._require_in_time()
        mark = bit(index)
        if not (s.active | s.pending) & mark:
            raise NotActive
        if s.leaving & mark:
            raise AlreadyDone
        call.log(ev.WorkerLeaving(s.round, sender))
        if s.phase is Phase.TRAIN and s.active & ~s.committed & mark:
            call.run(transitions.leave_if_complete(call.state, call.block))
        return call.done()

    def start_task(self, sender: Address) -> tuple[Event, ...]:
        call, s = self._call(), self.state
        self._require_phase(Phase.JOINING)
        joined, late = size(s.active), self.chain.time > s.deadline
        if self.chain.time > s.params.hard_stop or (late and joined < s.params.min_workers):
            return call.run(transitions.end(s, Phase.CANCELLED)).done()
        if joined < s.params.min_workers:
            raise NotAllowed
        if not late and joined < s.params.max_workers and sender != s.requester:
            raise NotAllowed
        return call.run(transitions.start(s, call.block)).done()

    def cancel_task(self, sender: Address) -> tuple[Event, ...]:
        call = self._call()
        self._require_phase(Phase.JOINING)
        if sender != self.state.requester:
            raise NotAllowed
        return call.run(transitions.end(self.state, Phase.CANCELLED)).done()

    # ------------------------------------------------------------------------------------------------ a round

    def commit_model(
        self, sender: Address, round_number: int, attempt: int, commitment: bytes, base_hash: bytes
    ) -> tuple[Event, ...]:
        call = self._call()
        self._actor(sender, Phase.TRAIN, round_number)
        self._require_attempt(attempt)
        call.log(ev.ModelCommitted(round_number, sender, attempt, commitment, base_hash))
        return call.run(transitions.leave_if_complete(call.state, call.block)).done()

    def open_model(
        self, sender: Address, round_number: int, model_hash: bytes, salt: bytes, size_bytes: int, cid: bytes
    ) -> tuple[Event, ...]:
        call, s = self._call(), self.state
        index = self._actor(sender, Phase.OPEN, round_number)
        if s.opened & bit(index):
            raise AlreadyDone
        if not is_cid(cid):
            raise BadValue
        commitment = model_commitment(self._place(), sender, model_hash, salt)
        if not s.committed & bit(index) or s.member(index).commitment != commitment:
            raise BadReveal
        call.log(ev.ModelSubmitted(round_number, sender, s.attempt, model_hash, salt, size_bytes, cid))
        return call.run(transitions.leave_if_complete(call.state, call.block)).done()

    def commit_scores(
        self, sender: Address, round_number: int, attempt: int, commitment: bytes
    ) -> tuple[Event, ...]:
        call = self._call()
        self._actor(sender, Phase.SCORE, round_number)
        self._require_attempt(attempt)
        call.log(ev.ScoresCommitted(round_number, sender, attempt, commitment))
        return call.run(transitions.leave_if_complete(call.state, call.block)).done()

    def submit_score(
        self, sender: Address, round_number: int, row: Sequence[int], salt: bytes
    ) -> tuple[Event, ...]:
        call, s = self._call(), self.state
        index = self._actor(sender, Phase.REVEAL, round_number)
        if s.revealed & bit(index):
            raise AlreadyDone
        commitment = score_commitment(self._place(), sender, row, salt)
        if not s.scored & bit(index) or s.member(index).commitment != commitment:
            raise BadReveal
        if row_faults(row, index, s.lanes):
            raise BadScores
        words = tuple(ev.Word(word) for word in row)
        call.log(ev.ScoresSubmitted(round_number, sender, s.attempt, words, salt))
        return call.run(transitions.leave_if_complete(call.state, call.block)).done()

    def next_round(self, sender: Address = NOBODY) -> tuple[Event, ...]:
        call, s = self._call(), self.state
        missed = Phase.TRAIN <= s.phase <= Phase.REVEAL and self.chain.time > s.deadline
        if missed or s.phase is Phase.SETTLE:
            return call.run(transitions.advance(s, call.block)).done()
        ending = self._end_if_due()
        if ending is None:
            raise NothingDue
        return call.run(ending).done()

    def submit_round_top_k(self, sender: Address = NOBODY) -> tuple[Event, ...]:
        call = self._call()
        self._require_step(1)
        return call.run(transitions.judge(self.state)).done()

    def distribute_rewards(self, sender: Address = NOBODY) -> tuple[Event, ...]:
        call = self._call()
        self._require_step(2)
        if self.state.step == 0:
            call.run(transitions.judge(self.state))
        return call.run(transitions.pay(call.state)).done()

    # ------------------------------------------------------------------------------------------------ the end

    def attest_final(self, sender: Address, final_hash: bytes, cid: bytes) -> tuple[Event, ...]:
        call, s = self._call(), self.state
        self._require_phase(Phase.ATTEST)
        self._require_in_time()
        mark = bit(self._seat(sender))
        if not s.active & mark:
            raise NotActive
        if s.attested & mark:
            raise AlreadyDone
        if not any(final_hash) or not is_cid(cid):
            raise BadValue
        call.log(ev.FinalAttested(sender, final_hash, cid))
        return call.run(transitions.attested(call.state)).done()

    def complete_task(self, sender: Address = NOBODY) -> tuple[Event, ...]:
        call, s = self._call(), self.state
        ending = self._end_if_due()
        if ending is not None:
            return call.run(ending).done()
        raise NothingDue if s.phase.in_round or s.phase is Phase.ATTEST else WrongPhase(s.phase)

    def withdraw(self, sender: Address, worker: Address) -> tuple[Event, ...]:
        call, s = self._call(), self.state
        index = s.seats.get(worker)
        if index is None:
            raise NothingToWithdraw
        member = s.member(index)
        amount = Wei(member.credit + (member.bond if s.phase.ended else 0))
        if not amount:
            raise NothingToWithdraw
        return call.pay(member.payout, amount, ev.Withdrawn(worker, member.payout, amount)).done()

    def refund(self, sender: Address = NOBODY) -> tuple[Event, ...]:
        call, s = self._call(), self.state
        self._require_ended()
        if not s.reward_left:
            raise NothingToWithdraw
        return call.pay(s.requester, s.reward_left, ev.Refunded(s.requester, s.reward_left)).done()

    def burn(self, sender: Address = NOBODY) -> tuple[Event, ...]:
        call, s = self._call(), self.state
        self._require_ended()
        if not s.burn_pool:
            raise NothingToWithdraw
        return call.pay(FURNACE, s.burn_pool, ev.Burned(s.burn_pool)).done()

    # ------------------------------------------------------------------------------------------------ messages

    def rotate_key(self, sender: Address, enc_key: bytes) -> tuple[Event, ...]:
        call = self._call()
        if sender != self.state.requester:
            self._require_member(sender)
        if not is_key(enc_key):
            raise BadValue
        return call.log(ev.KeyRotated(sender, self.state.round + 1, enc_key)).done()

    def notice(
        self, sender: Address, kind: int, round_number: int, to: Address, ref: bytes, cid: bytes
    ) -> tuple[Event, ...]:
        call = self._call()
        if sender != self.state.requester or kind != NEED_MODEL:
            self._require_member(sender)
        if not NEED_MODEL <= kind <= CHECKPOINT or not is_cid(cid):
            raise BadValue
        return call.log(ev.Notice(kind, round_number, sender, to, ref, cid)).done()

    # ------------------------------------------------------------------------------------------------ checks

    def _require_phase(self, phase: Phase) -> None:
        if self.state.phase is not phase:
            raise WrongPhase(self.state.phase)

    def _require_ended(self) -> None:
        if not self.state.phase.ended:
            raise WrongPhase(self.state.phase)

    def _require_in_time(self) -> None:
        if self.state.phase is not Phase.SETTLE and self.chain.time > self.state.deadline:
            raise PhaseOver(self.state.deadline)

    def _require_attempt(self, attempt: int) -> None:
        if attempt != self.state.attempt:
            raise WrongAttempt(self.state.attempt)

    def _require_step(self, step: int) -> None:
        self._require_phase(Phase.SETTLE)
        if self.state.step >= step:
            raise AlreadyDone

    def _require_member(self, account: Address) -> None:
        if not (self.state.active | self.state.pending) & bit(self._seat(account)):
            raise NotActive

    def _require_listed(self, account: Address, proof: Sequence[bytes]) -> None:
        root = self.state.params.allow_root
        if not any(root):
            return
        node = allow_leaf(account)
        for sibling in proof:
            node = allow_node(node, sibling)
        if node != root:
            raise NotAllowed

    def _actor(self, sender: Address, phase: Phase, round_number: int) -> int:
        self._require_phase(phase)
        self._require_in_time()
        index = self._seat(sender)
        if not self.state.active & bit(index):
            raise NotActive
        if round_number != self.state.round:
            raise WrongRound(self.state.round)
        return index

    def _seat(self, account: Address) -> int:
        index = self.state.seats.get(account)
        if index is None:
            raise NotActive
        return index

    # ------------------------------------------------------------------------------------------------ steps

    def _end_if_due(self) -> Steps | None:
        s, now = self.state, self.chain.time
        if s.phase is Phase.ATTEST:
            over = now > s.deadline or s.attested == s.active
            return transitions.end(s, Phase.COMPLETED) if over else None
        return transitions.end(s, Phase.EXPIRED) if hard_stop_passed(s, now) else None

    def _give_up_seat(self, call: Call, index: int) -> tuple[Event, ...]:
        member = self.state.member(index)
        call.log(ev.WorkerRemoved(0, member.account, 0, member.bond))
        if not member.bond:
            return call.done()
        return call.pay(member.payout, member.bond, ev.Withdrawn(member.account, member.payout, member.bond)).done()

    def _place(self) -> Place:
        return Place(self.chain.chain_id, self.address, self.state.round, self.state.attempt)

    def _call(self) -> Call:
        self.chain.begin_transaction()
        return Call(self)


class Call:
    """One transaction: its logs are folded as they come and reach the model and the chain only when it succeeds."""

    def __init__(self, model: TaskModel) -> None:
        self._model, self._records = model, list[Record]()
        self.state = model.state
        chain, opening = model.chain, model.state.phase is Phase.OPEN       # only Open is followed by Score
        self.block = Surroundings(chain.time, audit_seed(chain.prevrandao, model._place()) if opening else b"")

    def log(self, event: Event) -> Call:
        self.state = self._take(self.state, event)
        return self

    def run(self, steps: Steps) -> Call:
        self.state = transitions.drive(steps, self.state, self._take)
        return self

    def pay(self, payee: Address, amount: int, event: Event) -> Call:
        self._model.chain.pay(self._model.address, payee, amount)
        return self.log(event)

    def done(self) -> tuple[Event, ...]:
        self._model.state = self.state
        self._model.chain.commit(self._records)
        return tuple(record.event for record in self._records)

    def _take(self, state: TaskState, event: Event) -> TaskState:
        record = self._model.chain.stamp(self._model.address, event)
        self._records.append(record)
        return apply(state, record)


