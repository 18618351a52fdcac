"""A task whose disks really fill up, one after the other. Runs in a mount namespace of its own: see test_full_disk.py.

Usage: unshare -Urm python -m tests.system.cramped DIRECTORY RPC FACTORY
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from agents import control
from bfl_events.log import EventLog
from bfl_events.schema import ModelCommitted, Phase, WorkerPenalized
from tests.anvil import Anvil, Contract
from tests.system.company import PATIENCE_S, Company, Party, until

ROUNDS = 4


class SmallDisk:
    """A file system in memory of 16 MiB at `place`."""

    def __init__(self, place: Path) -> None:
        place.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=700", "tmpfs", str(place)], check=True)
        self._ballast = place / "ballast"
        self.place = place

    def fill(self) -> None:
        """To the last page."""
        descriptor = os.open(self._ballast, os.O_WRONLY | os.O_CREAT)
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    os.write(descriptor, bytes(size))
            except OSError:
                continue
        os.close(descriptor)

    def free(self) -> None:
        self._ballast.unlink()


async def main(folder: Path, rpc: str, factory: str) -> None:
    anvil = Anvil(folder, {}, int(rpc.rpartition(":")[2]))
    company = Company(anvil, factory, folder)
    blobs = SmallDisk(company.store)
    requester = company.party("requester", "requester")
    roomy, cramped = company.party("roomy"), company.party("cramped")
    network = cramped.home.network(31337, factory)
    outbox, rest = SmallDisk(network.chain), SmallDisk(network.root)
    disks = {"blob store": blobs, "outbox": outbox, "event log, journal, models": rest}
    task = await company.offer(requester, rounds=ROUNDS)
    async with AsyncExitStack() as stack:
        parties = (requester, roomy, cramped)
        agents = [await stack.enter_async_context(party.running()) for party in parties]
        for number, (name, disk) in enumerate(disks.items(), start=1):
            await until(lambda number=number: task.call("core")[1] >= number, f"round {number} began", *agents)
            await _fill_and_free(name, disk, cramped, agents)
        await until(lambda: company.locked(task) == 0, "the task was over and drained", *agents)
        await until(requester.home.result(task.address).exists, "the model was delivered", *agents)
    for worker in (roomy, cramped):
        _lost_nothing(task, worker, worker.home.network(31337, factory).events)
    _export(blobs, network.events)


async def _fill_and_free(name: str, disk: SmallDisk, party: Party, agents: list[asyncio.Task[int]]) -> None:
    """Full, said so, still running and not ready; then there is room, and all is well again."""
    disk.fill()
    async with asyncio.timeout(PATIENCE_S):
        while not (said := [sentence for sentence in await _troubles(party) if str(disk.place) in sentence]):
            await asyncio.sleep(0.05)
        disk.free()
        while await _troubles(party):
            await asyncio.sleep(0.05)
    assert not [agent for agent in agents if agent.done()]
    sys.stdout.write(f"{name}: {said[0]}\n")


async def _troubles(party: Party) -> list[str]:
    """What `status` shows: asked like any operator would, so it fails if the agent has ended."""
    status = await asyncio.to_thread(control.ask, party.home.control_socket, "status")
    assert status["ready"] is not bool(status["troubles"])
    return list(status["troubles"].values())


def _lost_nothing(task: Contract, worker: Party, log: Path) -> None:
    assert task.call("core")[0] == Phase.COMPLETED
    with EventLog(log) as history:
        events = [record.event for record in history.records()]
    assert not [event for event in events if isinstance(event, WorkerPenalized)]
    commits = [event for event in events if isinstance(event, ModelCommitted)]
    assert len(commits) == 2 * ROUNDS, "nobody committed twice"
    assert all(len({c.base_hash for c in commits if c.round == n}) == 1 for n in range(1, ROUNDS + 1))
    assert worker.balance() > 10**20, "the bond is back, and the work is paid"


def _export(disk: SmallDisk, log: Path) -> None:
    """An export that finds no room says so, leaves the older one alone and nothing of its own."""
    target = disk.place / "events.jsonl"
    command = [sys.executable, "-c", "from bfl_events.cli import main; main()", "export", "--log", log, "-o", target]
    target.write_text("older")
    disk.fill()
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (refused.returncode, target.read_text()) == (2, "older")
    assert not (disk.place / "events.jsonl.part").exists()
    disk.free()
    subprocess.run(command, capture_output=True, check=True)
    assert target.read_text().startswith("{")
    sys.stdout.write(f"export: {' '.join(refused.stderr.split())}\n")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
