"""A chain, a task and everybody's home: the same in every run, so that runs can be compared to the wei and the bit.

Accounts, contract addresses, data and seeds are fixed; what is random (RSA keys, envelopes) shows in no outcome.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from agents.cli.configfile import Value, with_values
from agents.core.specification import Scoring, Specification
from agents.crypto.accounts import import_account
from agents.crypto.keys import generate_encryption_key, public_der, save_encryption_key
from agents.crypto.keystore import LIGHT_SCRYPT
from agents.crypto.privatefile import write_private
from agents.home import Home, NetworkHome
from agents.notation import checksum_address
from agents.storage import open_store
from agents.storage.cid import to_text
from tests.anvil import TERMS, Anvil, Contract, deploy, start_anvil
from tests.crash.subject import Subject

CHAIN_ID = 31337
REQUESTER = "requester"
WORKERS = ("worker-1", "worker-2", "worker-3")
KEYLESS = WORKERS[-1]        # makes its encryption key at its first start; the others have theirs already
EVERYBODY = (REQUESTER, *WORKERS)
ROUNDS, RETAINED = 5, 3      # so that round 1 is past its retention before the end, and is cleared
REWARD, COLLATERAL, FUNDS = 2 * 10**16 + 7, 5 * 10**15, 10**21      # some wei cannot be shared: the requester's refund
HARD_STOP = (int(time.time()) // 10**7 + 4) * 10**7     # part of the task's address: the same for all runs of a session
PASSWORD = "a password for tests"
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Stage:
    directory: Path
    anvil: Anvil
    factory: str
    task: str
    addresses: Mapping[str, str]
    public: tuple[bytes, ...]

    @property
    def told(self) -> Path:
        """What witnesses write down."""
        return self.directory / "told"

    def pins(self, name: str) -> set[str]:
        """CIDs that an account keeps in the embedded store."""
        return {path.name for path in (self.directory / "blobs" / "pins" / self.addresses[name].lower()).glob("*")}

    def leave_a_part(self) -> None:
        """What somebody killed left in the embedded store: whoever opens it next removes it, be it another agent."""
        (self.directory / "blobs" / "parts" / f".{secrets.token_hex(8)}.part").touch()

    def home(self, name: str) -> Home:
        return Home(self.directory / name)

    def network(self, name: str) -> NetworkHome:
        return self.home(name).network(CHAIN_ID, self.factory)


@cache
def private_key(name: str) -> bytes:
    return hashlib.sha256(f"crash {name}".encode()).digest()


@cache
def encryption_key(name: str) -> RSAPrivateKey:
    """Made once a process: a key takes tenths of a second."""
    return generate_encryption_key()


@contextmanager
def staged(directory: Path, subject: Subject, *, store: str = "local:../blobs") -> Iterator[Stage]:
    """Everything that an operator would have set up before `bfl-agent run`. Nobody runs yet."""
    directory.mkdir(parents=True)
    with start_anvil(directory, chain_id=CHAIN_ID) as anvil:
        deployed = deploy(anvil.url)
        addresses = {name: _account(Home(directory / name), name) for name in EVERYBODY}
        for address in addresses.values():
            anvil.rpc("anvil_setBalance", address, hex(FUNDS))
        published = asyncio.run(_publish(directory, store, addresses[REQUESTER], subject))
        task = _create(anvil, deployed.factory, addresses[REQUESTER], published)
        for name in EVERYBODY:
            chain: dict[str, Value] = {"rpc": [anvil.url], "chain_id": CHAIN_ID, "factory": deployed.factory,
                                       "start_block": deployed.block}
            text = _configuration(name, chain, addresses, store, subject)
            write_private(Home(directory / name).config, text.encode())
        yield Stage(directory, anvil, deployed.factory, task, addresses, published["public"])


def _account(home: Home, name: str) -> str:
    home.create()
    write_private(home.password, f"{PASSWORD}\n".encode())
    made = import_account(home.keystore, private_key(name), PASSWORD, created=EPOCH, scrypt_n=LIGHT_SCRYPT)
    if name != KEYLESS:
        key = encryption_key(name)
        save_encryption_key(home.encryption_keys, key, PASSWORD, created=EPOCH, scrypt_n=LIGHT_SCRYPT)
    return checksum_address(f"0x{made.address.hex()}")


async def _publish(directory: Path, address: str, requester: str, subject: Subject) -> dict[str, Any]:
    """Specification, initial model and common validation set, pinned by the requester."""
    store = open_store(address.replace("local:..", f"local:{directory}"), owner=requester.lower(), deadline=60)
    genesis, common, document = (directory / name for name in ("genesis", "common", "specification"))
    genesis.write_bytes(subject.genesis)
    common.write_bytes(subject.common)
    common_cid = await store.put(common)
    scoring = Scoring(data="common", common_cid=to_text(common_cid), common_sha256=subject.common_sha256)
    document.write_bytes(
        Specification(subject.task, subject.classes, training=subject.training, scoring=scoring).encode())
    found = {"specCid": await store.put(document), "modelCid": await store.put(genesis),
             "specHash": hashlib.sha256(document.read_bytes()).digest(),
             "modelHash": hashlib.sha256(genesis.read_bytes()).digest()}
    await store.close()
    if address.startswith("local:"):
        corrupt = directory / "blobs" / "pins" / "0-stranger" / to_text(found["specCid"])
        corrupt.parent.mkdir()
        corrupt.write_bytes(b"other bytes than its name says")     # the first reader sets it aside
    for path in (genesis, common, document):
        path.unlink()
    return {**found, "public": (found["specCid"], found["modelCid"], common_cid)}


def _create(anvil: Anvil, factory: str, requester: str, published: Mapping[str, Any]) -> str:
    terms = {**TERMS, "rounds": ROUNDS, "maxWorkers": len(WORKERS), "collateral": COLLATERAL, "auditLane": True,
             "hardStop": HARD_STOP, "modelHash": published["modelHash"], "specHash": published["specHash"],
             "devTol": 3000}
    anvil.rpc("anvil_impersonateAccount", requester)
    receipt = Contract(anvil.url, factory, "FLTaskFactory").send(
        "createTask", bytes(31) + b"\x01", tuple(terms.values()), published["specCid"], published["modelCid"],
        public_der(encryption_key(REQUESTER)), sender=requester, value=REWARD)
    anvil.rpc("anvil_stopImpersonatingAccount", requester)
    created = next(log for log in receipt["logs"] if log["address"].lower() == factory.lower())
    return checksum_address("0x" + created["topics"][1][-40:])


def _configuration(name: str, chain: Mapping[str, Value], addresses: Mapping[str, str], store: str,
                   subject: Subject) -> str:
    role = REQUESTER if name == REQUESTER else "worker"
    text = f'role = "{role}"\nname = "{name}"\nprofile = "development"\n'
    text = with_values(text, "chain", chain)
    text = with_values(text, "account", {"address": addresses[name]})
    text = with_values(text, "store", {"address": store, "retain_rounds": RETAINED})
    text = with_values(text, "learning", {"threads": 1})
    text = with_values(text, "learning.plugins", {**subject.plugins})
    if name in WORKERS:
        part: dict[str, Value] = {"kind": "iid", "index": WORKERS.index(name), "of": len(WORKERS)}
        text = with_values(text, "learning.partition", part)
    return text
