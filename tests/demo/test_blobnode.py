"""The demo's Kubo: what test_store_conformance.py does not see from outside (that file runs over it as well)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from agents.demo.blobnode import BlobNode
from agents.storage import open_store


async def test_a_blob_is_freed_with_its_last_owner(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"x" * 300_000)
    async with BlobNode() as node:
        address = f"http://127.0.0.1:{node.port}"
        alice, bob = (open_store(address, owner=name, deadline=10) for name in ("alice", "bob"))
        cid = await alice.put(tmp_path / "blob")
        await bob.pin(cid)
        await alice.unpin(cid)
        assert len(node.blobs) == 1
        await bob.unpin(cid)
        assert not node.blobs, "an hour of rounds must not fill the memory"
        await asyncio.gather(alice.close(), bob.close())


async def test_whoever_waits_for_an_absent_blob_gets_it_when_it_comes(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"later")
    async with BlobNode() as node:
        store = open_store(f"http://127.0.0.1:{node.port}", owner="alice", deadline=10)
        cid = await store.put(tmp_path / "blob")
        kept = dict(node.blobs)
        node.blobs.clear()
        waiting = asyncio.create_task(store.get(cid, tmp_path / "out", max_bytes=10))
        await asyncio.sleep(0)
        node.blobs.update(kept)
        assert await waiting == 5
        await store.close()
