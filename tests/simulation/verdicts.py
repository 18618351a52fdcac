"""What can only be said when a run is over: money, models, nonces, and who paid for what.

Owns these checks; `judge` gives it the evidence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Set as AbstractSet
from hashlib import sha256
from typing import TYPE_CHECKING

from bfl_events import schema as ev
from bfl_events.bitmap import members_of
from bfl_events.deadlines import Removal
from bfl_events.rules import majority_base
from bfl_events.schema import Address, Phase, Record
from bfl_events.settlement import Fault
from bfl_events.state import TaskState
from bfl_events.verify import verify
from tests.simulation.host import CHAIN_ID, TIMING, Host
from tests.simulation.learner import average
from tests.simulation.play import IMPLEMENTATION

if TYPE_CHECKING:
    from tests.simulation.judge import Judge

PERSONAL_GRACE_S, COMMON_GRACE_S = 30.0, 20.0
"""How long after a disturbance somebody may still be behind: it has to catch up, and perhaps to train again."""
GIVING_UP_S = 8.0
"""How long before a score window ends somebody's last attempt to fetch may be: its cut-off, its clock, its rest."""
LIVENESS = frozenset({2, 3, 6, 7})
"""Faults that only say that somebody was absent (PROTOCOL 4.2)."""
ATTEST_FAULT = 6


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
        _check_absences(judge, task)
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


def _records(judge: Judge) -> Iterator[Record]:
    for block in judge.network.chain:
        yield from block.records


def _check_log(judge: Judge) -> None:
    """Who recomputes everything from the log alone, as `bfl-events verify` does, finds nothing: whatever was undone."""
    for finding in verify(list(_records(judge)), chain_id=CHAIN_ID, implementation=IMPLEMENTATION):
        judge.violated(f"the log contradicts itself: {finding}")


def _check_money(judge: Judge, task: TaskState) -> None:
    left = judge.network.head.state.balances[task.address]
    if left:
        judge.violated(f"{left} wei are left in a contract that owes nothing")


def _check_models(judge: Judge, task: TaskState) -> None:
    """All started from the same model, and the final one follows from the settlements; reorgs may have made a
    difference to those who acted before them."""
    for attempt in task.attempts:
        bases = {commit.base_hash for commit in attempt.commits.values()}
        if bases and bases != {expected_base(task, attempt.round)} and not judge.orphans:
            judge.violated(f"not everybody started attempt {attempt.number} from the model that follows from the log")
    if any(task.final_hash) and task.final_hash not in judge.bases[task.params.rounds + 1]:
        judge.violated("the final model follows from no settlement")
    result = judge.hosts[0].folder / "results" / f"{task.address}.safetensors"
    if any(task.final_hash) and 0 not in judge.faults.dead and 0 not in judge.faults.forgot:  # noqa: SIM102
        if sha256(result.read_bytes()).digest() != task.final_hash:
            judge.violated("the requester holds another model than the attested one")


# ---- who paid for what ----------------------------------------------------------------------------------------------


def _check_absences(judge: Judge, task: TaskState) -> None:
    """Who was there, on time and connected, is neither fined nor ever found absent."""
    began: dict[int, int] = {}
    since, ends = 0, list[int]()
    for record in _records(judge):
        match record.event:
            case ev.RoundAdvanced(round):
                since = began.setdefault(round, record.time)
            case ev.PhaseChanged(phase=phase, deadline=deadline):
                since = record.time
                if phase is Phase.ATTEST:
                    began[task.params.rounds + 1] = record.time
                if phase is Phase.SCORE:
                    ends = [deadline]
            case ev.PhaseExtended(phase=phase, deadline=deadline):
                since = record.time
                if phase is Phase.SCORE:
                    ends.append(deadline)
            case ev.DeadlineMissed(round, _, phase, absent):
                for index in members_of(absent):
                    _excuse(judge, task, index, since, record.time, f"absent from {phase.name} of round {round}")
            case ev.WorkerPenalized(round, worker, reason):
                if reason in LIVENESS:
                    start = began.get(round + (reason == ATTEST_FAULT), 0)
                    what = f"fined for fault {reason} in round {round}"
                    _excuse(judge, task, task.seats[worker], start, record.time, what)
                elif _is_honest(judge, worker) and not (
                        reason == Fault.INVALID and _hidden(judge, task, task.seats[worker], round, ends)):
                    judge.violated(f"{_name(judge, worker)}, which is honest, is fined for fault {reason}")


def _excuse(judge: Judge, task: TaskState, index: int, since: int, until: int, what: str) -> None:
    account = task.member(index).account
    if not _is_honest(judge, account):
        return
    window = since - judge.network.epoch, until - judge.network.epoch + 2.0
    here = judge.index[account]
    if judge.faults.excuse(here, *window, PERSONAL_GRACE_S, COMMON_GRACE_S) or _waits_for_others(judge, task, index, window):  # noqa: E501
        return
    judge.violated(f"{_name(judge, account)} is {what} without having been away")


def _waits_for_others(judge: Judge, task: TaskState, index: int, window: tuple[float, float]) -> bool:
    """A late joiner's first round depends on two others' checkpoints (PROTOCOL 2.4: it may cost a fee)."""
    if task.member(index).join_round == 1:
        return False
    others = range(1, judge.scenario.hosts)
    return any(judge.faults.excuse(other, *window, PERSONAL_GRACE_S, COMMON_GRACE_S) for other in others)


def _hidden(judge: Judge, task: TaskState, index: int, round: int, ends: list[int]) -> bool:
    """Nobody could read what was opened when scorers gave up waiting for it (PROTOCOL 1: beyond assumption iv)."""
    settled = next(a for a in reversed(task.attempts) if a.round == round and a.scored is not None)
    cid = settled.opened[index].cid
    moments = [end - judge.network.epoch for end in ends]
    return any(cid in one.cids and one.since <= moment and one.until >= moment - GIVING_UP_S
               for one in judge.faults.hidings for moment in moments)


def _is_honest(judge: Judge, account: Address) -> bool:
    return judge.index[account] < judge.scenario.hosts - judge.scenario.mute


def _check_drops(judge: Judge, task: TaskState) -> None:
    """Dropped is who missed `maxMiss` times in a row, counted here from the acts alone; so does the contract count."""
    ghost = Streaks(task)
    for record in _records(judge):
        match record.event:
            case ev.WorkerRemoved(_, worker, Removal.DROPPED) if ghost.of[worker] != task.params.max_miss:
                judge.violated(f"{_name(judge, worker)} is dropped after {ghost.of[worker]} misses in a row,"
                               f" not {task.params.max_miss}")
        ghost.see(record)
    for member in task.members:
        if member is not None and member.miss_streak != ghost.of[member.account]:
            judge.violated(f"{_name(judge, member.account)} has missed {ghost.of[member.account]} times in a row,"
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
        if index not in judge.faults.forgot and nonces != list(range(len(nonces))):
            judge.violated(f"{host.name} left out a nonce: {nonces}")
        _check_waiting(judge, host)


def _check_waiting(judge: Judge, host: Host) -> None:
    count = judge.network.head.state.nonces.get(host.address, 0)
    waiting = [nonce for sender, nonce in judge.network.pool if sender == host.address and nonce > count]
    if judge.index[host.address] in judge.faults.forgot and _just_undone(judge):
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


def _name(judge: Judge, account: Address) -> str:
    return judge.hosts[judge.index[account]].name
