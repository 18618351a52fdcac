"""The double of an IPFS node on a thread of its own, for agents that are processes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.storage.kubo_double import KuboDouble


@dataclass(frozen=True)
class Node:
    double: KuboDouble

    @property
    def url(self) -> str:
        return self.double.url

    def marks(self, address: str) -> set[str]:
        """CIDs that this account's agent keeps."""
        prefix = f"/bfl-agent/{address.lower()}/"
        return {path.removeprefix(prefix) for path in self.double.mfs if path.startswith(prefix)}

    def unmarked(self) -> set[str]:
        """CIDs that are pinned on the node though no agent marks them."""
        return self.double.pins - {path.rpartition("/")[2] for path in self.double.mfs}


@contextmanager
def kubo_node() -> Iterator[Node]:
    double, loop = KuboDouble(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(double.start(), loop).result(20)
        yield Node(double)
        asyncio.run_coroutine_threadsafe(double.stop(), loop).result(20)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()
