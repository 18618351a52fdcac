"""What can go wrong between an agent and its Kubo node, and what the agent hears of it."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from agents.storage import (
    BlobCorrupt,
    BlobMissing,
    BlobStore,
    BlobTooLarge,
    StorageError,
    StoreFull,
    StoreUnavailable,
    open_store,
)
from agents.storage.cid import cid_of_bytes, from_text, to_text
from agents.storage.download import Download
from tests.storage.kubo_double import Fault, KuboDouble
from tests.storage.kubo_nodes import KuboNode

BLOB = os.urandom(600_000)
CID = cid_of_bytes(BLOB)


@pytest.fixture
async def store(double: KuboDouble):
    store = open_store(double.url, owner="alice", deadline=0.5)
    yield store
    await store.close()


@pytest.fixture
def source(tmp_path: Path, double: KuboDouble) -> Path:
    """A file to put; the same blob is on the node already."""
    double.blobs[to_text(CID)] = BLOB
    path = tmp_path / "source"
    path.write_bytes(BLOB)
    return path


async def everything_fails(store: BlobStore, source: Path, out: Path, expected: type[StorageError]) -> str:
    """Every call raises `expected`; returns the messages."""
    messages = []
    for call in (
        store.put(source),
        store.get(CID, out, max_bytes=1 << 20),
        store.pin(CID),
        store.unpin(CID),
        store.has(CID),
        store.probe(),
    ):
        with pytest.raises(expected) as caught:
            await call
        messages.append(str(caught.value))
    assert not out.exists()
    assert not list(out.parent.glob(".*.part"))
    return "\n".join(messages)


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.UNAVAILABLE_EMPTY, Fault.UNAVAILABLE_JSON])
async def test_an_error_page_is_never_content(
    double: KuboDouble, store: BlobStore, source: Path, tmp_path: Path, fault: Fault
) -> None:
    double.fault = fault
    await everything_fails(store, source, tmp_path / "out", StoreUnavailable)
    double.fault = Fault.NONE
    assert await store.put(source) == CID


async def test_a_daemon_that_is_down_is_named_and_its_return_is_noticed(
    double: KuboDouble, store: BlobStore, source: Path, tmp_path: Path
) -> None:
    await store.put(source)
    await double.stop()
    said = await everything_fails(store, source, tmp_path / "out", StoreUnavailable)
    assert double.url in said
    assert "running" in said
    await double.start()
    assert await store.get(CID, tmp_path / "out", max_bytes=1 << 20) == len(BLOB)


async def test_a_frozen_daemon_costs_a_deadline_and_no_more(
    double: KuboDouble, store: BlobStore, source: Path, tmp_path: Path
) -> None:
    double.fault = Fault.FROZEN
    with pytest.raises(StoreUnavailable, match=r"within 0.5 s"):
        await store.put(source)
    with pytest.raises(BlobMissing, match=r"within 0.5 s"):
        await store.get(CID, tmp_path / "out", max_bytes=1 << 20)


async def test_wrong_credentials_are_named(double: KuboDouble, store: BlobStore, source: Path, tmp_path: Path) -> None:
    double.fault = Fault.DENIED
    assert "credentials" in await everything_fails(store, source, tmp_path / "out", StoreUnavailable)


async def test_a_full_node_is_named(double: KuboDouble, store: BlobStore, source: Path, tmp_path: Path) -> None:
    double.fault = Fault.FULL
    assert "no space left" in await everything_fails(store, source, tmp_path / "out", StoreFull)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault.CUT, StoreUnavailable),
        (Fault.SHORT, BlobMissing),
        (Fault.CORRUPT, BlobCorrupt),
        (Fault.ENDLESS, BlobTooLarge),
    ],
)
async def test_bad_content_leaves_no_file(
    double: KuboDouble, store: BlobStore, source: Path, tmp_path: Path, fault: Fault, expected: type[StorageError]
) -> None:
    double.fault = fault
    with pytest.raises(expected):
        await store.get(CID, tmp_path / "out", max_bytes=1 << 20)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*.part"))


async def test_an_announced_length_that_is_no_number_is_ignored(
    double: KuboDouble, store: BlobStore, source: Path, tmp_path: Path
) -> None:
    double.fault = Fault.LYING_LENGTH
    assert await store.get(CID, tmp_path / "out", max_bytes=1 << 20) == len(BLOB)


async def test_a_directory_is_no_blob(double: KuboDouble, store: BlobStore, tmp_path: Path) -> None:
    directory = from_text("bafybeiepzn2orjxoqqp4edmwwdcg32hxn44qewigd4shcyutqd4ekgulze")
    double.directories.add(to_text(directory))
    with pytest.raises(BlobCorrupt, match="directory"):
        await store.get(directory, tmp_path / "out", max_bytes=1 << 20)


async def test_a_node_that_builds_other_trees_is_refused(double: KuboDouble, store: BlobStore, source: Path) -> None:
    double.fault = Fault.OTHER_CID
    with pytest.raises(BlobCorrupt, match="Kubo stored"):
        await store.put(source)


async def test_a_pin_set_by_the_operator_is_left_alone(double: KuboDouble, store: BlobStore, source: Path) -> None:
    double.pins.add(to_text(CID))
    await store.unpin(CID)
    assert double.pins == {to_text(CID)}


async def test_a_put_cut_short_leaves_nothing_that_the_garbage_collector_would_spare(
    double: KuboDouble, store: BlobStore, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "_set_mark", killed)
    with pytest.raises(KeyboardInterrupt):
        await store.put(source)
    assert double.blobs
    double.collect_garbage()
    assert not double.blobs


async def test_an_unpin_cut_short_is_completed_by_the_next(double: KuboDouble, store: BlobStore, source: Path) -> None:
    await store.put(source)
    double.pins.clear()  # the pin went, then the agent was killed
    assert double.mfs
    await store.unpin(CID)
    assert not double.mfs


async def test_the_probe_leaves_nothing_on_the_node(double: KuboDouble, store: BlobStore) -> None:
    assert double.url in await store.probe()
    assert not double.blobs
    assert not double.pins
    assert not double.mfs


async def test_a_login_goes_with_every_call_and_into_no_message(
    double: KuboDouble, source: Path, tmp_path: Path
) -> None:
    store = open_store(double.url.replace("//", "//agent:s3cret@"), owner="alice", deadline=5)
    assert "s3cret" not in await store.probe()
    await store.put(source)
    await store.get(CID, tmp_path / "out", max_bytes=1 << 20)
    await store.pin(CID)
    await store.unpin(CID)
    assert {login for _, login in double.requests} == {"Basic YWdlbnQ6czNjcmV0"}
    await double.stop()
    with pytest.raises(StoreUnavailable) as caught:
        await store.has(CID)
    assert "s3cret" not in str(caught.value)
    await store.close()


async def test_a_gateway_is_not_an_rpc_port(double: KuboDouble, source: Path) -> None:
    double.fault = Fault.NONE
    store = open_store(double.url, owner="alice", deadline=5)
    store._origin = store._origin.with_path("/")  # type: ignore[attr-defined]
    connected = store._connected()  # type: ignore[attr-defined]
    connected._api_url = connected.api_url.with_path("/ipfs/")
    with pytest.raises(StoreUnavailable, match="gateway"):
        await store.put(source)
    await store.close()


async def test_a_blob_crosses_from_one_real_kubo_to_another(kubo_nodes: list[KuboNode], tmp_path: Path) -> None:
    content = os.urandom(6_654_072)
    source, out = tmp_path / "source", tmp_path / "out"
    source.write_bytes(content)
    here = open_store(kubo_nodes[0].address, owner="alice", deadline=30)
    there = open_store(kubo_nodes[1].address, owner="bob", deadline=30)
    cid = await here.put(source)
    assert await there.get(cid, out, max_bytes=len(content)) == len(content)
    assert out.read_bytes() == content
    assert not await there.has(cid)
    await there.pin(cid)
    assert await there.has(cid)
    kubo_nodes[1].ipfs("repo", "gc")
    assert len(kubo_nodes[1].ipfs("refs", "--offline", "-r", to_text(cid)).split()) == 26
    await here.close()
    await there.close()


async def test_hostile_trees_on_a_real_kubo_are_refused(kubo_nodes: list[KuboNode], tmp_path: Path) -> None:
    """A dag-pb block of garbage, an unknown node type, and a file that claims 8 GiB and has no links."""
    store = open_store(kubo_nodes[0].address, owner="alice", deadline=5)
    hostile = {
        b"garbage": BlobCorrupt,
        b"\n\x02\x08\x07": BlobCorrupt,
        b"\n\x08\x08\x02\x18\x80\x80\x80\x80 ": BlobTooLarge,
    }
    for block, expected in hostile.items():
        path = tmp_path / "block"
        path.write_bytes(block)
        name = kubo_nodes[0].ipfs("block", "put", "--cid-codec=dag-pb", "--allow-big-block", str(path)).strip()
        with pytest.raises(expected):
            await store.get(from_text(name), tmp_path / "out", max_bytes=1 << 20)
    await store.close()


async def test_what_is_provided_again_is_seen_by_the_neighbours(
    store: BlobStore, double: KuboDouble, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(StoreUnavailable, match="no connected peers"):
        await store.provide(CID)
    double.neighbours.append(KuboDouble())
    await store.provide(CID)
    assert double.neighbours[0].blobs == {to_text(CID): BLOB}


async def test_an_answer_that_breaks_off_between_two_reads_is_an_unavailable_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiohttp then says so by a RuntimeError: when the next piece is wanted, the connection is gone."""
    reading, gone, write = threading.Event(), threading.Event(), Download.write

    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n")
        await asyncio.to_thread(reading.wait, 20)
        writer.write(b"5\r\nafterXX0\r\n\r\n")
        await reader.read()
        gone.set()
        writer.close()

    def slow(download: Download, chunk: bytes) -> None:
        write(download, chunk)
        reading.set()
        gone.wait(20)

    monkeypatch.setattr(Download, "write", slow)
    async with await asyncio.start_server(broken, "127.0.0.1", 0) as server:
        store = open_store(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", owner="alice", deadline=60)
        try:
            with pytest.raises(StoreUnavailable, match="broke off"):
                await store.get(CID, tmp_path / "out", max_bytes=1 << 20)
        finally:
            await store.close()
    assert not (tmp_path / "out").exists()
