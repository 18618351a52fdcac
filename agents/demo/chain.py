"""The demo's own chain: one anvil on a free port of this machine, tied to the demo's life.

Owns finding, starting and funding it. Knows no contract.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import agents
from agents.cli.exits import Exit
from agents.cli.failures import Failure
from agents.demo.supervisor import Service, spawn
from bfl_events.rpc import Rpc
from bfl_events.schema import Address

CHAIN_ID = 31337
BUNDLED = Path("contracts/node_modules/.bin/anvil")      # where `make setup` puts it, below the repository
_LISTENING = re.compile(r"Listening on (127\.0\.0\.1:\d+)")
_START_S = 20.0


@dataclass(frozen=True, slots=True)
class LocalChain:
    """A running anvil; `url` is its RPC endpoint."""

    process: subprocess.Popen[bytes]
    url: str
    output: Path

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        """It keeps nothing on disk, so there is nothing to wait for."""
        self.process.kill()
        self.process.wait()


def find_anvil() -> Path:
    """The one of this repository, else the one on PATH. Raises Failure."""
    bundled = Path(agents.__file__).resolve().parents[1] / BUNDLED
    found = str(bundled) if bundled.exists() else shutil.which("anvil")
    if found is None:
        raise Failure("The local chain is missing.", f"anvil is neither at {bundled} nor on PATH.",
                      "Run `make setup` in the repository, or install Foundry.", Exit.PREFLIGHT)
    return Path(found)


async def start_chain(output: Path, *options: str, port: int = 0) -> LocalChain:
    """Start anvil: a block for each transaction, little memory, nothing on disk; `options` are more flags of its own.

    Raises Failure.
    """
    flags = ("--host", "127.0.0.1", "--port", str(port), "--chain-id", str(CHAIN_ID), "--accounts", "0",
             "--prune-history", "256", *options)
    written = output.stat().st_size if output.exists() else 0
    try:
        process = spawn(Service("chain", (str(find_anvil()), *flags), output))
    except OSError as error:
        raise _silent(f"{error}", output) from error
    until = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < until:
        if listening := _LISTENING.search(output.read_bytes()[written:].decode("utf-8", errors="replace")):
            return LocalChain(process, f"http://{listening[1]}", output)
        await asyncio.sleep(0.02)
    process.kill()
    code = process.wait()
    raise _silent(f"It ended with code {code}" if code >= 0 else f"It did not answer within {_START_S:.0f} s", output)


async def fund(rpc: Rpc, account: Address, wei: int) -> None:
    """Give an account play money. Raises RpcError."""
    await rpc.call("anvil_setBalance", account, hex(wei))


def _silent(why: str, output: Path) -> Failure:
    return Failure("The local chain did not start.", f"{why}.", f"See {output}; try `{find_anvil()} --version`.",
                   Exit.NO_RPC)
