"""Makes the witness of a task that today's agents leave unfinished: `python -m tests.upgrades.make_task FILE.tar.xz`.

To be run once for each new format of a home, and what it made never again: later versions must finish what this one
began. Four agents, a chain and a store stop in the middle of round 2: two models are committed to, the third is made
and its commitment on its way.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import tarfile
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.system.chronicle import function_of
from tests.system.consortium import NAMES, WORKERS, Consortium
from tests.system.test_reorgs import consortium

WINDOW_S = 3600         # nobody is late on a slow machine
LEFT_OUT = ("logs", "run")
CHAIN, FACTS = "chain.json", "facts.json"


class Strike:
    """From the second round's second commitment on, nothing gets through to the chain."""

    def __init__(self, made: Consortium) -> None:
        self._left, self.begun = len(WORKERS) + 2, asyncio.Event()
        made.gate.before, made.gate.after = self._before, self._after

    async def _before(self, raw: bytes) -> None:
        if not self._left:
            await asyncio.Event().wait()
        self._left -= function_of(raw) == "commitModel"

    async def _after(self, _: bytes) -> None:
        if not self._left:
            self.begun.set()


async def make(target: Path) -> None:
    with TemporaryDirectory() as folder:
        directory = Path(folder)
        async with consortium(directory, window_s=WINDOW_S) as made:
            strike = Strike(made)
            made.start()
            await strike.begun.wait()
            await asyncio.sleep(1)                     # the third signs its own and tries to send it
            await made.stop()
            anvil, deployed = made.anvil, made.deployed
            assert deployed is not None
            (directory / CHAIN).write_bytes(gzip.decompress(bytes.fromhex(anvil.rpc("anvil_dumpState")[2:])))
            now = int(anvil.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
            facts = {"deployed": asdict(deployed), "created": made.created, "task": made.task, "time": now}
            (directory / FACTS).write_text(json.dumps(facts))
        with tarfile.open(target, "w:xz", preset=9) as archive:
            for name in (*NAMES, "blobs", CHAIN, FACTS):
                archive.add(directory / name, name, filter=_kept)


def _kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if any(part in LEFT_OUT for part in Path(member.name).parts[1:2]) or member.name.endswith(".lock"):
        return None
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    asyncio.run(make(Path(sys.argv[1])))
