"""Turns what the loop and the runner see into log lines, metrics and health. Changes nothing else."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.core import intents as i
from agents.core.divergence import BaseCheck
from agents.core.state import Outlook
from agents.effects.ports import Rejected, Transient
from agents.health import Health
from agents.metrics import Metrics
from agents.telemetry import Log, Marker
from bfl_events import schema as ev
from bfl_events.bitmap import members_of
from bfl_events.schema import Address, Phase, Record
from bfl_events.state import TaskState

FINISHED: Mapping[type[i.Intent], Marker] = {
    i.LoadTerms: Marker.TASK_DISCOVERED,
    i.DryRun: Marker.EVAL_COMPLETED,
    i.TrainModel: Marker.TRAIN_COMPLETED,
    i.AggregateModels: Marker.AGGREGATE_COMPLETED,
    i.ScoreModels: Marker.SCORE_COMPLETED,
    i.PublishModel: Marker.ROUND_MODEL_PUBLISHED,
    i.PublishCopy: Marker.ENVELOPE_SEALED,
    i.FetchModel: Marker.ROUND_MODEL_FETCHED,
    i.DeliverFinal: Marker.MODEL_DELIVERED,
    i.ClearRound: Marker.ROUND_CLEARED,
}
STARTED: Mapping[type[i.Intent], Marker] = {
    i.TrainModel: Marker.TRAIN_STARTED,
    i.ScoreModels: Marker.SCORE_STARTED,
}
LOGGED: Mapping[type[ev.Event], Marker] = {
    ev.TaskCreated: Marker.TASK_CREATED,
    ev.WorkerJoined: Marker.TASK_JOINED,
    ev.TaskStarted: Marker.TASK_STARTED,
    ev.RoundAdvanced: Marker.ROUND_OPENED,
    ev.PhaseChanged: Marker.ROUND_PHASE_CHANGED,
    ev.DeadlineMissed: Marker.ROUND_DEADLINE_MISSED,
    ev.PhaseExtended: Marker.ROUND_PHASE_EXTENDED,
    ev.ModelCommitted: Marker.ROUND_MODEL_COMMITTED,
    ev.ScoresCommitted: Marker.ROUND_SCORE_COMMITTED,
    ev.ScoresSubmitted: Marker.ROUND_SCORE_SUBMITTED,
    ev.RoundScored: Marker.ROUND_TOPK_COMPUTED,
    ev.RewardsDistributed: Marker.ROUND_CLOSED,
    ev.WorkerPenalized: Marker.LEDGER_PENALTY_APPLIED,
    ev.WorkerLeaving: Marker.TASK_LEAVING,
    ev.WorkerRemoved: Marker.TASK_LEFT,
    ev.KeyRotated: Marker.KEY_ROTATED,
    ev.FinalAttested: Marker.FINAL_ATTESTED,
    ev.FinalModelAccepted: Marker.FINAL_ACCEPTED,
    ev.Withdrawn: Marker.LEDGER_WITHDRAWN,
    ev.Refunded: Marker.LEDGER_REFUNDED,
    ev.Burned: Marker.LEDGER_BURNED,
}
BASE = "base"
NAMED = ("round", "attempt", "sender", "kind")
PROVES: Mapping[type[i.Intent], tuple[str, ...]] = {       # and of the disk all that is journalled
    i.LoadTerms: ("store",), i.FetchModel: ("store",), i.PublishCopy: ("store",),
    i.PublishModel: ("store", "read-back"),
    i.TrainModel: ("learning",), i.ScoreModels: ("learning",), i.AggregateModels: ("learning",),
}
BROKEN = {
    "store": Marker.STORE_UNREACHABLE, "read-back": Marker.BLOB_UNSEEN, "learning": Marker.CHILD_ENDED,
    "disk": Marker.DISK_REFUSED,
}
MENDED = {
    "store": Marker.STORE_RECOVERED, "read-back": Marker.BLOB_SEEN, "learning": Marker.CHILD_STARTED,
    "disk": Marker.DISK_RECOVERED,
}
TOLD = ("round", "attempt", "worker", "phase", "deadline", "amount", "reason", "strikes", "voids", "votes")
TRANSACTION = {
    "sent": Marker.TX_SENT, "replaced": Marker.TX_REPLACED, "mined": Marker.TX_CONFIRMED, "buried": Marker.TX_CONFIRMED,
    "reverted": Marker.TX_REVERTED, "abandoned": Marker.TX_ABANDONED, "lost": Marker.TX_LOST,
    "vanished": Marker.TX_LOST, "capped": Marker.TX_FEE_CAPPED, "funds": Marker.TX_UNFUNDED,
}
ENDED = {
    Phase.COMPLETED: Marker.TASK_COMPLETED, Phase.CANCELLED: Marker.TASK_CANCELLED, Phase.EXPIRED: Marker.TASK_EXPIRED,
}


@dataclass(slots=True)
class Narrator:
    """One agent's voice. `me` is its account; only events of tasks it has to do with are worth a line above debug."""

    log: Log
    metrics: Metrics
    health: Health
    me: Address
    _began: dict[str, float] = field(default_factory=dict)
    _declined: dict[Address, str] = field(default_factory=dict)
    _alarmed: dict[Address, int] = field(default_factory=dict)
    _astray: set[Address] = field(default_factory=set)
    _resumed: bool = False

    def report(self, intent: i.Intent, what: str, detail: i.Outcome | BaseException | None) -> None:
        """The runner's report."""
        fields: dict[str, Any] = {"intent": type(intent).__name__, "task": intent.task}
        fields |= {name: getattr(intent, name) for name in NAMED if hasattr(intent, name)}
        match what:
            case "started":
                self._began[intent.key] = time.monotonic()
                self.log.info(STARTED.get(type(intent), Marker.INTENT_STARTED), **fields)
            case "finished":
                self._finished(intent, detail, fields | {"duration_s": self._since(intent)})
            case "cancelled":
                self.log.info(Marker.INTENT_CANCELLED, **fields, duration_s=self._since(intent))
            case _:
                self._failed(detail, fields)

    def _finished(self, intent: i.Intent, outcome: i.Outcome | BaseException | None, fields: dict[str, Any]) -> None:
        match outcome:
            case i.Refused(reason):
                refused = Marker.UPDATE_REJECTED if isinstance(intent, i.FetchModel) else Marker.TASK_DECLINED
                self.log.warning(refused, **fields, reason=reason)
                return
            case i.ModelReady(model_hash, seconds, first_step_at, last_step_at):
                fields |= {"digest": model_hash.hex(), "seconds": seconds}
                if last_step_at:
                    fields |= {"first_step_at": round(first_step_at, 3), "last_step_at": round(last_step_at, 3)}
            case i.Published(cid, size):
                fields |= {"cid": cid.hex(), "size_bytes": size}
            case i.RowReady(_, reasons, seconds):
                fields |= {"seconds": seconds, "zeros": [f"{index}: {reason}" for index, reason in reasons]}
                if isinstance(intent, i.ScoreModels):
                    self._name(intent, dict(reasons))
        self.log.info(FINISHED.get(type(intent), Marker.INTENT_FINISHED), **fields)
        for part in (*PROVES.get(type(intent), ()), *(("disk",) if outcome is not None else ())):
            if self.health.well(part):
                self.log.info(MENDED[part], part=part)

    def _name(self, intent: i.ScoreModels, reasons: Mapping[int, str]) -> None:
        """Who published what is no model of the task; what could not be opened at all was told when it was fetched."""
        for one in intent.candidates:
            if one.model_hash is not None and one.index in reasons:
                self.log.warning(Marker.UPDATE_REJECTED, task=intent.task, round=intent.round, attempt=intent.attempt,
                                 sender=one.sender, reason=reasons[one.index])

    def _failed(self, error: i.Outcome | BaseException | None, fields: dict[str, Any]) -> None:
        if isinstance(error, Transient) and error.part and self.health.trouble(error.part, str(error)):
            self.log.warning(BROKEN.get(error.part, Marker.INTENT_RETRIED), part=error.part, reason=str(error))
        kind = "rejected" if isinstance(error, Rejected) else "transient"
        self.metrics.errors.labels(kind).inc()
        if isinstance(error, Rejected):
            self.log.info(Marker.INTENT_REJECTED, **fields, error=str(error))
        else:
            self.log.warning(Marker.INTENT_RETRIED, **fields, error=str(error))

    def progress(self, intent: i.Intent, values: Mapping[str, Any]) -> None:
        """The learning child's progress."""
        round = getattr(intent, "round", None)
        marker = Marker.TRAIN_EPOCH_COMPLETED if "epoch" in values else Marker.EVAL_COMPLETED
        if "checkpoint_ignored" in values:
            self.log.warning(Marker.TRAIN_CHECKPOINT_IGNORED, task=intent.task, reason=values["checkpoint_ignored"])
            return
        self.log.info(marker, **dict(values) | {"task": intent.task, "round": round})

    def records(self, records: tuple[Record, ...]) -> None:
        """Events as they are folded."""
        for record in records:
            self.metrics.events.inc()
            event = record.event
            marker = LOGGED.get(type(event), Marker.CHAIN_LOG_SCANNED)
            if isinstance(event, ev.TaskEnded):
                marker = ENDED[event.phase]
            where = {"chain_event": type(event).__name__, "task": record.emitter, "block": record.block}
            said = {name: getattr(event, name) for name in TOLD if hasattr(event, name)}
            said |= {name: value.name.lower() for name, value in said.items() if isinstance(value, Phase)}
            if isinstance(event, ev.DeadlineMissed):
                said["absent"] = members_of(event.absent)
            self.log.info(marker, **where | said)

    def rewound(self, to: int) -> None:
        self.metrics.reorgs.inc()
        self.log.warning(Marker.CHAIN_REORG_DETECTED, block=to)

    def lost(self, what: str, sentence: str, *, repaired: bool = False) -> None:
        """Something of the home is lost, or what is needed of it is there again."""
        if repaired:
            self.health.repaired.add(what)
            self.log.info(Marker.HOME_REPAIRED, what=what)
        else:
            self.health.lost(what, sentence)
            self.log.warning(Marker.HOME_LOST, what=what, reason=sentence)

    def declined(self, task: Address, reason: str) -> None:
        """A task that this agent does not join, once per reason."""
        if self._declined.get(task) != reason:
            self._declined[task] = reason
            self.log.info(Marker.TASK_DECLINED, task=task, reason=reason)

    def compared(self, task: Address, base: BaseCheck | None) -> None:
        """The alarm when most others build on another global model, once a round, and the word that it is over."""
        if base is not None and base.differs and self._alarmed.get(task) != base.round:
            self._alarmed[task] = base.round
            self._astray.add(task)
            fields = {"task": task, "round": base.round, "mine": base.mine.hex(), "majority": base.theirs.hex()}
            self.log.warning(Marker.ROUND_BASE_DIVERGED, **fields, next=base.next)
            self.health.trouble(BASE, f"round {base.round} of {task}: most build on {base.theirs.hex()}, this agent on "
                                      f"{base.mine.hex()}; {base.next}")
        if task in self._astray and (base is None or base.mended):
            self._astray.discard(task)
            self.health.well(BASE)
            if base is not None:
                self.log.info(Marker.ROUND_BASE_RESYNCED, task=task, round=base.round, majority=base.theirs.hex())

    def outbox(self, event: str, fields: Mapping[str, object]) -> None:
        """The outbox's report: every durable or visible step of a transaction."""
        if event == "forgotten":
            self.lost("transactions", f"the chain counts {fields['count']} transactions of this account, from nonce "
                      f"{fields['first']} on, that the outbox has no record of: an older backup was restored, or the "
                      "account was used elsewhere. Nonces go on from the chain's count")
        marker = TRANSACTION.get(event, Marker.TX_INTENT_RECORDED)
        self.metrics.transactions.labels(str(fields.get("key", "")).split(":")[0], event).inc()
        self.log.info(marker, step=event, **fields)

    def tick(self, outlook: Outlook) -> None:
        """Health and gauges after each turn of the loop, and a line after the first: from here on it works."""
        if not self._resumed:
            self._resumed = True
            self.log.info(Marker.AGENT_RESUMED, due=len(outlook.wanted), folded=outlook.folded,
                          cpu_s=round(time.process_time(), 3), queued_s=_queued_s())
        self.health.beat()
        self.metrics.pulse.set(time.time())
        self.metrics.head_block.set(outlook.now.head)
        mine = [task for task in outlook.world.tasks.values() if self.me in task.seats or task.requester == self.me]
        if running := [task for task in mine if not task.phase.ended]:
            self._gauges(running[0])

    def _gauges(self, task: TaskState) -> None:
        self.metrics.round.set(task.round)
        self.metrics.deadline.set(task.deadline)
        for phase in Phase:
            self.metrics.phase.labels(phase.name.lower()).set(1 if phase == task.phase else 0)
        index = task.index_of(self.me)
        if index is not None:
            self.metrics.collateral.set(task.member(index).bond)

    def _since(self, intent: i.Intent) -> float:
        return round(time.monotonic() - self._began.pop(intent.key, time.monotonic()), 4)


def _queued_s() -> float | None:
    """Seconds for which this process was ready to run and others ran, where the kernel counts them (Linux)."""
    try:
        return round(int(Path("/proc/self/schedstat").read_text("ascii").split()[1]) / 1e9, 3)
    except (OSError, ValueError, IndexError):
        return None
