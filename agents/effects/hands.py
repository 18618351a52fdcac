"""Performs intents: one function per kind of work, one path for all transactions. Decides nothing.

Artefact first, then the outcome that the runner journals, then (as another intent) the transaction (DESIGN 3.1).
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from agents.core import intents as i
from agents.core.specification import MAX_SPECIFICATION_BYTES, BadSpecification, Specification, parse
from agents.crypto.allowlist import merkle_root
from agents.crypto.envelope import EnvelopeError
from agents.effects.calls import Joining, call_for
from agents.effects.exchange import Exchange
from agents.effects.journal import Journal
from agents.effects.model_files import ModelFiles
from agents.effects.ports import Chain, Fatal, Learner, LearnerFailed, Progress, Rejected, Transient
from agents.effects.scratch import Scratch
from agents.effects.seals import AccountSeals, raw_address
from bfl_events.boundaries import Boundary, passing
from bfl_events.rules import AUDIT_LANE, pack_row
from bfl_events.schema import Address

ALREADY_TRUE = frozenset({"AlreadyDone", "AlreadyRegistered", "NothingToWithdraw"})


@dataclass(frozen=True, slots=True)
class Workshop:
    """Folders and limits of local work."""

    results: Path
    checkpoints: Path
    max_model_bytes: int

    @property
    def scratch(self) -> Scratch:
        """For models that the learning child is making."""
        return Scratch(self.checkpoints)


@dataclass(frozen=True, slots=True)
class Hands:
    """All effects of one agent. `learner(task, specification)` gives the child that is set up for a task.

    `terms(task)` is the task's journalled specification; `refuse_dry_run(task, description, trial)` names what the
    operator's policy objects to after a trial, or None. `journal` is only asked for, and told of, envelopes under way.
    """

    chain: Chain
    exchange: Exchange
    files: ModelFiles
    seals: AccountSeals
    joining: Joining
    workshop: Workshop
    learner: Callable[[Address, Specification], Learner]
    terms: Callable[[Address], Specification | None]
    known_task: Callable[[Specification], str | None]
    genesis: Callable[[Address], bytes]
    deadline_gas: Callable[[Address], int]
    refuse_dry_run: Callable[[Address, Mapping[str, Any], Mapping[str, Any]], str | None]
    progress: Callable[[i.Intent, Mapping[str, Any]], None]
    journal: Journal

    async def perform(self, intent: i.Intent) -> i.Outcome | None:
        """Do it. Returns work's outcome; None for a transaction that is mined. Raises Transient, Rejected, Fatal."""
        try:
            return await self._work(intent)
        except OSError as error:
            raise Transient(f"{error}; free disk space, or mend the folder's permissions", part="disk") from error
        except LearnerFailed as error:
            if error.kind in ("internal", "disk"):
                raise Transient(f"learning: {error}. {error.advice}", part="learning") from error
            if error.kind == "stopped":
                raise Transient(f"{error}; {error.advice}") from error
            raise Fatal(f"learning failed ({error.kind}): {error}. {error.advice}", exit_code=20) from error

    async def _work(self, intent: i.Intent) -> i.Outcome | None:
        match intent:
            case i.LoadTerms():
                return await self._load_terms(intent)
            case i.DryRun():
                return await self._dry_run(intent)
            case i.TrainModel():
                return await self._train(intent)
            case i.AggregateModels():
                return await self._aggregate(intent)
            case i.ScoreModels():
                return await self._score(intent)
            case i.FetchModel():
                return await self.exchange.fetch(intent, self._model_bytes(intent.task))
            case i.PublishModel():
                published = await self._publish(intent, intent.attempt, 0)
                await self.exchange.confirm(published)
                return published
            case i.PublishCopy():
                try:
                    return await self._publish(intent, 0, intent.kind)
                except EnvelopeError as error:
                    return i.Refused(str(error))
            case i.DeliverFinal(task, model_hash):
                return self._deliver(task, model_hash)
            case i.ClearRound(_, _, models, cids):
                await self.exchange.forget(cids, models)
                return i.Done()
            case i.Halt(_, reason):
                raise Fatal(reason, exit_code=12)
            case _:
                await self._send(intent)
                return None

    async def give_up(self, intent: i.Intent) -> None:
        """Nobody wants it any more: a transaction that stays unmined makes room for the next (PROTOCOL 2.6)."""
        if isinstance(intent, i.Transaction):
            await self.chain.abandon(intent.key)

    # ---- terms ------------------------------------------------------------------------------------------------------

    async def _load_terms(self, intent: i.LoadTerms) -> i.Outcome:
        document = await self.exchange.read_public(intent.spec_cid, intent.spec_hash, MAX_SPECIFICATION_BYTES)
        if isinstance(document, i.Refused):
            return i.Refused(f"its specification: {document.reason}")
        text = document.read_bytes()
        document.unlink()
        try:
            specification = parse(text)
        except BadSpecification as error:
            return i.Refused(f"its specification: {error}")
        if specification.allowed and _root_of(specification) != intent.allow_root:
            return i.Refused("its specification: the allow-list does not have the Merkle root that is on chain")
        if (unknown := self.known_task(specification)) is not None:
            return i.Refused(unknown)
        model = await self.exchange.read_public(intent.model_cid, intent.model_hash, self.workshop.max_model_bytes)
        if isinstance(model, i.Refused):
            return i.Refused(f"its initial model: {model.reason}")
        if intent.keep:
            await self.exchange.keep(intent.spec_cid, intent.model_cid)
        self.files.adopt(model, intent.model_hash)
        return i.TermsReady(text.decode())

    async def _dry_run(self, intent: i.DryRun) -> i.Outcome:
        learner = self._learner(intent.task)
        genesis = self._file(intent.model_hash)
        try:
            description = await learner.request("describe", {}, self._progress(intent))
            checked = await learner.request("check", {"path": genesis, "genesis": genesis})
            if not checked["valid"]:
                return i.Refused(f"its initial model does not fit the task: {checked['reason']}")
            trial = await learner.request("dry_run", {"base": genesis, "genesis": genesis}, self._progress(intent))
        except LearnerFailed as error:
            if error.kind in ("internal", "disk"):
                raise
            return i.Refused(f"the dry run failed ({error.kind}): {error}. {error.advice}")
        if not trial["valid"]:
            return i.Refused(f"a model trained for one step on this operator's data is invalid: {trial['reason']}")
        if objection := self.refuse_dry_run(intent.task, description, trial):
            return i.Refused(objection)
        await self.exchange.keep(*intent.keep)
        return i.Done()

    # ---- learning ---------------------------------------------------------------------------------------------------

    async def _train(self, intent: i.TrainModel) -> i.ModelReady:
        name = hashlib.sha256(intent.key.encode()).hexdigest()[:16]
        checkpoints = self.workshop.checkpoints / name
        checkpoints.mkdir(parents=True, exist_ok=True)
        with self.workshop.scratch.folder() as folder:
            out = folder / "model"
            answer = await self._learner(intent.task).request(
                "train",
                {"base": self._file(intent.base_hash), "out": str(out), "checkpoint_dir": str(checkpoints),
                 "seed": training_seed(intent.task, intent.round, self.seals.account)},
                self._progress(intent),
            )
            model = self._adopt(out, answer)
        with passing(Boundary.CHECKPOINTS_DROP):
            shutil.rmtree(checkpoints, ignore_errors=True)
        steps = (float(answer.get(name, 0.0)) for name in ("first_step_at", "last_step_at"))
        return i.ModelReady(model, float(answer["seconds"]), *steps)

    async def _aggregate(self, intent: i.AggregateModels) -> i.ModelReady:
        models = [{"index": index, "path": self._file(digest)} for index, digest in intent.models]
        with self.workshop.scratch.folder() as folder:
            out = folder / "model"
            fields = {"base": self._file(intent.base_hash), "models": models, "out": str(out)}
            answer = await self._learner(intent.task).request("aggregate", fields, self._progress(intent))
            return i.ModelReady(self._adopt(out, answer))

    async def _score(self, intent: i.ScoreModels) -> i.RowReady:
        beta = None if intent.audit_beta is None else f"{intent.audit_beta / 1000:.3f}"
        models = [
            {"index": c.index, "path": None if c.model_hash is None else self._file(c.model_hash),
             "own": c.index == intent.own_index, "compare": [self._file(digest) for digest in c.compare]}
            for c in intent.candidates
        ]
        answer = await self._learner(intent.task).request(
            "score",
            {"base": self._file(intent.base_hash), "genesis": self._file(self.genesis(intent.task)), "beta": beta,
             "models": models},
            self._progress(intent),
        )
        lanes = [0] * intent.lanes
        for lane, value in answer["lanes"].items():
            lanes[int(lane)] = int(value)
        if not intent.audited:
            lanes[AUDIT_LANE] = 0
        reasons = tuple((int(v["index"]), str(v["reason"])) for v in answer["verdicts"] if v.get("reason"))
        return i.RowReady(pack_row(lanes), reasons, float(answer.get("seconds", 0.0)))

    async def _publish(self, intent: i.PublishModel | i.PublishCopy, attempt: int, kind: int) -> i.Published:
        """The envelope that an earlier life had sealed for this intent if the store has it, else a new one."""
        begun = i.SEALED + intent.key
        sealed = self.journal.outcomes().get(begun)
        if isinstance(sealed, i.Published) and await self.exchange.published(sealed):
            return sealed
        return await self.exchange.publish(
            intent.task, intent.round, attempt, kind, intent.model_hash, intent.recipients,
            partial(self.journal.record, begun),
        )

    def _deliver(self, task: Address, model_hash: bytes) -> i.Done:
        self.workshop.results.mkdir(parents=True, exist_ok=True)
        target = self.workshop.results / f"{task}.safetensors"
        partial = target.with_suffix(".partial")
        shutil.copyfile(self.files.path(model_hash), partial)
        with passing(Boundary.RESULT_DELIVER):
            partial.replace(target)
        return i.Done()

    # ---- transactions -----------------------------------------------------------------------------------------------

    async def _send(self, intent: i.Transaction) -> None:
        call = call_for(intent, self.seals, self.joining, self.deadline_gas(intent.task))
        try:
            await self.chain.send(intent.key, call)
        except Rejected as error:
            if error.error not in ALREADY_TRUE:
                raise

    # ---- small things -----------------------------------------------------------------------------------------------

    def _learner(self, task: Address) -> Learner:
        specification = self.terms(task)
        if specification is None:
            raise Transient(f"the terms of {task} are not loaded yet")
        return self.learner(task, specification)

    def _adopt(self, out: Path, answer: Mapping[str, Any]) -> bytes:
        model_hash = bytes.fromhex(answer["hash"])
        self.files.adopt(out, model_hash)
        return model_hash

    def _file(self, model_hash: bytes) -> str:
        return str(self.files.path(model_hash))

    def _model_bytes(self, task: Address) -> int:
        path = self.files.path(self.genesis(task))
        if not path.exists():
            raise Transient(f"the initial model of {task} is not here yet")
        return path.stat().st_size

    def _progress(self, intent: i.Intent) -> Progress:
        return lambda values: self.progress(intent, values)


def _root_of(specification: Specification) -> bytes:
    return merkle_root(raw_address(address) for address in specification.allowed)


def training_seed(task: Address, round: int, account: Address) -> int:
    """63 bits from (task, round, account): the same after a restart, different for every worker."""
    digest = hashlib.sha256(f"train|{task}|{round}|{account}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
