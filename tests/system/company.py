"""Real agents in this process: the composition that `bfl-agent run` starts, a real chain, a learner without torch.

Owns their homes, the tasks they are offered, and how a test watches them: log markers, balances, files. A learner's
models are 64 bytes; everything between the learner and the chain is the product.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

from agents import composition
from agents.core.specification import Specification
from agents.crypto.accounts import new_account
from agents.crypto.allowlist import merkle_root
from agents.crypto.keystore import LIGHT_SCRYPT, read_password
from agents.effects.ports import Learner, Progress
from agents.home import Home
from agents.identity import choose
from agents.keyring import Keyring
from agents.notation import checksum_address
from agents.settings import load
from agents.storage import open_store
from bfl_events.decode import decode_log
from bfl_events.rules import AUDIT_LANE, CONTROL_LANES
from bfl_events.schema import Event
from tests.anvil import TERMS, Anvil, Contract
from tests.system.stand_in import TRIAL

DIGITS = Specification("digits", 10)
GENESIS = b"genesis".ljust(64, b".")
COLLATERAL, REWARD = 10**15, 3 * 10**16
PATIENCE_S = 120.0
_nonces = count(1)


class StandIn:
    """`agents.effects.ports.Learner`: models are hashes of what they were made from, all scores are good, and so is
    the trial."""

    trial: Mapping[str, Any] = TRIAL

    async def request(
        self, operation: str, fields: Mapping[str, Any], progress: Progress | None = None
    ) -> Mapping[str, Any]:
        match operation:
            case "train":
                return self._made(fields["out"], "trained", fields["base"], fields["seed"])
            case "aggregate":
                parts = [(model["index"], Path(model["path"]).stem) for model in fields["models"]]
                return self._made(fields["out"], "averaged", fields["base"], parts)
            case "score":
                others = (model for model in fields["models"] if model["path"] is not None and not model["own"])
                lanes = {0: 9000, AUDIT_LANE: 9000} | {CONTROL_LANES + model["index"]: 9100 for model in others}
                return {"lanes": lanes, "verdicts": [], "seconds": 0.0}
            case _:
                return self.trial

    async def restart(self) -> None:
        """There is no child to kill."""

    def _made(self, out: str, kind: str, base: str, *parts: object) -> Mapping[str, Any]:
        content = 2 * sha256(repr((kind, Path(base).stem, parts)).encode()).digest()
        Path(out).write_bytes(content)
        return {"hash": sha256(content).hexdigest(), "seconds": 0.0}


@dataclass
class Party:
    """One operator: a home with an account of its own, and its agent while it runs."""

    anvil: Anvil
    home: Home
    address: str
    learner: Callable[[Learner], Learner] = field(default=lambda _: StandIn())

    async def run(self, task: str | None = None) -> int:
        """The agent until it ends by itself; its exit code."""
        return await composition.run(load(self.home), task=task, disguise=self.learner)

    @asynccontextmanager
    async def running(self, task: str | None = None) -> AsyncIterator[asyncio.Task[int]]:
        """The agent, told to stop at the end of the block if it has not ended."""
        agent = asyncio.create_task(self.run(task), name=self.home.root.name)
        try:
            yield agent
        finally:
            agent.cancel()
            await asyncio.gather(agent, return_exceptions=True)

    def log(self) -> list[dict[str, Any]]:
        text = self.home.log.read_text() if self.home.log.exists() else ""
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]

    def said(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """The log lines of this marker with these fields."""
        return [line for line in self.log() if line["event"] == event and fields.items() <= line.items()]

    def balance(self) -> int:
        return int(self.anvil.rpc("eth_getBalance", self.address, "latest"), 16)

    def sent(self) -> int:
        """How many transactions of its account there are, those that wait to be mined too."""
        return int(self.anvil.rpc("eth_getTransactionCount", self.address, "pending"), 16)

    def files(self, *but: str) -> dict[str, bytes]:
        """Everything in the home that an operator would miss: not logs, sockets, its stamp, nor what `but` names."""
        known = ((path, str(path.relative_to(self.home.root))) for path in sorted(self.home.root.rglob("*")))
        return {name: path.read_bytes() for path, name in known
                if path.is_file() and not name.startswith(("logs/", "run/", "format", *but))}

    @cached_property
    def key(self) -> bytes:
        """Its first public encryption key, made if there is none yet. Opening a keystore takes most of a second."""
        keyring = Keyring(self.home, choose(self.home, None), read_password(self.home.password))
        return keyring.newest()


@dataclass
class Company:
    """Parties with one chain, one factory and one blob store."""

    anvil: Anvil
    factory: str
    folder: Path

    @property
    def store(self) -> Path:
        return self.folder / "blobs"

    def party(self, name: str, role: str = "worker", more: str = "", *, wei: int = 10**20) -> Party:
        """A new home; `more` is TOML that follows the tables [chain] and [store]."""
        home = Home(self.folder / name).create()
        password = secrets.token_urlsafe(24)
        home.password.write_text(password + "\n")
        made = new_account(home.keystore, password, created=datetime.now(UTC), scrypt_n=LIGHT_SCRYPT)
        address = checksum_address("0x" + made.address.hex())
        home.config.write_text(
            f'role = "{role}"\nprofile = "development"\n[chain]\nrpc = "{self.anvil.url}"\nchain_id = 31337\n'
            f'factory = "{self.factory}"\npoll_s = 0.2\n[store]\naddress = "local:{self.store}"\n{more}'
        )
        self.anvil.rpc("anvil_setBalance", address, hex(wei))
        return Party(self.anvil, home, address)

    async def offer(
        self, requester: Party, specification: Specification | bytes = DIGITS, *, genesis: bytes = GENESIS,
        **terms: Any,
    ) -> Contract:
        """A task of this requester, its specification and first model in the store."""
        document = specification if isinstance(specification, bytes) else specification.encode()
        filled = {**TERMS, "rounds": 1, "minWorkers": 2, "maxWorkers": 2, "collateral": COLLATERAL,
                  "modelHash": sha256(genesis).digest(), "specHash": sha256(document).digest(), **terms}
        if filled["hardStop"] is None:
            filled["hardStop"] = self.now() + 365 * 86_400
        spec_cid, model_cid = await self.put(document), await self.put(genesis)
        self.anvil.rpc("anvil_impersonateAccount", requester.address)
        receipt = Contract(self.anvil.url, self.factory, "FLTaskFactory").send(
            "createTask", next(_nonces).to_bytes(32, "big"), tuple(filled.values()), spec_cid, model_cid,
            requester.key, sender=requester.address, value=REWARD,
        )
        created = next(log for log in receipt["logs"] if log["address"].lower() == self.factory.lower())
        return Contract(self.anvil.url, checksum_address("0x" + created["topics"][1][-40:]), "FLTask")

    async def put(self, content: bytes) -> bytes:
        source = self.folder / "content"
        source.write_bytes(content)
        store = open_store(f"local:{self.store}", owner="everybody", deadline=10)
        try:
            return await store.put(source)
        finally:
            await store.close()

    def now(self) -> int:
        return int(self.anvil.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    def events(self, task: Contract) -> list[Event]:
        """All that the chain holds of a task: an agent may be stopped before it has read the last of it."""
        logs = self.anvil.rpc("eth_getLogs", {"fromBlock": "0x0", "toBlock": "latest", "address": task.address})
        return [decode_log(log, 0).event for log in logs]

    def locked(self, task: Contract) -> int:
        """Wei in a task's contract."""
        return int(self.anvil.rpc("eth_getBalance", task.address, "latest"), 16)


def invited(*accounts: str) -> tuple[Specification, bytes]:
    """A specification with these accounts as its allow-list, and the list's root for the chain."""
    listed = tuple(sorted(account.lower() for account in accounts))
    return replace(DIGITS, allowed=listed), merkle_root(bytes.fromhex(account[2:]) for account in accounts)


async def until(condition: Callable[[], object], what: str, *agents: asyncio.Task[int]) -> None:
    """Wait; fails if it takes too long, or at once with the error of an agent that fails."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        for agent in agents:
            assert not agent.done(), f"{agent.get_name()} ended with {agent.result()} before {what}"
        assert time.monotonic() < end, f"never {what}"
        await asyncio.sleep(0.05)
