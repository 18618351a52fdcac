"""What can only be said when a run is over: money, models, nonces, and who paid for what.

Owns these checks; `judge` gives it the evidence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set as AbstractSet
from hashlib import sha256
from typing import TYPE_CHECKING

from bfl_events import schema as ev
from bfl_events.bitmap import members_of
from bfl_events.deadlines import Removal
from bfl_events.rules import majority_base
from bfl_events.schema import Address, Record
from bfl_events.settlement import Fault
from bfl_events.state import Attempt, TaskState
from bfl_events.verify import verify
from tests.simulation.absences import check_absences
from tests.simulation.host import CHAIN_ID, TIMING, Host
from tests.simulation.learner import average
from tests.simulation.play import IMPLEMENTATION

if TYPE_CHECKING:
    from tests.simulation.judge import Judge


def check_end(judge: Judge, *, over: bool) -> None:
    head = judge.network.head
    for task in head.state.tasks.values():
        if not over and _somebody_cares(judge, task):
            judge.violated(f"the task is still in {task.phase.name} of round {task.round}, attempt {task.attempt},"
                           f" with {head.state.balances[task.address]} wei in it")
        if not over:
            continue
        _check_money(judge, task)
        _check_models(judge, task)
        check_absences(judge, task)
        _check_drops(judge, task)
        _check_agreement(judge, task)
    _check_nonces(judge)
    _check_log(judge)


def _somebody_cares(judge: Judge, task: TaskState) -> bool:
    """The requester or a member lives: with them alone a task must find its end."""
    alive = {host.address for index, host in enumerate(judge.hosts) if index not in judge.faults.dead}
    return bool(alive & {task.requester, *task.seats})


def expected_base(task: TaskState, round: int, elsewhere: Mapping[int, AbstractSet[bytes]] = {}) -> bytes:
    """Hash of G(round - 1) as it follows from the settlements of this fork; or, where most of a round's roster started
    from one of its bases `elsewhere`, from that (PROTOCOL 2.4: commitments may outlive the fork of their making)."""
    base = task.params.model_hash
    for done in range(1, round):
        settled = next((a for a in reversed(task.attempts) if a.round == done and a.scored is not None), None)
        if settled is not None and settled.scored is not None and settled.scored.accepted:
            voted = majority_base(settled)
            base = voted if voted is not None and voted in elsewhere.get(done, ()) else base
            parts = tuple((n, settled.opened[n].model_hash) for n in members_of(settled.scored.accepted))
            base = sha256(average(base, parts)).digest()
    return base


def _check_log(judge: Judge) -> None:
    """Who recomputes everything from the log alone, as `bfl-events verify` does, finds nothing: whatever was undone."""
    for finding in verify(list(judge.records()), chain_id=CHAIN_ID, implementation=IMPLEMENTATION):
        judge.violated(f"the log contradicts itself: {finding}")


def _check_money(judge: Judge, task: TaskState) -> None:
    left = judge.network.head.state.balances[task.address]
    if left:
        judge.violated(f"{left} wei are left in a contract that owes nothing")


def _check_models(judge: Judge, task: TaskState) -> None:
    """All started from the same model, and the final one follows from the settlements. Only where a reorg took back a
    block between the settlement before and the last commitment may somebody have acted on what is no more."""
    for attempt in task.attempts:
        bases = {commit.base_hash for commit in attempt.commits.values()}
        if not bases or _was_undone(judge, task, attempt):
            continue
        if not any(bases == {expected_base(task, attempt.round, elsewhere)} for elsewhere in ({}, judge.bases)):
            judge.violated(f"not everybody started attempt {attempt.number} from the model that follows from the log")
    if any(task.final_hash) and task.final_hash not in judge.bases[task.params.rounds + 1]:
        judge.violated("the final model follows from no settlement")
    result = judge.hosts[0].folder / "results" / f"{task.address}.safetensors"
    if any(task.final_hash) and 0 not in judge.faults.dead:  # noqa: SIM102
        if sha256(result.read_bytes()).digest() != task.final_hash:
            judge.violated("the requester holds another model than the attested one")


def _was_undone(judge: Judge, task: TaskState, attempt: Attempt) -> bool:
    """Whether a block is gone that was between the beginning of this round, on any fork, and the last commitment."""
    begun = min(other.began.block for other in task.attempts if other.round == attempt.round)
    last = max(commit.at.block for commit in attempt.commits.values())
    return any(begun <= block.number <= last or any(_begins(record, attempt.round) for record in block.records)
               for block in judge.gone)


def _begins(record: Record, round: int) -> bool:
    return isinstance(record.event, ev.RoundAdvanced) and record.event.round == round


# ---- who was dropped ------------------------------------------------------------------------------------------------


def _check_drops(judge: Judge, task: TaskState) -> None:
    """Dropped is who missed `maxMiss` times in a row, counted here from the acts alone; so does the contract count."""
    ghost = Streaks(task)
    for record in judge.records():
        match record.event:
            case ev.WorkerRemoved(_, worker, Removal.DROPPED) if ghost.of[worker] != task.params.max_miss:
                judge.violated(f"{judge.name(worker)} is dropped after {ghost.of[worker]} misses in a row,"
                               f" not {task.params.max_miss}")
        ghost.see(record)
    for member in task.members:
        if member is not None and member.miss_streak != ghost.of[member.account]:
            judge.violated(f"{judge.name(member.account)} has missed {ghost.of[member.account]} times in a row,"
                           f" and the contract counts {member.miss_streak}")


class Streaks:
    """Misses in a row: void deadlines and fines for absence count, acting in a void phase or a settled round ends."""

    def __init__(self, task: TaskState) -> None:
        self.of: Counter[Address] = Counter()
        self._task, self._voids = task, 0
        self._acted: set[Address] = set()
        self._opened: set[Address] = set()
        self._revealed: set[Address] = set()

    def see(self, record: Record) -> None:
        match record.event:
            case ev.RoundAdvanced():
                self._acted, self._opened, self._revealed = set(), set(), set()
            case ev.PhaseChanged():
                self._acted = set()
            case ev.ModelCommitted(_, worker) | ev.ScoresCommitted(_, worker):
                self._acted.add(worker)
            case ev.ModelSubmitted(_, worker):
                self._acted.add(worker)
                self._opened.add(worker)
            case ev.ScoresSubmitted(_, worker):
                self._acted.add(worker)
                self._revealed.add(worker)
            case ev.DeadlineMissed(absent=absent, voids=voids):
                if voids > self._voids:
                    self._miss({self._task.member(index).account for index in members_of(absent)})
                self._voids = voids
            case ev.WorkerPenalized(_, worker, Fault.MISSED):
                self.of[worker] += 1
            case ev.RewardsDistributed():
                self._voids = 0
                self.of.subtract({worker: self.of[worker] for worker in self._opened & self._revealed})

    def _miss(self, absent: set[Address]) -> None:
        for worker in self._acted:
            self.of[worker] = 0
        self.of.update(absent)


# ---- what agents hold -----------------------------------------------------------------------------------------------


def _check_agreement(judge: Judge, task: TaskState) -> None:
    """Every living agent sees the very state that the chain holds."""
    for host in judge.hosts:
        if host.agent is None or host.agent.daemon.outlook is None:
            continue
        seen = host.agent.daemon.outlook.world.tasks.get(task.address)
        if seen != task:
            judge.violated(f"{host.name} sees another state than the chain's: {_difference(seen, task)}")


def _check_nonces(judge: Judge) -> None:
    """Each intent takes effect by one nonce, unless one had failed on a fork, and no nonce is left out."""
    spent = {(one.tx.sender, one.tx.nonce): one for block in judge.network.chain for one in block.mined}
    for index, host in enumerate(judge.hosts):
        rows = host.disk.query("outbox.sqlite", "SELECT nonce, key FROM slot ORDER BY nonce")
        mined = [(key, spent.get((host.address, nonce))) for nonce, key in rows
                 if (host.address, nonce) not in judge.wasted]
        keys = Counter(key for key, one in mined if one is None or one.tx.data)
        for key, times in keys.items():
            if times > 1:
                judge.violated(f"{host.name} used {times} nonces for {key.split(':')[0]}")
        nonces = [nonce for nonce, _ in rows]
        if not judge.faults.lost(index, "outbox") and nonces != list(range(len(nonces))):
            judge.violated(f"{host.name} left out a nonce: {nonces}")
        _check_waiting(judge, host)


def _check_waiting(judge: Judge, host: Host) -> None:
    count = judge.network.head.state.nonces.get(host.address, 0)
    waiting = [nonce for sender, nonce in judge.network.pool if sender == host.address and nonce > count]
    if judge.faults.lost(judge.index[host.address], "outbox") and _just_undone(judge):
        return                      # a reorg opened a gap below what it remembers, to be filled when it counts as stuck
    if waiting and (host.address, count) not in judge.network.pool and host.agent is not None:
        judge.violated(f"{host.name} has nonces {waiting} in the pool, but {count} is missing")


def _just_undone(judge: Judge) -> bool:
    since = judge.network.now() - judge.network.epoch - 2 * (TIMING.stuck_s + TIMING.interval_s)
    return any(one.kind == "undone" and one.until >= since for one in judge.faults.disturbances)


def _difference(seen: TaskState | None, task: TaskState) -> str:
    if seen is None:
        return "it knows no such task"
    names = [name for name in task.__dataclass_fields__ if getattr(seen, name) != getattr(task, name)]
    return ", ".join(f"{name} is {getattr(seen, name)!r:.60}, not {getattr(task, name)!r:.60}" for name in names[:4])

