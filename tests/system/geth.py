"""A real geth for tests: `geth --dev`, a chain that makes a block when somebody sends a transaction, and not before.

Skips the test, with the reason, where geth is not on PATH.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.anvil import NodeError, _die_with_parent, rpc

START_S = 60.0
WEI = 10 * 10**18


@dataclass(frozen=True)
class Geth:
    """A running node; its unlocked account has all the ether there is."""

    url: str
    treasury: str

    def fund(self, address: str) -> None:
        """Ten ether, mined."""
        transfer = {"from": self.treasury, "to": address, "value": hex(WEI)}
        hash_ = rpc(self.url, "eth_sendTransaction", transfer)
        end = time.monotonic() + START_S
        while rpc(self.url, "eth_getTransactionReceipt", hash_) is None:
            assert time.monotonic() < end, f"the transfer to {address} was not mined"
            time.sleep(0.05)      # geth makes a block for it; there is nothing else to wait on


@contextmanager
def start_geth(directory: Path, *flags: str) -> Iterator[Geth]:
    """On a free loopback port, HTTP and WebSocket on the same; gone afterwards, also if this process is killed."""
    binary = shutil.which("geth")
    if binary is None:
        pytest.skip("geth is not on PATH")
    port = str(_free_port())
    command = (binary, "--dev", "--datadir", str(directory / "geth"), "--ipcdisable", "--verbosity", "2",
               "--http", "--http.port", port, "--http.api", "eth,net,web3", "--ws", "--ws.port", port, *flags)
    with (directory / "geth.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=_die_with_parent)  # noqa: PLW1509
    try:
        url = f"http://127.0.0.1:{port}"
        yield Geth(url, _treasury(url, process, directory / "geth.log"))
    finally:
        process.terminate()
        process.wait(30)


def _treasury(url: str, process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            found: str = rpc(url, "eth_accounts")[0]
            return found
        except (OSError, NodeError):
            time.sleep(0.05)      # until it listens
    raise RuntimeError(f"geth did not start: {log.read_text(errors='replace')[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
