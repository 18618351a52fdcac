"""Agents that really decide, on the contract's model, with hands that do everything at once and never fail.

Owns the stand-ins: a model is the hash of what it was made from, an envelope a row in a table. For laws about decisions
alone; the runner, journal and outbox have no part in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random

from agents.core import intents as i, requester, worker
from agents.core.reduce import fold
from agents.core.specification import Specification
from agents.core.state import Limits, Me, Memory, Now, World
from agents.crypto.allowlist import merkle_proof, merkle_root
from bfl_events.commitment import Place, address_bytes, model_commitment, score_commitment
from bfl_events.rules import CONTROL_LANES, pack_row
from bfl_events.schema import Address, Params, Word
from tests.simulation.chain import ChainModel, ContractError
from tests.simulation.contract import FactoryModel, TaskModel
from tests.simulation.play import CID, FACTORY, IMPLEMENTATION, REQUESTER, account, default_params

INVITED = tuple(account(number + 1) for number in range(8))
SPECIFICATION = Specification("digits", 10, allowed=tuple(sorted(address.lower() for address in INVITED)))


def name(*parts: object) -> bytes:
    return sha256(repr(parts).encode()).digest()


@dataclass(frozen=True)
class Envelope:
    """What was sealed for whom, under which context."""

    model_hash: bytes
    readers: frozenset[Address]
    context: tuple[object, ...]


@dataclass(frozen=True)
class Seals:
    """Salts derived from the account, as in the product."""

    chain_id: int
    owner: Address

    def salt(self, kind: str, task: Address, round: int, attempt: int) -> bytes:
        return name("salt", kind, self.owner, task, round, attempt)

    def model(self, task: Address, round: int, attempt: int, model_hash: bytes) -> bytes:
        place = Place(self.chain_id, task, round, attempt)
        return model_commitment(place, self.owner, model_hash, self.salt("model", task, round, attempt))

    def scores(self, task: Address, round: int, attempt: int, row: Iterable[Word]) -> bytes:
        place = Place(self.chain_id, task, round, attempt)
        return score_commitment(place, self.owner, tuple(row), self.salt("scores", task, round, attempt))


@dataclass
class Agent:
    """One decider and what it remembers. `alive` False: it neither decides nor acts. `form`: on what its training
    depends besides the seed, as on most hardware."""

    me: Me
    decide: Callable[[World, Memory, Me, Now], tuple[i.Intent, ...]]
    outcomes: dict[str, i.Outcome] = field(default_factory=dict)
    models: set[bytes] = field(default_factory=set)
    alive: bool = True
    form: int = 0
    done: list[i.Intent] = field(default_factory=list)

    @property
    def memory(self) -> Memory:
        return Memory(self.outcomes, frozenset(self.models))

    def forget(self) -> None:
        """All is lost but the key."""
        self.outcomes.clear()
        self.models.clear()


class Federation:
    """A requester, workers, a chain and a store. In one second everybody acts until nothing is due."""

    def __init__(self, workers: int, seed: int = 0, **terms: object) -> None:
        self.chain = ChainModel(seconds_per_block=0)
        self.random = Random(seed)
        everybody = {"min_workers": workers, "max_workers": workers, "late_join": False} | terms
        everybody["allow_root"] = merkle_root(address_bytes(address) for address in INVITED)
        params: Params = default_params(self.chain.time, **everybody)
        factory = FactoryModel(self.chain, FACTORY, IMPLEMENTATION)
        self.task: TaskModel = factory.create_task(
            REQUESTER, bytes(32), params, CID, CID, b"requester key", value=30 * 10**18
        )
        limits = Limits(max_collateral_wei=10**19, max_open_collateral_wei=10**19)
        self.workers = [self._agent(account(n + 1), worker.decide, limits) for n in range(workers)]
        self.requester = self._agent(REQUESTER, requester.decide, limits)
        self.store: dict[bytes, Envelope] = {}
        self.delivered: bytes | None = None
        self.quality: Callable[[Address, bytes], int] = lambda scorer, _: 9000 + int(scorer[-2:], 16) % 40

    def arrive(self) -> Agent:
        """One more worker, who has heard nothing so far."""
        self.workers.append(self._agent(account(len(self.workers) + 1), worker.decide, self.requester.me.limits))
        return self.workers[-1]

    def _agent(self, address: Address, decide: Callable[..., tuple[i.Intent, ...]], limits: Limits) -> Agent:
        return Agent(Me(address, Seals(self.chain.chain_id, address), limits), decide)

    @property
    def agents(self) -> list[Agent]:
        return [*self.workers, self.requester]

    def run(self, seconds: int, until: Callable[[], bool] | None = None) -> None:
        """Tick until the task has ended and is drained, or `until` holds. Raises AssertionError when time runs out."""
        over = until or self._over
        for _ in range(seconds):
            if self._tick(over):
                return
        raise AssertionError(f"not done after {seconds} s: {self.task.state.phase.name}, {self.task.balance} wei left")

    def _over(self) -> bool:
        paid = self.task.state.phase.ended and self.task.balance == 0
        waiting = self.requester.alive and self.task.state.final_hash != bytes(32) and self.delivered is None
        return paid and not waiting

    def _tick(self, over: Callable[[], bool]) -> bool:
        """Everybody alive acts, in random order, as often as something is due; then a second passes."""
        for _ in range(2000):
            if over():
                return True
            turns = self.random.sample(self.agents, len(self.agents))
            if not any(agent.alive and self._act(agent) for agent in turns):
                self.chain.warp(1)
                return False
        raise AssertionError(f"no rest within one second; last: {[a.done[-3:] for a in self.agents]}")

    def _act(self, agent: Agent) -> bool:
        world = fold(World(), self.chain.records)
        now = Now(float(self.chain.time), self.chain.number)
        for intent in agent.decide(world, agent.memory, agent.me, now):
            if self._perform(agent, intent):
                agent.done.append(intent)
                return True
        return False

    def _perform(self, agent: Agent, intent: i.Intent) -> bool:
        assert not isinstance(intent, i.Halt), intent
        if isinstance(intent, i.Transaction):
            try:
                self._send(agent.me.address, agent.me.seals, intent)  # type: ignore[arg-type]
            except ContractError:
                return False
            return True
        outcome = self._work(agent, intent)
        if outcome is None or agent.outcomes.get(intent.key) == outcome and not isinstance(outcome, i.ModelReady):
            return False
        agent.outcomes[intent.key] = outcome
        if isinstance(outcome, i.ModelReady):
            agent.models.add(outcome.model_hash)
        return True

    def _work(self, agent: Agent, intent: i.Work) -> i.Outcome | None:
        match intent:
            case i.LoadTerms():
                agent.models.add(intent.model_hash)
                return i.TermsReady(SPECIFICATION.encode().decode())
            case i.DryRun():
                return i.Done()
            case i.TrainModel(_, round, base):
                return i.ModelReady(name("trained", agent.me.address, round, base, agent.form))
            case i.AggregateModels(_, _, base, models):
                assert {base, *(digest for _, digest in models)} <= agent.models
                return i.ModelReady(name("aggregate", base, models))
            case i.PublishModel(task, round, attempt, digest, readers):
                return self._publish(agent, digest, readers, (task, round, attempt, agent.me.address, 0))
            case i.PublishCopy(task, round, kind, digest, readers):
                return self._publish(agent, digest, readers, (task, round, 0, agent.me.address, kind))
            case i.FetchModel():
                return self._fetch(agent, intent)
            case i.ScoreModels():
                return i.RowReady(self._row(agent, intent))
            case i.DeliverFinal(_, digest):
                assert digest in agent.models
                self.delivered = digest
                return i.Done()
            case i.ClearRound(_, _, models, _):
                agent.models -= set(models)
                return i.Done()

    def _publish(
        self, agent: Agent, digest: bytes, readers: tuple[tuple[Address, bytes], ...], context: tuple[object, ...]
    ) -> i.Published:
        assert digest in agent.models
        cid = b"\x01\x55\x12\x20" + name("envelope", digest, readers, context)
        self.store[cid] = Envelope(digest, frozenset(address for address, _ in readers), context)
        return i.Published(cid, 1000)

    def _fetch(self, agent: Agent, intent: i.FetchModel) -> i.Outcome | None:
        envelope = self.store.get(intent.cid)
        if envelope is None:
            return None
        context = (intent.task, intent.round, intent.attempt, intent.sender, intent.kind)
        if envelope.context != context or agent.me.address not in envelope.readers:
            return i.Refused("context or recipient")
        if envelope.model_hash != intent.model_hash:
            return i.Refused("hash")
        return i.ModelReady(intent.model_hash)

    def _row(self, agent: Agent, intent: i.ScoreModels) -> tuple[Word, ...]:
        lanes = [0] * intent.lanes
        lanes[0] = lanes[1] = self.quality(agent.me.address, intent.base_hash)
        for candidate in intent.candidates:
            if candidate.index != intent.own_index and candidate.model_hash is not None:
                lanes[CONTROL_LANES + candidate.index] = self.quality(agent.me.address, candidate.model_hash)
        return pack_row(lanes)

    def _send(self, sender: Address, seals: Seals, intent: i.Transaction) -> None:
        task = self.task
        match intent:
            case i.JoinTask(_, collateral):
                proof = merkle_proof([address_bytes(address) for address in INVITED], address_bytes(sender))
                task.join_task(sender, sender, b"key of " + sender.encode(), proof, value=collateral)
            case i.StartTask():
                task.start_task(sender)
            case i.CommitModel(address, round, attempt, digest, base):
                task.commit_model(sender, round, attempt, seals.model(address, round, attempt, digest), base)
            case i.OpenModel(address, round, attempt, digest, size, cid):
                task.open_model(sender, round, digest, seals.salt("model", address, round, attempt), size, cid)
            case i.CommitScores(address, round, attempt, row):
                task.commit_scores(sender, round, attempt, seals.scores(address, round, attempt, row))
            case i.SubmitScore(address, round, attempt, row):
                task.submit_score(sender, round, row, seals.salt("scores", address, round, attempt))
            case i.AdvanceRound():
                task.next_round(sender)
            case i.AttestFinal(_, digest, cid):
                task.attest_final(sender, digest, cid)
            case i.SendNotice(_, kind, round, to, ref, cid):
                task.notice(sender, kind, round, to, ref, cid)
            case i.LeaveTask():
                task.remove_worker(sender)
            case i.Withdraw(_, owner):
                task.withdraw(sender, owner)
            case i.Refund():
                task.refund(sender)
            case i.Burn():
                task.burn(sender)
