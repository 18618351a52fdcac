"""A requester and three workers on a real chain: the product's whole composition, in one process and without torch.

Owns their homes, their task and their lives. The learner is the simulation's stand-in; all else is what an operator
runs: settings, keystore, event source, outbox, envelopes, store.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from agents.composition import run
from agents.crypto.accounts import import_account
from agents.crypto.keys import generate_encryption_key, public_der, save_encryption_key
from agents.crypto.keystore import LIGHT_SCRYPT
from agents.home import Home
from agents.settings import Settings
from agents.storage import open_store
from bfl_events.commitment import checksum_address
from bfl_events.lineage import Ref
from bfl_events.log import EventLog
from bfl_events.schema import Address, Record
from tests.anvil import TERMS, Anvil, Contract, Deployment, deploy
from tests.simulation.learner import GENESIS, SPECIFICATION, Bench, Lineage, StandIn
from tests.system.chronicle import CHAIN_ID, Chronicle
from tests.system.proxy import Gate, Proxy

WORKERS = ("worker-1", "worker-2", "worker-3")
NAMES = ("requester", *WORKERS)
FUNDS = 100 * 10**18
COLLATERAL, REWARD = 10**16, 10**18
PASSWORD = "not secret"
SWIFT = 0.05       # training takes a twentieth of what it takes in the simulation


@cache
def key(name: str) -> tuple[bytes, RSAPrivateKey]:
    """An account's key, always the same, and an encryption key."""
    return hashlib.sha256(name.encode()).digest(), generate_encryption_key()


@dataclass
class Consortium:
    """Everybody's homes below `directory`; `endpoints` are the RPC endpoints of each, in order of preference."""

    directory: Path
    gate: Gate
    endpoints: Sequence[Proxy]
    rounds: int = 2
    window_s: int = 40
    deadline_s: float = 4
    addresses: dict[str, Address] = field(default_factory=dict)
    running: dict[str, asyncio.Task[int]] = field(default_factory=dict)
    lineage: Lineage = field(default_factory=Lineage)
    deployed: Deployment | None = None
    created: int = 0
    task: str = ""
    chronicle: Chronicle | None = None
    terms: dict[str, Any] = field(default_factory=dict)

    @property
    def anvil(self) -> Anvil:
        return self.gate.anvil

    async def prepare(self) -> None:
        """Contracts, homes, funds, the specification in the store, the task."""
        for name in NAMES:
            home = self.home(name).create()
            account, encryption = key(name)
            made = import_account(home.keystore, account, PASSWORD, created=datetime.now(UTC), scrypt_n=LIGHT_SCRYPT)
            save_encryption_key(home.encryption_keys, encryption, PASSWORD, created=datetime.now(UTC),
                                scrypt_n=LIGHT_SCRYPT)
            home.password.write_text(PASSWORD + "\n")
            self.addresses[name] = checksum_address(made.address)
        store = open_store(f"local:{self.directory / 'blobs'}", owner="test", deadline=10)
        cids, hashes = [], []
        for number, content in enumerate((SPECIFICATION.encode(), GENESIS)):
            (file := self.directory / f"public-{number}").write_bytes(content)
            cids.append(await store.put(file))
            hashes.append(hashlib.sha256(content).digest())
        await store.close()
        now = int(self.anvil.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
        windows = {f"{phase}Window": self.window_s for phase in ("join", "train", "open", "score", "reveal", "attest")}
        self.terms = {
            **TERMS, **windows, "rounds": self.rounds, "maxWorkers": 3, "collateral": COLLATERAL, "maxVoid": 20,
            "hardStop": now + 10**6, "specHash": hashes[0], "modelHash": hashes[1], "cids": tuple(cids),
        }
        self.settle_on_chain()

    def settle_on_chain(self) -> None:
        """Deploy and create: on a chain that was reset, the same as before at the same addresses."""
        anvil, requester = self.anvil, self.addresses["requester"]
        for address in self.addresses.values():
            anvil.rpc("anvil_setBalance", address, hex(FUNDS))
        self.deployed = deploy(anvil.url)
        terms = {name: value for name, value in self.terms.items() if name != "cids"}
        arguments = (b"n" * 32, tuple(terms.values()), *self.terms["cids"], public_der(key("requester")[1]))
        anvil.rpc("anvil_impersonateAccount", requester)
        factory = Contract(anvil.url, self.deployed.factory, "FLTaskFactory")
        receipt = factory.send("createTask", *arguments, sender=requester, value=REWARD)
        anvil.rpc("anvil_stopImpersonatingAccount", requester)
        log = next(one for one in receipt["logs"] if one["address"].lower() == factory.address.lower())
        self.task = checksum_address(bytes.fromhex(log["topics"][1][-40:]))
        self.created = int(receipt["blockNumber"], 16)
        self.chronicle = self.chronicle or Chronicle(anvil, factory.address, self.task, self.deployed.block)

    # ---- lives

    def home(self, name: str) -> Home:
        return Home(self.directory / name)

    def start(self, *names: str) -> None:
        for name in names or NAMES:
            bench = Bench(self.addresses[name], self.lineage, Random(name), lambda: False, slowness=SWIFT)
            living = run(self.settings(name), task=self.task, disguise=lambda _, bench=bench: StandIn(bench))  # type: ignore[misc]
            self.running[name] = asyncio.create_task(living, name=name)

    def settings(self, name: str) -> Settings:
        assert self.deployed is not None
        chain = {"rpc": [one.url for one in self.endpoints], "chain_id": CHAIN_ID, "factory": self.deployed.factory,
                 "start_block": self.deployed.block, "confirmations": 0, "poll_s": 0.5,
                 "deadline_s": self.deadline_s}
        return Settings(
            home=self.home(name), role="requester" if name == "requester" else "worker", name=name,
            profile="development", chain=chain, store={"address": "local:../blobs"},
            account={"address": self.addresses[name]},
            policy={"min_window_blocks": 0}, observe={"log_format": "json", "log_level": "info"},
        )

    async def ends(self, within_s: float) -> None:
        """Everybody ends by itself, with code 0."""
        end = asyncio.get_running_loop().time() + within_s
        left: set[asyncio.Future[Any]] = set(self.running.values())
        while left:
            ended, left = await asyncio.wait([*left, self.gate.broken], return_when=asyncio.FIRST_COMPLETED,
                                             timeout=end - asyncio.get_running_loop().time())
            assert all(one.result() == 0 for one in ended), self.story()
            left.discard(self.gate.broken)
            assert ended, self.story()

    async def stop(self) -> None:
        for living in self.running.values():
            living.cancel()
        await asyncio.gather(*self.running.values(), return_exceptions=True)

    # ---- what is left

    def agree_with_the_chain(self) -> None:
        """Every event log ends row for row equal to the chain's: block, hash, time, index, transaction, fields."""
        assert self.chronicle is not None
        fork = self.chronicle.forks[-1]
        for name in NAMES:
            records, cursor = self.log_of(name)
            assert records == list(fork.records), f"{name}'s log differs from the chain's"
            assert cursor is not None
            held = self.anvil.rpc("eth_getBlockByNumber", hex(cursor.number), False)
            assert held["hash"] == "0x" + cursor.hash.hex()

    def log_of(self, name: str) -> tuple[list[Record], Ref | None]:
        assert self.deployed is not None
        with EventLog(self.home(name).network(CHAIN_ID, self.deployed.factory).events) as log:
            return list(log.records()), log.cursor()

    def told(self, name: str, event: str) -> list[dict[str, Any]]:
        """The lines of an agent's log with this marker."""
        lines = self.home(name).log.read_text().splitlines() if self.home(name).log.exists() else []
        return [line for line in map(json.loads, lines) if line["event"] == event]

    async def all_are_told(self, words: str, within_s: float = 90) -> None:
        """Every worker says what is wrong with its endpoints, in these words."""
        async with asyncio.timeout(within_s):
            while not all(any(words in one["reason"] for one in self.told(name, "chain.unreachable"))
                          for name in WORKERS):
                await asyncio.sleep(0.05)

    def story(self) -> str:
        """What a failure needs: the chain's phase and everybody's last words."""
        with suppress(OSError):
            core = Contract(self.anvil.url, self.task, "FLTask").call("core")
            parts = [f"core {core}"]
            for name in NAMES:
                lines = self.home(name).log.read_text().splitlines() if self.home(name).log.exists() else []
                parts += [f"--- {name}: {self.running.get(name)}", *lines[-25:]]
            return "\n".join(parts)
        return "the chain is down"
