"""Makes the witness of today's formats: `python -m tests.upgrades.make_home tests/upgrades/home-<format>`.

To be run once for each new format, and what it made never again: later versions must open what this one wrote.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from random import Random

from agents.core.intents import Done, ModelReady, Outcome, Published, Refused, RowReady, TermsReady
from agents.crypto.accounts import import_account
from agents.crypto.keys import generate_encryption_key, save_encryption_key
from agents.crypto.keystore import LIGHT_SCRYPT
from agents.crypto.privatefile import write_private
from agents.effects.fees import Fee
from agents.effects.journal import Journal
from agents.effects.model_files import ModelFiles
from agents.effects.ports import Receipt
from agents.effects.slots import Attempt, Ending, Landing, Payload, Slot, Slots
from agents.formats import stamp
from agents.home import Home
from agents.storage.local import LocalStore
from bfl_events.lineage import Ref
from bfl_events.log import EventLog, Identity
from bfl_events.schema import Record, Word
from tests.simulation.play import FACTORY, Game

KEY = bytes.fromhex("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d")
ACCOUNT = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
PASSWORD = "witness"
MODEL = b"model" * 100
IDENTITY = Identity(31337, FACTORY, 0)
CONFIG = f"""role = "worker"
profile = "development"

[chain]
rpc = ["http://127.0.0.1:8545"]
factory = "{FACTORY}"
chain_id = 31337

[store]
address = "local:blobs"
"""
OUTCOMES: dict[str, Outcome] = {
    "terms:0xT:aa:bb": TermsReady('{"task":"digits"}'),
    "dry-run:0xT:bb": Done(),
    "dry-run:0xU:cc": Refused("devTol 10 is below the noise"),
    "train:0xT:1:bb": ModelReady(sha256(MODEL).digest(), 1.5),
    "publish:0xT:1:1:dd:ee": Published(b"\1\x55\x12\x20" + bytes(32), 1234),
    "score:0xT:1:00:bb:0-dd": RowReady((Word(2**255 - 1), Word(7)), ((2, "V5"),), 0.25),
}
ATTEMPT = Attempt(b"\1" * 32, b"raw", Fee(2 * 10**9, 10**9), False, 1_700_000_000.0, 7)
SLOTS = (
    Slot(0, "join:0xT", Payload(FACTORY, b"data", 10**17, 200_000), (ATTEMPT,)),
    Slot(1, "commit-model:0xT", Payload(FACTORY, b"more", 0, 100_000), (replace(ATTEMPT, hash=b"\2" * 32),)),
)
LANDING = Landing(Ending.MINED, Receipt(b"\1" * 32, 8, 150_000, 10**9), b"\3" * 32)


def records() -> tuple[Record, ...]:
    """A task's first logs."""
    game = Game.create(Random(1))
    game.start(3)
    return tuple(game.model.chain.records)


def make(path: Path) -> None:
    home = Home(path).create()
    stamp(home)
    write_private(home.config, CONFIG.encode())
    write_private(home.password, f"{PASSWORD}\n".encode())
    created = datetime(2026, 1, 1, tzinfo=UTC)
    import_account(home.keystore, KEY, PASSWORD, created=created, scrypt_n=LIGHT_SCRYPT)
    key = generate_encryption_key()
    save_encryption_key(home.encryption_keys, key, PASSWORD, created=created, scrypt_n=LIGHT_SCRYPT)
    network = home.network(31337, FACTORY).create()
    journal = Journal(network.journal)
    for key, outcome in OUTCOMES.items():
        journal.record(key, outcome)
    journal.close()
    slots = Slots(network.outbox, chain_id=31337, account=ACCOUNT)
    slots.remember_genesis(b"\4" * 32)
    for slot in SLOTS:
        slots.add(slot)
    slots.close_slots([(0, LANDING)])
    slots.close()
    with EventLog(network.events, IDENTITY) as events:
        told = records()
        events.anchor(Ref(0, bytes(32)))
        events.append(told, Ref(told[-1].block, told[-1].block_hash))
    (path / "made").write_bytes(MODEL)
    asyncio.run(LocalStore(path / "blobs", owner=ACCOUNT.lower(), deadline=10.0).put(path / "made"))
    ModelFiles(network.models).adopt(path / "made", sha256(MODEL).digest())


if __name__ == "__main__":
    make(Path(sys.argv[1]))
