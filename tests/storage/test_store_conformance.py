"""What every back end must do, whichever it is."""

import errno
import os
from pathlib import Path

import pytest

from agents.storage import BlobMissing, BlobTooLarge, InvalidCid, StorageError, StoreFull
from agents.storage.cid import LEAF_BYTES, cid_of_bytes
from agents.storage.partfile import PartFile
from agents.storage.store import probe_content
from tests.storage.conftest import Backend

SIZES = (0, 1, 1000, LEAF_BYTES, LEAF_BYTES + 1, 3 * LEAF_BYTES + 7)


def a_file(directory: Path, content: bytes) -> Path:
    path = directory / "source"
    path.write_bytes(content)
    return path


def nothing_left(directory: Path) -> bool:
    return not [path for path in directory.iterdir() if path.name.endswith(".part")]


@pytest.mark.parametrize("size", SIZES)
async def test_what_one_owner_puts_another_gets(backend: Backend, tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    cid = await backend.open("alice").put(a_file(tmp_path, content))
    assert cid == cid_of_bytes(content)
    out = tmp_path / "out"
    assert await backend.open("bob").get(cid, out, max_bytes=size) == size
    assert out.read_bytes() == content
    assert nothing_left(tmp_path)


async def test_putting_twice_is_putting_once(backend: Backend, tmp_path: Path) -> None:
    store, source = backend.open("alice"), a_file(tmp_path, os.urandom(1000))
    assert await store.put(source) == await store.put(source)
    assert await store.has(cid_of_bytes(source.read_bytes()))


async def test_putting_a_file_that_is_not_there_is_the_callers_error(backend: Backend, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await backend.open("alice").put(tmp_path / "nothing")


async def test_an_absent_blob_is_missing_and_leaves_nothing(backend: Backend, tmp_path: Path) -> None:
    store, cid = backend.open("alice", deadline=0.3), cid_of_bytes(os.urandom(LEAF_BYTES + 1))
    with pytest.raises(BlobMissing):
        await store.get(cid, tmp_path / "out", max_bytes=1 << 20)
    with pytest.raises(BlobMissing):
        await store.pin(cid)
    assert not (tmp_path / "out").exists()
    assert nothing_left(tmp_path)
    assert not await store.has(cid)


@pytest.mark.parametrize("size", [2, 1000, 3 * LEAF_BYTES])
async def test_a_blob_above_the_cap_is_refused(backend: Backend, tmp_path: Path, size: int) -> None:
    store = backend.open("alice")
    cid = await store.put(a_file(tmp_path, os.urandom(size)))
    with pytest.raises(BlobTooLarge):
        await store.get(cid, tmp_path / "out", max_bytes=size - 1)
    assert not (tmp_path / "out").exists()
    assert nothing_left(tmp_path)


async def test_a_failed_get_leaves_an_older_file_as_it_was(backend: Backend, tmp_path: Path) -> None:
    store, out = backend.open("alice"), tmp_path / "out"
    out.write_bytes(b"older")
    cid = await store.put(a_file(tmp_path, os.urandom(100)))
    with pytest.raises(BlobTooLarge):
        await store.get(cid, out, max_bytes=99)
    assert out.read_bytes() == b"older"
    assert await store.get(cid, out, max_bytes=100) == 100
    assert out.read_bytes() != b"older"


@pytest.mark.parametrize("hostile", [b"", b"\x01\x55\x12\x20", bytes(36), b"\x01\x55\x12\x20" + bytes(33)])
async def test_hostile_cid_bytes_are_refused_everywhere(backend: Backend, tmp_path: Path, hostile: bytes) -> None:
    store = backend.open("alice")
    for call in (
        store.get(hostile, tmp_path / "out", max_bytes=1),
        store.pin(hostile),
        store.unpin(hostile),
        store.has(hostile),
    ):
        with pytest.raises(InvalidCid):
            await call


async def test_a_blob_lives_until_its_last_owner_unpins_it(backend: Backend, tmp_path: Path) -> None:
    alice, bob = backend.open("alice"), backend.open("bob", deadline=0.7)
    cid = await alice.put(a_file(tmp_path, os.urandom(LEAF_BYTES + 1)))
    await bob.pin(cid)
    await alice.unpin(cid)
    backend.collect_garbage()
    assert await alice.has(cid)
    assert await bob.get(cid, tmp_path / "out", max_bytes=1 << 20) == LEAF_BYTES + 1
    await bob.unpin(cid)
    backend.collect_garbage()
    assert not await alice.has(cid)
    with pytest.raises(BlobMissing):
        await bob.get(cid, tmp_path / "out", max_bytes=1 << 20)


async def test_pinning_and_unpinning_twice_is_doing_it_once(backend: Backend, tmp_path: Path) -> None:
    alice, bob = backend.open("alice"), backend.open("bob")
    cid = await alice.put(a_file(tmp_path, os.urandom(10)))
    for _ in range(2):
        await bob.pin(cid)
    for _ in range(2):
        await bob.unpin(cid)
    assert await alice.has(cid)


async def test_unpinning_what_was_never_pinned_does_nothing(backend: Backend, tmp_path: Path) -> None:
    alice, bob = backend.open("alice"), backend.open("bob")
    await bob.unpin(cid_of_bytes(os.urandom(10)))
    cid = await alice.put(a_file(tmp_path, os.urandom(10)))
    await bob.unpin(cid)
    assert await alice.has(cid)


async def test_a_full_disk_is_named_and_leaves_nothing(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = backend.open("alice")
    cid = await store.put(a_file(tmp_path, os.urandom(1000)))

    def full(part: PartFile, chunk: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PartFile, "write", full)
    with pytest.raises(StoreFull, match="no space left"):
        await store.get(cid, tmp_path / "out", max_bytes=1000)
    assert not (tmp_path / "out").exists()
    assert nothing_left(tmp_path)


async def test_a_directory_that_is_not_there_is_named(backend: Backend, tmp_path: Path) -> None:
    store = backend.open("alice")
    cid = await store.put(a_file(tmp_path, b"x"))
    with pytest.raises(StorageError, match="nowhere"):
        await store.get(cid, tmp_path / "nowhere" / "out", max_bytes=1)


async def test_the_probe_describes_the_store(backend: Backend) -> None:
    description = await backend.open("alice").probe()
    assert "embedded store" in description or "kubo/" in description
    assert "\n" not in description


async def test_what_a_killed_probe_left_goes_with_the_next(backend: Backend, tmp_path: Path) -> None:
    store = backend.open("alice")
    left = await store.put(a_file(tmp_path, probe_content("alice")))
    assert await store.has(left)
    await store.probe()
    assert not await store.has(left)
