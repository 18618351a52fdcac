"""One run: a scenario becomes hosts, a chain and a store on one virtual loop, until the task is over or time is up.

Owns the order of things. The same scenario gives the same run, to the byte.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from random import Random
from tempfile import mkdtemp

from agents.crypto.allowlist import merkle_root
from agents.effects.seals import raw_address
from bfl_events.rules import claims
from bfl_events.schema import Address
from bfl_events.state import TaskState
from tests.simulation.contract import FactoryModel
from tests.simulation.doubles import stand_ins
from tests.simulation.endpoint import Endpoint
from tests.simulation.faults import Faults
from tests.simulation.host import CHAIN_ID, Character, Host, Surroundings, forget_commitments
from tests.simulation.judge import Judge
from tests.simulation.learner import GENESIS, SPECIFICATION, Bench, Lineage
from tests.simulation.ledger import Execution, Fork, found_task, genesis
from tests.simulation.loop import Stuck, VirtualLoop
from tests.simulation.network import Mood, Network
from tests.simulation.play import FACTORY, IMPLEMENTATION, REQUESTER, account, default_params
from tests.simulation.scenario import ENDPOINTS, Scenario
from tests.simulation.store import Store

EPOCH = 1_700_000_000
ETHER = 10**18
STABLE_BLOCKS = 2
SLACK_S = 120.0


@dataclass(slots=True)
class Result:
    """`broken`: the invariants that did not hold. `seconds`: virtual. `trace`: what happened, if it was asked for."""

    scenario: Scenario
    broken: list[str]
    seconds: float
    phase: str
    counts: dict[str, int]
    trace: list[str] = field(default_factory=list)


def run(scenario: Scenario, *, trace: bool = False, folder: Path | None = None) -> Result:
    """Play a scenario to its end."""
    forget_commitments()
    with stand_ins(), _folder(folder) as place:
        loop = VirtualLoop()
        try:
            simulation = Simulation(scenario, place, loop, trace=trace)
            loop.set_exception_handler(simulation.judge.crashed)
            loop.run_until_complete(simulation.play())
            return simulation.result()
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()


class Simulation:
    def __init__(self, scenario: Scenario, folder: Path, loop: VirtualLoop, *, trace: bool) -> None:
        self.scenario, self._folder, self._loop = scenario, folder, loop
        self.trace: list[str] = []
        note = self._note if trace else None
        self.lineage = Lineage()
        self.judge = Judge(scenario, self.lineage, note)
        self.store = Store()
        self._note_line: Callable[[str], None] = note or (lambda _: None)
        self.finished = False

    def _note(self, line: str) -> None:
        self.trace.append(f"{self._loop.time():9.3f}  {line}")

    async def play(self) -> None:
        """Everything from the creation of the task on."""
        self.network = self._make_network()
        endpoints = [Endpoint(self.network, CHAIN_ID) for _ in range(ENDPOINTS)]
        around = Surroundings(endpoints, self.store, EPOCH, self.judge, self.scenario.whole_event_path)
        self.hosts = [self._host(index, around) for index in range(self.scenario.hosts)]
        faults = Faults(self.scenario, self.hosts, endpoints, self.network, self.store, self._note_line)
        self.judge.watch(self.network, faults, self.hosts, self.store)
        self.network.listeners.block.append(lambda _: self._ring())
        miner = asyncio.create_task(self.network.run())
        try:
            for host in self.hosts:
                self._loop.call_later(host.character.delay_s, self._first_start, host, faults)
            faults.schedule()
            await self._until_over(faults)
        except Stuck as error:
            self.judge.violated(str(error))
        finally:
            miner.cancel()
            for host in self.hosts:
                host.discard()
            await asyncio.sleep(0.01)

    def _first_start(self, host: Host, faults: Faults) -> None:
        if self.hosts.index(host) not in faults.dead and not host.starts:
            host.start()

    def _ring(self) -> None:
        for host in self.hosts:
            self._loop.call_later(0.01, host.ring)

    async def _until_over(self, faults: Faults) -> None:
        limit = self._limit()
        calm = 0
        while calm < STABLE_BLOCKS and not self.judge.broken:
            if self._loop.time() > max(faults.quiet_at, self._last_start()) + limit:
                break
            await asyncio.sleep(1.0)
            calm = calm + 1 if self._over(faults) else 0
        self.judge.finish(over=calm >= STABLE_BLOCKS)

    def _last_start(self) -> float:
        return max(host.character.delay_s for host in self.hosts)

    def _limit(self) -> float:
        """Seconds after the last fault within which everything must be over: twice all windows, and some slack."""
        p = self.task.params
        a_round = p.train_window + p.open_window + p.score_window + p.reveal_window
        return p.join_window + 2 * p.rounds * a_round + p.attest_window + SLACK_S

    @property
    def task(self) -> TaskState:
        return next(iter(self.network.head.state.tasks.values()))

    def _over(self, faults: Faults) -> bool:
        task = self.task
        if not task.phase.ended or not claims(task).empty:
            return False
        if not all(self._caught_up(host, task) for host in self.hosts if host.agent is not None):
            return False
        requester = self.hosts[0]
        missing = 0 not in faults.dead and task.final_hash != bytes(32)
        return not missing or (requester.folder / "results" / f"{task.address}.safetensors").exists()

    @staticmethod
    def _caught_up(host: Host, task: TaskState) -> bool:
        assert host.agent is not None
        outlook = host.agent.daemon.outlook
        return outlook is not None and outlook.world.tasks.get(task.address) == task

    # ---- what there is at the beginning

    def _make_network(self) -> Network:
        s = self.scenario
        people = [REQUESTER, *(account(n + 1) for n in range(s.workers))]
        start = genesis(EPOCH - 10, CHAIN_ID, dict.fromkeys(people, 1000 * ETHER))
        specification = replace(SPECIFICATION, allowed=tuple(sorted(p.lower() for p in people))) if s.late_s else SPECIFICATION  # noqa: E501
        spec, model = specification.encode(), GENESIS
        params = default_params(
            EPOCH, rounds=s.rounds, min_workers=s.workers - bool(s.late_s), max_workers=s.workers, max_miss=s.max_miss,
            late_join=bool(s.late_s), top_k=1, tie_band=500, max_low=0, max_void=6, dev_tol=3000, miss_bps=500,
            join_window=10 if s.late_s else 20, train_window=18, open_window=12, score_window=12, reveal_window=12,
            attest_window=14, allow_root=merkle_root(raw_address(p) for p in people) if s.late_s else bytes(32),
            model_hash=sha256(model).digest(), spec_hash=sha256(spec).digest(),
        )
        cids = self.store.add(REQUESTER, spec), self.store.add(REQUESTER, model)
        factory = FactoryModel(Fork(chain_id=CHAIN_ID, block_open=True), FACTORY, IMPLEMENTATION)
        first = found_task(start, EPOCH, factory, REQUESTER, bytes(32), params, *cids, b"requester key",
                           value=30 * ETHER)
        mood = Mood(s.block_s, s.slow_txs)
        return Network([start, first], Execution(CHAIN_ID), mood, Random(f"network {s.seed}"), EPOCH)

    def _host(self, index: int, around: Surroundings) -> Host:
        s = self.scenario
        name = "requester" if index == 0 else f"worker {index}"
        address: Address = REQUESTER if index == 0 else account(index)
        late = s.late_s if index == s.workers else 0.0
        character = Character(
            name, address, "requester" if index == 0 else "worker", s.confirmations, None if s.block_s else 0.0,
            s.skews[index] if s.skews else 0.0, late)
        place = self._folder / f"host{index}"
        place.mkdir()
        bench = Bench(address, self.lineage, Random(f"bench {s.seed} {index}"), lambda: False)
        return Host(place, character, around, bench, Random(f"wires {s.seed} {index}"))

    def result(self) -> Result:
        return Result(self.scenario, self.judge.broken, self._loop.time(), self.task.phase.name,
                      dict(self.judge.counts), self.trace)


@contextmanager
def _folder(given: Path | None):
    """A folder for the model files, in memory where the machine has one."""
    memory = Path("/dev/shm")
    folder = Path(mkdtemp(prefix="simulation-", dir=given or (memory if memory.is_dir() else None)))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
