"""The back ends behind one fixture: the embedded store, two Kubo doubles, and a real Kubo where there is one."""

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from agents.demo.blobnode import BlobNode
from agents.storage import BlobStore, open_store
from tests.storage.kubo_double import KuboDouble
from tests.storage.kubo_nodes import KuboNode, running_node


@dataclass(frozen=True, slots=True)
class Backend:
    """`open(owner)` gives that owner's store on one shared back end; stores are closed with the test."""

    open: Callable[..., BlobStore]
    collect_garbage: Callable[[], object]


@pytest.fixture
async def double() -> AsyncIterator[KuboDouble]:
    node = KuboDouble()
    await node.start()
    yield node
    await node.stop()


@pytest.fixture
async def demo_node() -> AsyncIterator[BlobNode]:
    """The node that the demo's chaos runs agents against: it must be as good as any."""
    async with BlobNode() as node:
        yield node


@pytest.fixture(scope="session")
def kubo_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[KuboNode]]:
    """Two connected Kubo nodes."""
    if shutil.which("ipfs") is None:
        pytest.skip("no `ipfs` on PATH: the Kubo adapter is tested against the double only")
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(running_node(tmp_path_factory.mktemp(name) / "repository"))
            for name in ("first", "second")
        ]
        identity = nodes[1].ipfs("id", "--format", "<addrs>").split()[0]
        nodes[0].ipfs("swarm", "connect", identity)
        yield nodes


@pytest.fixture(params=["local", "double", "demo", "kubo"])
async def backend(
    request: pytest.FixtureRequest, tmp_path: Path, double: KuboDouble, demo_node: BlobNode
) -> AsyncIterator[Backend]:
    match request.param:
        case "local":
            address, collect = f"local:{tmp_path / 'store'}", lambda: None
        case "double":
            address, collect = double.url, double.collect_garbage
        case "demo":
            address, collect = f"http://127.0.0.1:{demo_node.port}", lambda: None
        case _:
            first: KuboNode = request.getfixturevalue("kubo_nodes")[0]
            address, collect = first.address, lambda: first.ipfs("repo", "gc")
    async with AsyncExitStack() as stack:

        def opened(owner: str, deadline: float = 20.0) -> BlobStore:
            store = open_store(address, owner=owner, deadline=deadline)
            stack.push_async_callback(store.close)
            return store

        yield Backend(opened, collect)
