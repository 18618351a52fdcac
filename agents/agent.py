"""One agent put together: its memory, its hands and its loop over one chain and one store.

Owns how the parts are wired. Takes everything that touches the outside as arguments; decides nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from agents.core import requester, review, worker
from agents.core.admission import terms_of
from agents.core.intents import Done, Intent, Outcome, Transaction
from agents.core.losses import Loss
from agents.core.permissionless import drained
from agents.core.specification import Specification
from agents.core.state import LEAVE, Limits, Me, Memory, Now, Outlook, World
from agents.core.trial import Trial, Trials, objection
from agents.crypto.allowlist import merkle_proof
from agents.daemon import Daemon
from agents.effects.calls import Joining
from agents.effects.exchange import Exchange
from agents.effects.gas import deadline_gas
from agents.effects.hands import Hands, Workshop
from agents.effects.journal import Journal
from agents.effects.model_files import ModelFiles
from agents.effects.ports import Chain, Clock, Fatal, Learner
from agents.effects.runner import Runner
from agents.effects.seals import AccountSeals, raw_address
from agents.narrator import Narrator
from agents.recollection import Recollection
from bfl_events.schema import Address, Record
from bfl_events.source import Advance, EventSource
from bfl_events.state import TaskState

OPERATORS_MATTERS = ("terms:", "dry-run:")        # refusals that new settings, data or plug-ins can turn around
DECLINED_EXIT = 23
NOT_FOUND_EXIT = 10
UNSERVED_EXIT = 20


@dataclass(frozen=True, slots=True)
class Charge:
    """What an agent is here for. `task` None: whatever the factory offers. `block_s`: None to estimate it."""

    role: str
    address: Address
    payout: Address
    task: Address | None
    limits: Limits
    trials: Trials
    confirmations: int
    retain_rounds: int
    block_s: float | None


class History(Protocol):
    """What was logged and can still matter to this agent, from the beginning."""

    def records(self) -> Iterable[Record]: ...


@dataclass(frozen=True, slots=True)
class Outside:
    """Everything beyond the process, as ports. `learner(task, specification)` is the child set up for a task.

    `on_head()` is called at every new head; `failure()` tells what ended a background part, if one has ended;
    `wind_up()` asks the learning child to end training at its next checkpoint; `lost(loss, made_good)` hears what the
    journal should know and does not.
    """

    source: EventSource
    log: History
    chain: Chain
    exchange: Exchange
    files: ModelFiles
    journal: Journal
    seals: AccountSeals
    newest_key: Callable[[], bytes]
    learner: Callable[[Address, Specification], Learner]
    known_task: Callable[[Specification], str | None]
    clock: Clock
    narrator: Narrator
    on_head: Callable[[], None]
    failure: Callable[[], BaseException | None]
    wind_up: Callable[[], None] = lambda: None
    lost: Callable[[Loss, bool], None] = lambda loss, made_good: None


class Agent:
    """The loop with its hands. `run()` until the task is over (if there is one), `stop()`, or something fatal."""

    def __init__(self, charge: Charge, outside: Outside, workshop: Workshop) -> None:
        self._charge, self._outside = charge, outside
        outside.journal.forget_refusals(OPERATORS_MATTERS)
        workshop.scratch.sweep()
        hands = Hands(
            chain=outside.chain, exchange=outside.exchange, files=outside.files, seals=outside.seals,
            joining=Joining(charge.payout, outside.newest_key, self._proof), workshop=workshop, learner=outside.learner,
            terms=self._terms, known_task=outside.known_task, genesis=lambda task: self.task(task).params.model_hash,
            deadline_gas=self._deadline_gas, refuse_dry_run=self._refuse_dry_run, progress=outside.narrator.progress,
            journal=outside.journal,
        )
        self.perform, self.chain = hands.perform, outside.chain
        self.address, self.role = charge.address, charge.role
        self._duties = worker.decide if charge.role == "worker" else requester.decide
        self._recollection = Recollection(outside.journal.record, outside.lost)
        self._taken_effect: dict[str, int] = {}
        self._runner = Runner(hands.perform, outside.journal.record, outside.clock, self._report, hands.give_up)
        self.daemon = Daemon(
            advances=self._advances, replay=outside.log.records, decide=self._decide, me=self._me, memory=self._memory,
            runner=self._runner, clock=outside.clock, block_s=charge.block_s, observer=outside.narrator,
            finished=self._finished, distrust=self._distrust,
        )

    async def run(self) -> None:
        await self.daemon.run()

    def drain(self, limit_s: float) -> None:
        """Start nothing new; `run` returns when what is being done is finished or journalled, or after `limit_s`."""
        self.daemon.drain(self._outside.clock.time() + limit_s, self.chain.afloat)
        self._outside.wind_up()

    def task(self, address: Address) -> TaskState:
        """The folded state of a task. Raises LookupError."""
        outlook = self.daemon.outlook
        if outlook is None or address not in outlook.world.tasks:
            raise LookupError(f"the factory knows no task {address}, or it ended without this account")
        return outlook.world.tasks[address]

    def wish_to_leave(self, task: Address) -> None:
        """The operator's wish, remembered until it is fulfilled."""
        self._outside.journal.record(LEAVE + task, Done())
        self.daemon.wake()

    def busy(self) -> tuple[str, ...]:
        """Keys of the intents that run now."""
        return self._runner.busy()

    # ---- what the loop asks for -------------------------------------------------------------------------------------

    async def _advances(self) -> AsyncGenerator[Advance, None]:
        async with aclosing(self._outside.source.advances()) as advances:
            async for advance in advances:
                self._outside.on_head()
                yield advance

    def _report(self, intent: Intent, what: str, detail: Outcome | BaseException | None) -> None:
        self._outside.narrator.report(intent, what, detail)
        if what == "finished" and isinstance(intent, Transaction):
            self._compare_with_log(intent)

    def _compare_with_log(self, intent: Transaction) -> None:
        """A transaction that took effect is wanted no more as soon as the log shows it. Finished for the second time,
        and no reorg between: the log leaves out what the receipt shows."""
        before = self._taken_effect.get(intent.key)
        self._taken_effect[intent.key] = self.daemon.rewinds
        if before == self.daemon.rewinds:
            what = type(intent).__name__
            self._outside.source.distrust(intent.task, f"{what} was mined, and the log does not show it")

    def _distrust(self, record: Record, why: str) -> None:
        self._outside.source.distrust(record.emitter, why)

    def _decide(self, world: World, memory: Memory, me: Me, now: Now) -> tuple[Intent, ...]:
        self._recollection.look(world, memory, me)
        return self._duties(world, memory, me, now)

    def _memory(self) -> Memory:
        return Memory(self._outside.journal.outcomes(), self._outside.files.held())

    def _me(self) -> Me:
        charge = self._charge
        wishes = (key.removeprefix(LEAVE) for key in self._outside.journal.outcomes() if key.startswith(LEAVE))
        return Me(charge.address, self._outside.seals, charge.limits, charge.confirmations, charge.retain_rounds,
                  charge.task, frozenset(wishes))

    def _finished(self, outlook: Outlook) -> bool:
        """Whether the one task this agent was started for is over. Raises Fatal if it cannot be served."""
        if (failure := self._outside.failure()) is not None:
            raise failure
        if self._charge.role == "worker":
            for address, reason in review.declined(outlook):
                self._outside.narrator.declined(address, reason)
        for address, check in review.compared(outlook):
            self._outside.narrator.compared(address, check)
        for address, reason in review.unserved(outlook):
            raise Fatal(f"This account has a seat in task {address}, which cannot be served here: {reason}. Mend that "
                        "and start again, or leave the task.", exit_code=UNSERVED_EXIT)
        if self._charge.task is None:
            return False
        task = outlook.world.tasks.get(self._charge.task)
        if task is None and self._served(self._charge.task):
            return False                  # a reorg or a reset took it back: it may come again
        if task is None:
            raise Fatal(f"The factory knows no task {self._charge.task}. Compare the address with the one that "
                        "`bfl-agent task create` printed, and chain.factory with the one it was created with.",
                        exit_code=NOT_FOUND_EXIT)
        if self._charge.role == "requester":
            if task.requester != self._charge.address:
                raise Fatal(f"Task {task.address} was created by {task.requester}, not by this account "
                            f"{self._charge.address}. Run the requester with the account that created it.",
                            exit_code=NOT_FOUND_EXIT)
            return drained(task) and requester.delivered(task, outlook.memory)
        if (hindrance := review.hindrance(task, outlook)) is not None:
            raise Fatal(f"Task {task.address} is not joined: {hindrance}. Nothing was bonded.",
                        exit_code=DECLINED_EXIT)
        return drained(task)

    def _served(self, task: Address) -> bool:
        """Whether this agent, or an earlier life of it, ever did anything for the task."""
        return any(task in key for key in self._outside.journal.outcomes())

    # ---- what the hands ask for -------------------------------------------------------------------------------------

    def _terms(self, task: Address) -> Specification | None:
        return self._memory().terms(terms_of(self.task(task)).key)

    def _proof(self, task: Address) -> tuple[bytes, ...]:
        specification = self._terms(task)
        if specification is None or not specification.allowed:
            return ()
        allowed = [raw_address(address) for address in specification.allowed]
        return tuple(merkle_proof(allowed, raw_address(self._charge.address)))

    def _deadline_gas(self, task: Address) -> int:
        return deadline_gas(self.task(task).count)

    def _refuse_dry_run(
        self, task: Address, description: Mapping[str, Any], trial: Mapping[str, Any]
    ) -> str | None:
        specification = self._terms(task)
        assert specification is not None
        shown = Trial(int(description["train_samples"]), int(trial["scoring_samples"]), float(trial["step_seconds"]),
                      float(trial["score_seconds"]))
        return objection(self.task(task).params, specification, shown, self._charge.trials)
