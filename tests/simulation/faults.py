"""Makes a scenario's faults happen at their time, and knows afterwards whom they disturbed and when.

Owns the meaning of each kind of fault. Decides nothing about whether what follows is right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from bfl_events.schema import PhaseChanged, RoundAdvanced
from tests.simulation.endpoint import Endpoint
from tests.simulation.host import Host
from tests.simulation.ledger import GWEI, Block
from tests.simulation.network import Network
from tests.simulation.scenario import Fault, Scenario, memory
from tests.simulation.store import Store


@dataclass(frozen=True, slots=True)
class Disturbance:
    """From when to when (virtual seconds) somebody could not do as it should. `host` None: everybody."""

    host: int | None
    since: float
    until: float
    kind: str


@dataclass(frozen=True, slots=True)
class Hiding:
    """From when to when (virtual seconds) nobody could read these blobs."""

    since: float
    until: float
    cids: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class Loss:
    """At virtual second `at` a host lost what it had written down since another, of some kind ("home": of all)."""

    host: int
    kind: str
    since: float
    at: float

    def takes(self, *kinds: str) -> bool:
        return self.kind in ("home", "backup", *kinds)


FAILOVER_S = 2.0
"""How long it may take to notice that an endpoint does not answer, and to ask another one."""
PUBLIC_BLOBS = 2
"""Specification and first model: everybody pins them until the end."""


class Faults:
    """`disturbances`, `hidings` and `losses` are those so far; `dead` the hosts that never come back."""

    def __init__(
        self, scenario: Scenario, hosts: list[Host], endpoints: list[Endpoint], network: Network, store: Store,
        note: Callable[[str], None],
    ) -> None:
        self._scenario, self._hosts, self._endpoints = scenario, hosts, endpoints
        self._network, self._store, self._note = network, store, note
        self._dice = Random(f"faults {scenario.seed}")
        self.disturbances: list[Disturbance] = []
        self.hidings: list[Hiding] = []
        self.losses: list[Loss] = []
        self.dead: set[int] = set()
        self.quiet_at = 0.0
        self._bad_until = [0.0] * len(endpoints)
        self._backups: dict[int, dict[str, bytes]] = {}
        self._aimed: dict[str, Fault] = {}
        self._armed: list[Fault] = []
        self._armed_for_a_base: list[Fault] = []
        network.listeners.block.append(self._at_a_turn)
        network.listeners.reorg.append(self._undone)

    def schedule(self) -> None:
        """Every fault of the scenario, on the running loop."""
        for fault in self._scenario.faults:
            self._later(fault.at, self._strike, fault)
            self.quiet_at = max(self.quiet_at, fault.at + fault.seconds)

    def lost(self, host: int, *kinds: str) -> bool:
        """Whether this host has ever lost what it knew of one of these kinds."""
        return any(loss.host == host and loss.takes(*kinds) for loss in self.losses)

    def _later(self, seconds: float, act: Callable[..., None], *arguments: Any) -> None:
        asyncio.get_running_loop().call_later(seconds, act, *arguments)

    def _disturb(self, fault: Fault, hosts: tuple[int, ...] | None = None) -> None:
        now = asyncio.get_running_loop().time()
        for host in (None,) if hosts is None else hosts:
            self.disturbances.append(Disturbance(host, now, now + fault.seconds, fault.kind))
        self.quiet_at = max(self.quiet_at, now + fault.seconds)

    def _strike(self, fault: Fault) -> None:
        self._note(f"fault {fault}")
        match fault.kind:
            case "kill":
                for who in fault.who:
                    self._kill(who, fault)
            case "kill-at":
                host = self._hosts[fault.who[0]]
                host.fuse, host.on_fuse = host.crossings + int(fault.amount), self._burnt
                self._aimed[host.name] = fault
            case "forget":
                self._forget(fault.who[0], fault)
            case "dead":
                self._bury(fault)
            case "cut" | "slow" | "child":
                self._hinder(fault)
            case "reorg":
                self._disturb(fault)
                self._network.reorg(int(fault.amount), self._dice.randrange(2), self._dice.choice((0.5, 0.8, 1.0)))
            case "fork":
                self._armed.append(fault)
            case "fork-base":
                self._armed_for_a_base.append(fault)
            case "censor" | "pool" | "fee":
                self._meddle(fault)
            case "store-down" | "store-slow" | "store-corrupt" | "store-hidden" | "store-lost":
                self._break_store(fault)
            case kind:
                self._break_endpoints(kind, fault)

    # ---- processes

    def _kill(self, who: int, fault: Fault) -> None:
        host = self._hosts[who]
        if host.agent is None or who in self.dead:
            return
        self._disturb(fault, (who,))
        host.kill()
        self._note(f"killed {host.name}")
        self._later(max(fault.seconds, 0.1), self._start, who)

    def _burnt(self, host: Host) -> None:
        self._kill(self._hosts.index(host), self._aimed.pop(host.name))

    def _start(self, who: int) -> None:
        if who not in self.dead and self._hosts[who].agent is None:
            self._note(f"started {self._hosts[who].name}")
            self._hosts[who].start()

    def _forget(self, who: int, fault: Fault) -> None:
        """A kill, and what was on the disk is gone; "backup" brings back the databases as they were some time ago."""
        host, lost = self._hosts[who], memory(fault)
        if lost == "backup":
            self._backups[who] = host.disk.copy()
            self._later(10.0, self._restore, who, fault, asyncio.get_running_loop().time())
            self.quiet_at = max(self.quiet_at, fault.at + fault.seconds + 10)
            return
        self._kill(who, fault)
        self.losses.append(Loss(who, lost, 0.0, asyncio.get_running_loop().time()))
        for name in ("journal", "events", "outbox"):
            if lost in (name, "home"):
                host.disk.lose(f"{name}.sqlite")
        if lost in ("models", "home"):
            for path in (host.folder / "models").glob("*"):
                path.unlink()

    def _restore(self, who: int, fault: Fault, since: float) -> None:
        self._note(f"{self._hosts[who].name} is restored from a backup")
        if self._hosts[who].agent is not None:
            self._kill(who, fault)
            self.losses.append(Loss(who, "backup", since, asyncio.get_running_loop().time()))
            self._hosts[who].disk.restore(self._backups[who])

    def _bury(self, fault: Fault) -> None:
        honest = set(range(1, self._scenario.hosts - self._scenario.mute)) - self.dead
        for who in fault.who:
            if who == 0 or len(honest) > 2:
                honest.discard(who)
                self.dead.add(who)
                self.disturbances.append(Disturbance(who, fault.at, float("inf"), fault.kind))
                self._hosts[who].kill()

    def _hinder(self, fault: Fault) -> None:
        self._disturb(fault, fault.who)
        for host in (self._hosts[who] for who in fault.who):
            match fault.kind:
                case "cut":
                    host.wires.cut = True
                    self._later(fault.seconds, setattr, host.wires, "cut", False)
                case "slow":
                    host.bench.slowness = fault.amount
                    self._later(fault.seconds, self._quicken, host)
                case _:
                    host.bench.broken = True
                    self._later(fault.seconds, setattr, host.bench, "broken", False)

    def _quicken(self, host: Host) -> None:
        """What was begun slowly is ended slowly."""
        host.bench.slowness = 1.0
        now = asyncio.get_running_loop().time()
        self.disturbances.append(Disturbance(self._hosts.index(host), now, max(now, host.bench.busy_until), "slow"))

    # ---- chain and store

    def _at_a_turn(self, block: Block) -> None:
        """A fork is armed until a phase begins: that is where another order matters; or until a later round has begun
        and something was trained from its base, which then may be another."""
        if len(self._network.chain) - 1 != block.number:
            return
        turns = any(isinstance(record.event, RoundAdvanced | PhaseChanged) for record in block.records)
        if turns and self._armed:
            self._later(self._dice.uniform(0.0, 2.0), self._fork, self._armed.pop(0))
        based = any(isinstance(record.event, RoundAdvanced) and record.event.round > 1 for record in block.records)
        if based and self._armed_for_a_base:
            self._later(self._dice.uniform(2.0, 5.0), self._fork, self._armed_for_a_base.pop(0))

    def _undone(self, gone: list[Block], _: list[Block]) -> None:
        """Who had acted in a block that is gone may have no second chance: the new blocks have the old ones' times."""
        now = asyncio.get_running_loop().time()
        since = min(gone[0].time - self._network.epoch, now)
        self.disturbances.append(Disturbance(None, since, now, "undone"))

    def _fork(self, fault: Fault) -> None:
        """The last blocks are replaced, and some are kept out of the new ones for a while."""
        self._note(f"fork {fault}")
        self._disturb(fault)
        if fault.who:
            self._meddle(Fault(fault.at, "censor", fault.who, fault.seconds))
        self._network.reorg(int(fault.amount), self._dice.randrange(2), self._dice.choice((0.5, 0.8, 1.0)))

    def _meddle(self, fault: Fault) -> None:
        network = self._network
        match fault.kind:
            case "censor":
                self._disturb(fault, fault.who)
                accounts = {self._hosts[who].address for who in fault.who}
                network.censored = lambda tx: tx.sender in accounts
                self._later(fault.seconds, setattr, network, "censored", lambda _: False)
            case "pool":
                self._disturb(fault)
                network.drop_pool()
            case _:
                self._disturb(fault)
                network.base_fee = int(fault.amount) * GWEI
                self._later(fault.seconds, setattr, network, "base_fee", GWEI)

    def _break_endpoints(self, kind: str, fault: Fault) -> None:
        """Everybody is disturbed as long as no endpoint is sound; for one that is not, another stands in."""
        now = asyncio.get_running_loop().time()
        for who in fault.who:
            self._bad_until[who] = max(self._bad_until[who], now + fault.seconds)
        until = max(now + FAILOVER_S, min(self._bad_until))
        self.disturbances.append(Disturbance(None, now, until, kind))
        self.quiet_at = max(self.quiet_at, now + fault.seconds)
        for endpoint in (self._endpoints[who] for who in fault.who):
            match kind:
                case "lag":
                    endpoint.lag = int(fault.amount)
                    self._later(fault.seconds, setattr, endpoint, "lag", 0)
                case "stale":
                    endpoint.cling()
                    self._later(fault.seconds, setattr, endpoint, "stale", None)
                case _:
                    setattr(endpoint, kind, True)
                    self._later(fault.seconds, setattr, endpoint, kind, False)

    def _break_store(self, fault: Fault) -> None:
        self._disturb(fault)
        store = self._store
        match fault.kind:
            case "store-down":
                store.down = True
                self._later(fault.seconds, setattr, store, "down", False)
            case "store-slow":
                store.slow_s = fault.amount
                self._later(fault.seconds, setattr, store, "slow_s", 0.0)
            case "store-corrupt":
                store.corrupting = True
                self._later(fault.seconds, setattr, store, "corrupting", False)
            case "store-hidden":
                cids = self._hide(list(store.blobs), 0.5, fault.seconds)
                store.hidden.update(cids)
                self._later(fault.seconds, store.hidden.difference_update, cids)
            case _:
                for cid in self._hide(list(store.blobs)[PUBLIC_BLOBS:], 0.3, float("inf")):
                    del store.blobs[cid]

    def _hide(self, blobs: list[bytes], share: float, seconds: float) -> frozenset[bytes]:
        """Such a share of these blobs, from now on unreadable for so long."""
        now = asyncio.get_running_loop().time()
        cids = frozenset(cid for cid in blobs if self._dice.random() < share)
        self.hidings.append(Hiding(now, now + seconds, cids))
        return cids
