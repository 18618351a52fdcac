"""Models in and out: what is sealed opens at its readers, and hostile bytes leave nothing behind."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from agents.core.intents import FetchModel, ModelReady, Published, Refused
from agents.crypto.keys import generate_encryption_key, key_id, public_der
from agents.effects import exchange as exchange_module
from agents.effects.exchange import Exchange
from agents.effects.model_files import ModelFiles
from agents.effects.ports import Transient
from agents.storage.cid import to_text
from agents.storage.local import LocalStore
from agents.storage.store import StoreUnavailable

TASK, CHAIN = "0x" + "aa" * 20, 31337
MODEL = bytes(range(256)) * 40
DIGEST = hashlib.sha256(MODEL).digest()


@cache
def key(owner: str) -> RSAPrivateKey:
    return generate_encryption_key()


class Site:
    """One agent's exchange on a store that all share."""

    def __init__(self, folder: Path, owner: str) -> None:
        self.owner, self.work = owner, folder / owner / "envelopes"
        self.files = ModelFiles(folder / owner / "models")
        self.store = LocalStore(folder / "blobs", owner=owner, deadline=10.0)
        self.exchange = Exchange(self.store, self.files, self._keys, self.work, chain_id=CHAIN, account=owner)

    def _keys(self) -> Mapping[bytes, RSAPrivateKey]:
        return {key_id(public_der(key(self.owner))): key(self.owner)}

    def hold(self, model: bytes, name: bytes = DIGEST) -> None:
        source = self.work / "made"
        source.write_bytes(model)
        self.files.adopt(source, name)


@pytest.fixture
def sites(tmp_path: Path) -> list[Site]:
    found = [Site(tmp_path, f"0x{number:040x}") for number in (1, 2, 3)]
    found[0].hold(MODEL)
    return found


def readers(*sites: Site) -> tuple[tuple[str, bytes], ...]:
    return tuple((site.owner, public_der(key(site.owner))) for site in sites)


async def announced(sender: Site, *to: Site) -> FetchModel:
    """What the chain says of a published model."""
    published = await sender.exchange.publish(TASK, 1, 1, 0, DIGEST, readers(*to), lambda _: None)
    return FetchModel(TASK, 1, 1, sender.owner, DIGEST, published.cid, published.size)


async def test_every_reader_gets_the_same_bytes(sites: list[Site]) -> None:
    wanted = await announced(sites[0], *sites)
    for site in sites[1:]:
        assert await site.exchange.fetch(wanted, len(MODEL)) == ModelReady(DIGEST)
        assert site.files.path(DIGEST).read_bytes() == MODEL
        assert list(site.work.iterdir()) == []


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        ({"attempt": 2}, "sealed for"),
        ({"round": 2}, "sealed for"),
        ({"kind": 1, "attempt": 0}, "sealed for"),
        ({"sender": "0x" + "00" * 19 + "02"}, "sealed for"),
        ({"model_hash": bytes(32)}, "SHA-256"),
        ({"size": 7}, "V1"),
        ({"size": 10**9}, "at most"),
        ({"cid": b"\x00" * 36}, "V1"),
    ],
)
async def test_what_the_chain_does_not_say_is_refused(sites: list[Site], lie: dict[str, object], says: str) -> None:
    wanted = replace(await announced(sites[0], *sites), **lie)
    outcome = await sites[1].exchange.fetch(wanted, len(MODEL))
    assert isinstance(outcome, Refused)
    assert says in outcome.reason
    assert sites[1].files.held() == frozenset()
    assert list(sites[1].work.iterdir()) == []


async def test_a_fetch_that_is_cancelled_leaves_nothing_behind_even_late(
    sites: list[Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = await announced(sites[0], *sites)
    opening, cancelled, ended = threading.Event(), threading.Event(), threading.Event()
    really = exchange_module.open_envelope

    def slowly(*arguments: object, **limits: object) -> None:
        opening.set()
        cancelled.wait(10)
        try:
            really(*arguments, **limits)  # type: ignore[arg-type]
        finally:
            ended.set()

    monkeypatch.setattr(exchange_module, "open_envelope", slowly)
    fetching = asyncio.create_task(sites[1].exchange.fetch(wanted, len(MODEL)))
    await asyncio.to_thread(opening.wait, 10)
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    cancelled.set()
    assert await asyncio.to_thread(ended.wait, 10)
    assert list(sites[1].work.iterdir()) == []


def test_what_a_killed_process_left_is_dropped_at_the_next_start(sites: list[Site]) -> None:
    folder = sites[0].work / "scratch-of-an-earlier-life"
    folder.mkdir()
    (folder / "envelope").write_bytes(MODEL)
    (sites[0].work / "specification").write_bytes(MODEL)
    Exchange(sites[0].store, sites[0].files, dict, sites[0].work, chain_id=CHAIN, account=sites[0].owner)
    assert list(sites[0].work.iterdir()) == []


async def test_an_envelope_is_remembered_before_the_store_has_it_and_found_there_afterwards(sites: list[Site]) -> None:
    seen: list[tuple[Published, bool]] = []
    site = sites[0]

    def remember(sealed: Published) -> None:
        seen.append((sealed, bool(list((site.work.parents[1] / "blobs").rglob(to_text(sealed.cid))))))

    published = await site.exchange.publish(TASK, 1, 1, 0, DIGEST, readers(*sites), remember)
    assert seen == [(published, False)]
    assert await site.exchange.published(published)
    await site.store.unpin(published.cid)
    assert not await site.exchange.published(published)


async def test_whoever_is_no_reader_is_told_so(sites: list[Site]) -> None:
    wanted = await announced(sites[0], sites[1])
    outcome = await sites[2].exchange.fetch(wanted, len(MODEL))
    assert isinstance(outcome, Refused)
    assert "V2" in outcome.reason


async def test_other_bytes_under_an_announced_hash_are_refused(sites: list[Site]) -> None:
    other = hashlib.sha256(MODEL[::-1]).digest()
    outcome = await sites[1].exchange.fetch(replace(await announced(sites[0], *sites), model_hash=other), len(MODEL))
    assert isinstance(outcome, Refused)
    assert other.hex() in outcome.reason


@pytest.mark.parametrize("content", [b"", MODEL[:100], MODEL[::-1]])
async def test_a_damaged_model_file_is_never_published_but_moved_aside(sites: list[Site], content: bytes) -> None:
    path = sites[0].files.path(DIGEST)
    path.write_bytes(content)
    assert sites[0].files.held() == {DIGEST}
    with pytest.raises(Transient, match="made again"):
        await announced(sites[0], *sites)
    assert sites[0].files.held() == frozenset()
    (aside,) = path.parent.glob("*.damaged-*")
    assert aside.read_bytes() == content


async def test_a_blob_that_is_not_there_is_waited_for_and_troubles_nobody(sites: list[Site]) -> None:
    wanted = await announced(sites[0], *sites)
    await sites[0].store.unpin(wanted.cid)
    with pytest.raises(Transient) as missing:
        await sites[1].exchange.fetch(wanted, len(MODEL))
    assert missing.value.part == ""


async def test_a_dead_store_is_named(sites: list[Site], monkeypatch: pytest.MonkeyPatch) -> None:
    async def dead(*_: object, **__: object) -> int:
        raise StoreUnavailable("connection refused")

    wanted = await announced(sites[0], *sites)
    monkeypatch.setattr(sites[1].store, "get", dead)
    with pytest.raises(Transient, match="connection refused") as trouble:
        await sites[1].exchange.fetch(wanted, len(MODEL))
    assert trouble.value.part == "store"


async def test_public_bytes_with_the_right_hash_are_pinned_to_be_kept(sites: list[Site], tmp_path: Path) -> None:
    document = tmp_path / "document"
    document.write_bytes(b"{}")
    cid = await sites[0].store.put(document)
    refused = await sites[1].exchange.read_public(cid, bytes(32), 100)
    assert isinstance(refused, Refused)
    assert list(sites[1].work.iterdir()) == []
    found = await sites[1].exchange.read_public(cid, hashlib.sha256(b"{}").digest(), 100)
    assert isinstance(found, Path)
    assert list((tmp_path / "blobs" / "pins" / sites[1].owner).iterdir()) == []
    await sites[1].exchange.keep(cid)
    await sites[0].store.unpin(cid)
    assert await sites[2].store.has(cid)             # the reader keeps it available


def test_a_model_deleted_by_hand_is_noticed(tmp_path: Path) -> None:
    site = Site(tmp_path, "0x" + "11" * 20)
    site.hold(MODEL)
    assert site.files.held() == {DIGEST}
    site.files.path(DIGEST).unlink()
    assert site.files.held() == frozenset()
