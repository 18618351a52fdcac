"""A whole task in this process: real learning sessions, some disguised, on the contract's Python model. No network.

Owns the order of a round: what agents would compute is computed, what they would send is sent to the model.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from agents.cli import terms
from agents.core.novelty import compared_with
from agents.demo.attack import Attack
from agents.demo.attacks import Disguise
from agents.demo.plan import Plan
from agents.effects.child_setup import Site, child_setup
from agents.effects.hands import training_seed
from agents.effects.ports import Learner, Progress
from agents.learning.exact import ExactThread
from agents.learning.session import Session
from agents.learning.settings import from_request
from bfl_events.commitment import model_commitment, score_commitment
from bfl_events.rules import audit_beta, members_of, pack_row
from bfl_events.schema import Event, WorkerPenalized
from bfl_events.state import Attempt, Member, TaskState
from tests.simulation.play import CID, SALT, STRANGER, Call, Game, account, default_params

WORKERS = 5


class Desk:
    """One worker's real learning as a port. The same base and seed are not trained twice."""

    def __init__(self, setup: Mapping[str, Any], archive: Path) -> None:
        self._session = Session(from_request(setup), dict(setup), ExactThread())
        self._archive = archive
        self._trained: dict[str, Mapping[str, Any]] = {}
        archive.mkdir()

    async def request(
        self, operation: str, fields: Mapping[str, Any], progress: Progress | None = None
    ) -> Mapping[str, Any]:
        return self._train(fields) if operation == "train" else self.now(operation, **fields)

    async def restart(self) -> None: ...

    def now(self, operation: str, **fields: Any) -> Mapping[str, Any]:
        return self._session.answer(operation, {"op": operation, **fields}, lambda _: None)

    def _train(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        name = f"{digest(Path(fields['base'])).hex()}-{fields['seed']}"
        kept = self._archive / name
        if name not in self._trained:
            self._trained[name] = self.now("train", **{**fields, "out": str(kept)})
        shutil.copyfile(kept, fields["out"])
        return self._trained[name]


@dataclass(frozen=True)
class Laboratory:
    """Desks of WORKERS workers of the digits' demo, its terms, and its initial model."""

    desks: Sequence[Desk]
    draft: terms.Draft
    genesis: Path


def laboratory(directory: Path, rounds: int) -> Laboratory:
    text = Plan(directory, workers=WORKERS, rounds=rounds).specification(tuple(account(i + 1) for i in range(WORKERS)))
    (directory / "task.toml").write_text(text)
    draft = terms.read(directory / "task.toml")
    desks = []
    for index in range(WORKERS):
        site = Site(partition={"kind": "iid", "index": index, "of": WORKERS, "seed": 0}, device="cpu")
        desks.append(Desk(child_setup(draft.specification, site), directory / f"desk-{index}"))
    desks[0].now("genesis", seed=0, out=str(directory / "genesis"))
    return Laboratory(desks, draft, directory / "genesis")


class Consortium:
    """A task in which worker i plays `attacks[i]`; the others are honest. `models` are all files by hash."""

    def __init__(self, lab: Laboratory, attacks: Mapping[int, Attack], directory: Path) -> None:
        self.lab, self.attacks, self.directory = lab, attacks, directory
        self.learners: list[Learner] = [
            Disguise(desk, attacks[i], directory / f"loot-{i}") if i in attacks else desk
            for i, desk in enumerate(lab.desks)]
        usual = default_params(1_700_000_000)
        self.game = Game.create(Random(0), replace(
            lab.draft.params, hard_stop=usual.hard_stop, allow_root=bytes(32), model_hash=digest(lab.genesis)),
            reward=lab.draft.reward)
        self.game.start(WORKERS)
        self.models = {digest(lab.genesis): lab.genesis}
        self.base = lab.genesis
        self.bases = [lab.genesis]
        self.fines: list[WorkerPenalized] = []

    @property
    def state(self) -> TaskState:
        return self.game.model.state

    @property
    def honest(self) -> list[int]:
        return [i for i in range(WORKERS) if i not in self.attacks]

    def earned(self, index: int) -> int:
        """Rewards and forfeits; not the bond that comes back."""
        one = self.state.member(index)
        return one.credit + one.bond + self.slashed(index) - self.state.params.collateral

    def slashed(self, index: int) -> int:
        return sum(fine.amount for fine in self.fines if fine.worker == account(index + 1))

    def faults(self, index: int) -> list[tuple[int, int]]:
        """(round, reason) of a worker's fines."""
        return [(fine.round, fine.reason) for fine in self.fines if fine.worker == account(index + 1)]

    def settled(self) -> list[Attempt]:
        return [attempt for attempt in self.state.attempts if attempt.scored is not None]

    def accepted(self, index: int) -> list[int]:
        """The rounds in which a worker's model was averaged."""
        return [one.round for one in self.settled() if one.scored is not None and one.scored.accepted >> index & 1]

    def accuracy(self) -> float:
        """Of the global model, on digits that nobody trained on."""
        return float(self.lab.desks[self.honest[0]].now("evaluate", path=str(self.base), split="test")["accuracy"])

    async def play(self) -> None:
        """All rounds: train, open, score, reveal, settle, aggregate."""
        while self.state.phase.in_round:
            present = [self.state.member(i) for i in members_of(self.state.active)]
            await self._train(present)
            await self._score(present)
            await self._settle()

    async def _train(self, present: Sequence[Member]) -> None:
        s, place, mine = self.state, self.game.model._place(), {}
        for one in present:
            out = self.directory / f"{s.round}-{one.index}"
            seed = training_seed(s.address, s.round, one.account)
            answer = await self.learners[one.index].request(
                "train", {"base": str(self.base), "out": str(out), "seed": seed})
            mine[one.index] = bytes.fromhex(str(answer["hash"]))
            self.models.setdefault(mine[one.index], out)
            commitment = model_commitment(place, one.account, mine[one.index], SALT)
            self._send("commit_model", one, s.round, s.attempt, commitment, digest(self.base))
        for one in present:
            self._send("open_model", one, s.round, mine[one.index], SALT, 1_000, CID)

    async def _score(self, present: Sequence[Member]) -> None:
        s, place = self.state, self.game.model._place()
        beta = f"{audit_beta(s.current.seed) / 1000:.3f}" if s.round > 1 else None
        rows = {}
        for one in present:
            models = [{"index": j, "path": str(self.models[opened.model_hash]), "own": j == one.index,
                       "compare": [str(self.models[h]) for h in compared_with(s, s.current, j, self.models.keys())]}
                      for j, opened in s.current.opened.items()]
            answer = await self.learners[one.index].request("score", {
                "base": str(self.base), "genesis": str(self.lab.genesis), "beta": beta, "models": models})
            rows[one.index] = pack_row([answer["lanes"].get(str(k), 0) for k in range(s.lanes)])
            commitment = score_commitment(place, one.account, rows[one.index], SALT)
            self._send("commit_scores", one, s.round, s.attempt, commitment)
        for one in present:
            self._send("submit_score", one, s.round, rows[one.index], SALT)

    async def _settle(self) -> None:
        judged = self.state.current
        events = self.game.must(Call("next_round", STRANGER))
        self.fines += [event for event in events if isinstance(event, WorkerPenalized)]
        scored = self.settled()[-1].scored
        assert scored is not None
        if not scored.accepted:
            return
        models = [{"index": j, "path": str(self.models[judged.opened[j].model_hash])}
                  for j in members_of(scored.accepted)]
        outs = [self.directory / f"global-{judged.round}-{index}" for index in self.honest[:2]]
        for index, out in zip(self.honest, outs, strict=False):
            self.lab.desks[index].now("aggregate", base=str(self.base), models=models, out=str(out))
        assert digest(outs[0]) == digest(outs[1]), "every honest worker computes the same model"
        self.base = outs[0]
        self.bases.append(self.base)

    def _send(self, method: str, who: Member, *arguments: Any) -> tuple[Event, ...]:
        return self.game.must(Call(method, who.account, arguments))


def digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()
