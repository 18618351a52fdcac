"""Real agents as processes in one task with hostile members, on a real chain; the learner is real but needs no torch.

Owns the homes, the processes and the waiting. What is right is the tests' business.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from agents.core.specification import Scoring, Specification, Training
from agents.crypto.keys import generate_encryption_key, key_id, public_der, save_encryption_key
from agents.crypto.keystore import LIGHT_SCRYPT, read_password
from agents.storage.cid import to_text
from bfl_events import schema as ev
from bfl_events.commitment import address_bytes
from bfl_events.decode import decode_log
from bfl_events.schema import Event
from tests.adversaries.rogue import CHAIN_ID, Gang, Rogue
from tests.anvil import Contract
from tests.crash import workbench
from tests.crash.births import Nursery
from tests.system.company import Company, Party
from tests.system.recompute import blob, clipped_mean, open_envelope, sha256

LONGEST_S = 90.0
FUNDS = 10**20
SITE = """retain_rounds = 3
[learning]
threads = 1
partition = { kind = "iid", index = %d, of = %d }
plugins = { tiny = "tests.crash.workbench" }
"""


@cache
def rsa(name: str) -> RSAPrivateKey:
    """Made once a process: a key takes tenths of a second."""
    return generate_encryption_key()


@dataclass
class Arena:
    """`workers` and `requester` are agents. `bases`: round -> G(r - 1), recomputed from what was accepted."""

    company: Company
    nursery: Nursery
    requester: Party
    workers: Sequence[Party]
    gang: Gang
    bases: dict[int, bytes]
    codes: dict[str, int] = field(default_factory=dict)
    models: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def task(self) -> Contract:
        return self.gang.task

    @property
    def agents(self) -> list[Party]:
        return [self.requester, *self.workers]

    def play(self) -> None:
        """From the first agent's start to the last one's end."""
        for party in self.agents:
            argv = ["bfl-agent", "run", "--home", str(party.home.root), "--task", self.task.address]
            self.nursery.bear(f"{self.company.folder}|{party.home.root.name}", argv, {}, self._output(party))
        self.gang.join()
        self.until(lambda: len(self.codes) == len(self.agents), "everybody had ended")

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Hear of the agents and act for the gang until it holds. An agent that ends with another code than 0 fails."""
        end = time.monotonic() + LONGEST_S
        while not condition():
            assert time.monotonic() < end, f"never {what}:\n{self.told()}"
            for message in self.nursery.hear(0.03):
                folder, _, name = message["name"].partition("|")
                if "status" in message and folder == str(self.company.folder):
                    self.codes[name] = message["status"]
            assert not any(self.codes.values()), f"{self.codes}:\n{self.told()}"
            self._watch()
            self.gang.act(self.bases)

    def _watch(self) -> None:
        """Read every honest model when it is opened, before it is cleared, and average after each settlement."""
        for event in self.events():
            match event:
                case ev.ModelSubmitted(model_hash=digest) if self.honest(event.worker) and digest not in self.models:
                    self.models[digest] = self._opened(event)
                case ev.RoundScored(round=round) if round + 1 not in self.bases:
                    self.bases[round + 1] = clipped_mean(self.bases[round], self._accepted(event))

    def _accepted(self, scored: ev.RoundScored) -> list[bytes]:
        """In ascending index."""
        known = self.models | {sha256(model): model for one in self.gang.rogues for model in one.models.values()}
        opened = {self.index(one.worker): one for one in self.of(ev.ModelSubmitted) if one.round == scored.round}
        return [known[one.model_hash] for index, one in sorted(opened.items()) if scored.accepted >> index & 1]

    def _opened(self, event: ev.ModelSubmitted) -> bytes:
        """With the first worker's key."""
        reader = self.workers[0].address
        keys = {key_id(public_der(rsa(reader))): rsa(reader)}
        model = open_envelope(blob(self.company.store, event.cid), address_bytes(reader), keys)
        assert sha256(model) == event.model_hash
        return model

    # ---- what the chain says

    def honest(self, account: str) -> bool:
        return account in {party.address for party in self.workers}

    def index(self, account: str) -> int:
        return int(self.task.call("indexPlus1", account)) - 1

    def events(self) -> list[Event]:
        query = {"fromBlock": "0x0", "toBlock": "latest", "address": self.task.address}
        return [decode_log(log, 0).event for log in self.company.anvil.rpc("eth_getLogs", query)]

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events() if isinstance(event, kind)]

    def earned(self, account: str) -> int:
        """Rewards and shares of forfeits, from the payouts' bitmaps and shares."""
        index = self.index(account)
        paid = sum((e.per_top if e.top_k >> index & 1 else e.per_rest) + e.per_forfeit
                   for e in self.of(ev.RewardsDistributed) if e.eligible >> index & 1)
        return paid + sum(e.per_attester for e in self.of(ev.FinalForfeits) if e.attesters >> index & 1)

    # ---- what the homes hold

    def network(self, party: Party) -> Path:
        return party.home.network(CHAIN_ID, self.company.factory).root

    def left_behind(self) -> list[str]:
        """Files of work in progress, of an agent or of the store. The learner's log and data set are meant to stay."""
        busy = ("work", "envelopes", "checkpoints", "parts", "quarantine")
        return [str(path.relative_to(self.company.folder)) for path in self.company.folder.rglob("*")
                if path.name.endswith((".part", ".partial", ".sock"))
                or (path.parent.name in busy and not path.name.startswith(("learner.log", "common-")))]

    def told(self) -> str:
        outputs = [self._output(party) for party in self.agents if self._output(party).exists()]
        return f"{self.task.call('core')}\n" + "\n---\n".join(p.read_text(errors="replace")[-1800:] for p in outputs)

    def _output(self, party: Party) -> Path:
        return self.company.folder / f"{party.home.root.name}.output"


def arena(company: Company, nursery: Nursery, gang: Sequence[Rogue], *, honest: int, rounds: int,
          **terms: int) -> Arena:
    """Everything but the agents' lives."""
    requester = recruit(company, "requester", "requester")
    workers = [recruit(company, f"worker-{i + 1}", more=SITE % (i, honest)) for i in range(honest)]
    genesis, specification = asyncio.run(_published(company))
    seats = honest + len(gang)
    task = asyncio.run(company.offer(requester, specification, genesis=genesis, rounds=rounds, minWorkers=seats,
                                     maxWorkers=seats, auditLane=True, devTol=3000, **terms))
    readers = [(address_bytes(party.address), public_der(rsa(party.address))) for party in workers]
    return Arena(company, nursery, requester, workers, Gang(company, task, gang, readers), {1: genesis})


def recruit(company: Company, name: str, role: str = "worker", more: str = SITE % (0, 1)) -> Party:
    party = company.party(name, role, more, wei=FUNDS)
    save_encryption_key(party.home.encryption_keys, rsa(party.address), read_password(party.home.password),
                        created=datetime.now(UTC), scrypt_n=LIGHT_SCRYPT)
    return party


async def _published(company: Company) -> tuple[bytes, Specification]:
    """The initial model, and the task's specification with a common validation set."""
    genesis, common = company.folder / "genesis", company.folder / "common"
    workbench.write_genesis(7, genesis)
    digest, _ = workbench.write_common_set(common)
    cid = await company.put(common.read_bytes())
    scoring = Scoring(data="common", common_cid=to_text(cid), common_sha256=digest)
    training = Training(local_epochs=3, batch_size=32, learning_rate="0.5")
    return genesis.read_bytes(), Specification("tiny", workbench.CLASSES, training=training, scoring=scoring)
