"""What only the embedded store does: corruption, several agents in one directory, kills, file systems without links."""

import asyncio
import errno
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.storage import BlobCorrupt, BlobMissing, StoreFull, StoreUnavailable, local as local_module
from agents.storage.cid import cid_of_bytes, to_text
from agents.storage.local import LocalStore
from agents.storage.partfile import PartFile, sweep


def store_of(directory: Path, owner: str, deadline: float = 10.0) -> LocalStore:
    return LocalStore(directory / "store", owner=owner, deadline=deadline)


def a_file(directory: Path, content: bytes, name: str = "source") -> Path:
    path = directory / name
    path.write_bytes(content)
    return path


def copy_of(directory: Path, owner: str, cid: bytes) -> Path:
    return directory / "store" / "pins" / owner / to_text(cid)


async def test_a_corrupt_blob_is_refused_once_and_set_aside(tmp_path: Path) -> None:
    store = store_of(tmp_path, "alice")
    cid = await store.put(a_file(tmp_path, bytes(1000)))
    copy_of(tmp_path, "alice", cid).write_bytes(bytes(999) + b"\x01")
    with pytest.raises(BlobCorrupt, match=to_text(cid)):
        await store.get(cid, tmp_path / "out", max_bytes=1000)
    assert not (tmp_path / "out").exists()
    assert len(list((tmp_path / "store" / "quarantine").iterdir())) == 1
    with pytest.raises(BlobMissing):
        await store.get(cid, tmp_path / "out", max_bytes=1000)


async def test_putting_again_repairs_a_corrupt_blob(tmp_path: Path) -> None:
    store, source = store_of(tmp_path, "alice"), a_file(tmp_path, bytes(1000))
    cid = await store.put(source)
    copy_of(tmp_path, "alice", cid).write_bytes(b"rot")
    await store.put(source)
    assert await store.get(cid, tmp_path / "out", max_bytes=1000) == 1000


async def test_anothers_whole_copy_replaces_my_corrupt_one(tmp_path: Path) -> None:
    alice, bob, source = store_of(tmp_path, "alice"), store_of(tmp_path, "bob"), a_file(tmp_path, bytes(1000))
    cid = await alice.put(source)
    await bob.put(source)
    copy_of(tmp_path, "alice", cid).write_bytes(b"rot")
    assert await alice.get(cid, tmp_path / "out", max_bytes=1000) == 1000
    await bob.unpin(cid)
    assert await alice.get(cid, tmp_path / "out", max_bytes=1000) == 1000


async def test_a_truncated_blob_is_corrupt(tmp_path: Path) -> None:
    store = store_of(tmp_path, "alice")
    cid = await store.put(a_file(tmp_path, os.urandom(1 << 20)))
    os.truncate(copy_of(tmp_path, "alice", cid), 1 << 19)
    with pytest.raises(BlobCorrupt):
        await store.get(cid, tmp_path / "out", max_bytes=1 << 20)


async def test_pins_of_several_owners_share_the_bytes(tmp_path: Path) -> None:
    alice, bob = store_of(tmp_path, "alice"), store_of(tmp_path, "bob")
    cid = await alice.put(a_file(tmp_path, bytes(1000)))
    await bob.pin(cid)
    assert copy_of(tmp_path, "alice", cid).samefile(copy_of(tmp_path, "bob", cid))


async def test_without_hard_links_a_pin_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    alice, bob = store_of(tmp_path, "alice"), store_of(tmp_path, "bob")
    cid = await alice.put(a_file(tmp_path, bytes(1000)))
    await bob.pin(cid)
    await alice.unpin(cid)
    assert await bob.get(cid, tmp_path / "out", max_bytes=1000) == 1000


async def test_owners_at_work_at_once_never_lose_what_one_of_them_pins(tmp_path: Path) -> None:
    sources = [a_file(tmp_path, bytes([i]) * 5000, f"source{i}") for i in range(4)]
    cids = [cid_of_bytes(source.read_bytes()) for source in sources]

    async def busy(owner: str) -> None:
        store, dice = store_of(tmp_path, owner), random.Random(owner)
        for step in range(25):
            which = dice.randrange(4)
            await store.put(sources[which])
            out = tmp_path / f"{owner}{step}"
            assert await store.get(cids[which], out, max_bytes=5000) == 5000
            await store.unpin(cids[which])

    await asyncio.gather(*(busy(owner) for owner in ("alice", "bob", "carol")))
    reader = store_of(tmp_path, "reader")
    assert not [cid for cid in cids if await reader.has(cid)]
    assert not list((tmp_path / "store" / "quarantine").iterdir())


async def test_what_a_killed_agent_left_is_swept_and_work_in_progress_is_not(tmp_path: Path) -> None:
    parts = tmp_path / "store" / "parts"
    parts.mkdir(parents=True)
    left = a_file(parts, b"half a blob", ".0123456789abcdef.part")
    living = PartFile(parts)
    await store_of(tmp_path, "alice").put(a_file(tmp_path, b"x"))
    assert not left.exists()
    assert len(list(parts.iterdir())) == 1
    living.discard()
    assert not list(parts.iterdir())


def test_sweeping_touches_nothing_but_part_files(tmp_path: Path) -> None:
    kept = a_file(tmp_path, b"mine", "model.safetensors")
    a_file(tmp_path, b"", ".0123456789abcdef.part")
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [kept]


async def test_a_disk_that_fills_up_while_storing_keeps_the_store_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = store_of(tmp_path, "alice")
    source = a_file(tmp_path, bytes(1000))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreFull, match="free some"):
            await store.put(source)
    assert not list((tmp_path / "store" / "parts").iterdir())
    assert not await store.has(cid_of_bytes(bytes(1000)))
    await store.put(source)


async def test_a_directory_that_cannot_be_one_is_a_store_that_is_unavailable(tmp_path: Path) -> None:
    a_file(tmp_path, b"", "store")
    store = store_of(tmp_path, "alice")
    with pytest.raises(StoreUnavailable, match="store"):
        await store.probe()
    (tmp_path / "store").unlink()
    assert "embedded store" in await store.probe()


async def test_the_probe_leaves_nothing_behind(tmp_path: Path) -> None:
    await store_of(tmp_path, "alice").probe()
    assert [path.name for path in (tmp_path / "store").rglob("*") if path.is_file()] == ["format"]


async def test_a_stalled_disk_ends_by_the_deadline_and_the_thread_cleans_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moving = threading.Event()

    def stalled(path: Path) -> Iterator[bytes]:
        yield b"first"
        moving.wait(10)
        yield b"second"

    monkeypatch.setattr(local_module, "chunks", stalled)
    store = store_of(tmp_path, "alice", deadline=0.1)
    with pytest.raises(StoreUnavailable, match="longer than"):
        await store.put(a_file(tmp_path, b"x"))
    moving.set()
    await asyncio.get_running_loop().shutdown_default_executor()
    assert [path.name for path in (tmp_path / "store").rglob("*") if path.is_file()] == ["format"]
