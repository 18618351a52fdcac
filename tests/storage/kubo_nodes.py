"""Real Kubo daemons on loopback for the tests: no bootstrap, no routing, no discovery, no telemetry."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SETTINGS: Final = (
    ("Routing.Type", '"none"'),
    ("Bootstrap", "[]"),
    ("Discovery.MDNS.Enabled", "false"),
    ("AutoConf.Enabled", "false"),
    ("AutoTLS.Enabled", "false"),
)


@dataclass(frozen=True, slots=True)
class KuboNode:
    repository: Path

    @property
    def address(self) -> str:
        """The multiaddr of the RPC port."""
        return (self.repository / "api").read_text().strip()

    def ipfs(self, *arguments: str) -> str:
        environment = os.environ | {"IPFS_PATH": str(self.repository), "IPFS_TELEMETRY": "off"}
        done = subprocess.run(
            ["ipfs", *arguments], env=environment, check=True, capture_output=True, text=True, timeout=60
        )
        return done.stdout


@contextmanager
def running_node(repository: Path) -> Iterator[KuboNode]:
    node = KuboNode(repository)
    node.ipfs("init", "--profile", "test")
    for key, value in _SETTINGS:
        node.ipfs("config", "--json", key, value)
    environment = os.environ | {"IPFS_PATH": str(repository), "IPFS_TELEMETRY": "off"}
    daemon = subprocess.Popen(["ipfs", "daemon"], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert daemon.stdout is not None
        for line in daemon.stdout:
            if "Daemon is ready" in line:
                break
        else:
            raise RuntimeError(f"ipfs daemon ended with {daemon.wait()} before it was ready")
        yield node
    finally:
        daemon.terminate()
        daemon.communicate(timeout=30)
