"""A requester and three workers as real processes on a real chain, without torch: started, held, stopped, robbed.

Owns the processes and the waiting. What is right is the tests' business.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from agents.cli.configfile import set_values
from agents.cli.hand import open_hand
from agents.cli.reach import open_blobs
from agents.cli.session import Session
from agents.control import ask
from agents.core.specification import Specification
from agents.home import Home
from agents.identity import choose, password
from agents.keyring import Keyring
from agents.settings import load
from bfl_events.commitment import Creation
from bfl_events.decode import decode_log
from bfl_events.schema import Address, Event, Params, Wei
from tests.anvil import (
    ACCOUNTS,
    Anvil,
    Contract,
    _die_with_parent as die_with_parent,  # noqa: PLC2701
    deploy,
    rpc,
    start_anvil,
)
from tests.cli.command import Operator
from tests.core.tasks import PARAMS
from tests.system.stand_in import GENESIS

ROOT = Path(__file__).parents[2]
KEYS = (
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
)
"""Of anvil's first accounts: the requester, and workers 1 to 3."""
LONGEST_S = 150.0


@dataclass
class Participant:
    """One agent's home, and its process while it runs."""

    home: Home
    task: Address
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        output = self.home.root / "output.log"
        command = (sys.executable, "-m", "tests.system.stand_in", "--home", str(self.home.root), "--task", self.task)
        with output.open("ab") as file:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdout=file, stderr=file, stdin=subprocess.DEVNULL,
                preexec_fn=die_with_parent,  # noqa: PLW1509  # no other thread forks here
            )

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, seconds: float = LONGEST_S) -> int:
        """Its exit code."""
        assert self.process is not None
        code, self.process = self.process.wait(seconds), None
        return code

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.wait()

    def hold(self, operation: str) -> None:
        (self.home.root / "hold").mkdir(exist_ok=True)
        (self.home.root / "hold" / operation).touch()

    def release(self, operation: str) -> None:
        (self.home.root / "hold" / operation).unlink()

    @property
    def network(self) -> Path:
        """The folder of this chain and factory."""
        return next((self.home.root / "networks").glob("*-*"))

    @property
    def lines(self) -> list[dict[str, Any]]:
        text = self.home.log.read_text().splitlines() if self.home.log.exists() else []
        return [json.loads(line) for line in text if line.startswith("{") and line.endswith("}")]

    def said(self, event: str, **fields: object) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event and fields.items() <= line.items()]

    def status(self) -> dict[str, Any]:
        return ask(self.home.control_socket, "status")


@dataclass
class Consortium:
    """`requester` and `workers` serve one task."""

    anvil: Anvil
    task: Contract
    requester: Participant
    workers: list[Participant]
    directory: Path
    copies: int = field(default=0)

    @property
    def everybody(self) -> list[Participant]:
        return [self.requester, *self.workers]

    def until(self, condition: Callable[[], object], what: str, seconds: float = LONGEST_S) -> None:
        """Wait for it; fails with what everybody said last."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"never {what}:\n{self.told()}"
            time.sleep(0.03)

    def until_acted(self, what: str, worker: int, round: int) -> None:
        """`committed`, `opened`, `scored`, `revealed` in this round, by the task's bitmaps."""
        self.until(lambda: self.task.call("core")[1] == round and self.task.call(what) >> (worker - 1) & 1,
                   f"worker {worker} {what} in round {round}")

    def backup(self, one: Participant) -> Path:
        self.copies += 1
        target = self.directory / f"backup-{self.copies}"
        shutil.copytree(one.home.root, target, ignore=shutil.ignore_patterns("control.sock"))
        return target

    def restore(self, one: Participant, backup: Path) -> None:
        """The home as it was; its log goes on, so that a test can read it."""
        log = one.home.log.read_bytes()
        shutil.rmtree(one.home.root)
        shutil.copytree(backup, one.home.root)
        one.home.log.write_bytes(log)

    def make_again(self, one: Participant) -> None:
        """Everything but the keys is lost, and an operator does what runbooks/lost-worker.md says. The log goes on, so
        that a test can read it."""
        self.copies += 1
        lost = one.home.root.rename(self.directory / f"lost-{self.copies}")
        operator, old = Operator(one.home.root), load(Home(lost))
        operator.ok("init", "--profile", old.profile, "--role", str(old.role), "--factory", str(old.chain.factory),
                    "--rpc", old.chain.rpc[0], "--store", old.store.address)
        for kept in ("keystore", "secrets", "hold"):
            shutil.copytree(lost / kept, one.home.root / kept, dirs_exist_ok=True)
        shutil.copytree(lost / "logs", one.home.root / "logs", dirs_exist_ok=True)
        doctor = operator("doctor")
        assert doctor.code == 0, doctor.out

    def events(self) -> list[Event]:
        logs = rpc(self.anvil.url, "eth_getLogs", {"fromBlock": "0x0", "toBlock": "latest",
                                                   "address": self.task.address})
        return [decode_log(log, 0).event for log in logs]

    def told(self) -> str:
        core = self.task.call("core")
        tails = [f"--- {one.home.root.name}\n" + "\n".join(str(line) for line in one.lines[-12:])
                 + (one.home.root / "output.log").read_text(errors="replace")[-1500:] for one in self.everybody]
        return f"chain: phase {core[0]}, round {core[1]}, attempt {core[2]}\n" + "\n".join(tails)


@contextmanager
def consortium(directory: Path, rounds: int) -> Iterator[Consortium]:
    """All started; the workers join one after another, so that worker n has index n - 1. Nothing is left running."""
    with start_anvil(directory, chain_id=31337) as anvil:
        factory = deploy(anvil.url).factory
        homes = [new_home(directory / name, anvil.url, factory, key) for name, key in
                 zip(("requester", "worker-1", "worker-2", "worker-3"), KEYS, strict=True)]
        address = asyncio.run(_create(Session(homes[0], yes=True), factory, _params(anvil, rounds)))
        requester, *workers = (Participant(home, address) for home in homes)
        found = Consortium(anvil, Contract(anvil.url, address, "FLTask"), requester, workers, directory)
        try:
            for one in found.everybody:
                one.hold("train")
                one.hold("dry_run")
                one.start()
            for number, worker in enumerate(workers, start=1):
                worker.release("dry_run")
                found.until(lambda: found.task.call("indexPlus1", ACCOUNTS[number]) == number, f"{number} joined")  # noqa: B023
            yield found
        finally:
            for one in found.everybody:
                if one.process is not None:
                    one.process.kill()
                    one.process.wait()


def new_home(path: Path, url: str, factory: str, key: str) -> Home:
    operator = Operator(path)
    role = "requester" if path.name == "requester" else "worker"
    operator.ok("init", "--profile", "development", "--rpc", url, "--role", role)
    operator.ok("account", "import", "-", "--light-kdf", stdin=key)
    home = Home(path)
    set_values(home.config, "chain", {"factory": factory, "chain_id": 31337, "poll_s": 1})
    set_values(home.config, "store", {"address": "local:../blobs"})
    set_values(home.config, "run", {"drain_s": 300})       # on a busy machine nothing happens in 20 s
    set_values(home.config, "policy", {"max_open_collateral_wei": "1 ether"})
    return home


def _params(anvil: Anvil, rounds: int) -> Params:
    now = int(rpc(anvil.url, "eth_getBlockByNumber", "latest", False)["timestamp"], 16)
    return replace(
        PARAMS, rounds=rounds, max_workers=3, top_k=1, hard_stop=now + 10**7, allow_root=bytes(32), miss_bps=500,
        collateral=Wei(10**17), model_hash=sha256(GENESIS).digest(),
    )


async def _create(session: Session, factory: Address, params: Params) -> Address:
    """As `bfl-agent task create`, with an initial model that no torch has made."""
    written = Specification("digits", 10).encode()
    work = session.home.root / "creating"
    work.mkdir()
    (work / "specification").write_bytes(written)
    (work / "genesis").write_bytes(GENESIS)
    async with open_hand(session) as hand, open_blobs(session.settings, hand.address) as store:
        identity = choose(session.home, None)
        keyring = Keyring(session.home, identity, password(session.home, session.settings.account))
        cids = [await store.put(work / name) for name in ("specification", "genesis")]
        terms = replace(params, spec_hash=sha256(written).digest())
        creation = Creation(hand.address, bytes(32), terms, cids[0], cids[1], keyring.newest(), 3 * 10**18)
        return (await hand.chain.create_task(factory, creation)).address


