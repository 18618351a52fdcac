"""A publisher that is cut off learns it before it has promised anything: read back by another route (T17b)."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import pytest

from agents.core.intents import PublishCopy, Published, PublishModel
from agents.crypto.keys import public_der
from agents.effects.exchange import Exchange
from agents.effects.hands import Hands
from agents.effects.journal import Journal
from agents.effects.model_files import ModelFiles
from agents.effects.ports import Transient
from agents.storage import StoreFull, open_source, open_store
from agents.storage.cid import to_text
from tests.effects.test_exchange import CHAIN, MODEL, TASK, key
from tests.storage.kubo_double import Fault, KuboDouble

DIGEST = hashlib.sha256(MODEL).digest()
OWNER = "0x" + "01" * 20
READERS = ((OWNER, public_der(key(OWNER))),)


@dataclass
class Site:
    """One publisher: its own Kubo node, and another that sees only what the first provides to it."""

    folder: Path
    own: KuboDouble = field(default_factory=KuboDouble)
    other: KuboDouble = field(default_factory=KuboDouble)

    async def __aenter__(self) -> Self:
        await self.own.start()
        await self.other.start()
        self.store = open_store(self.own.url, owner=OWNER, deadline=5)
        self.route = open_source(self.other.url, owner=OWNER, deadline=0.3)
        files = ModelFiles(self.folder / "models")
        files.path(DIGEST).write_bytes(MODEL)
        self.work = self.folder / "work"
        self.exchange = Exchange(
            self.store, files, dict, self.work, chain_id=CHAIN, account=OWNER, routes=[self.route]
        )
        self.journal = Journal(self.folder / "journal.sqlite")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.journal.close()
        await self.store.close()
        await self.route.close()
        await self.own.stop()
        await self.other.stop()

    async def publish(self, kind: int = 0, attempt: int = 1) -> Published:
        """As the agent's hands do it; of everything else that they can do, nothing is needed here."""
        needed = {"exchange": self.exchange, "journal": self.journal}
        hands = Hands(**{one.name: needed.get(one.name) for one in fields(Hands)})
        work = PublishCopy(TASK, 1, kind, DIGEST, READERS) if kind else PublishModel(TASK, 1, attempt, DIGEST, READERS)
        published = await hands.perform(work)
        assert isinstance(published, Published)
        return published

    def added(self) -> int:
        return sum(1 for endpoint, _ in self.own.requests if endpoint == "add")


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with Site(tmp_path) as site:
        yield site


async def test_what_the_other_route_does_not_show_is_not_published(site: Site) -> None:
    with pytest.raises(Transient, match="cannot be read by another route") as trouble:
        await site.publish()
    assert trouble.value.part == "read-back"
    assert "not opened on chain before that works" in str(trouble.value)
    assert "no connected peers" in str(trouble.value)
    assert list(site.work.iterdir()) == []


async def test_the_same_envelope_is_provided_again_until_the_other_route_shows_it(site: Site) -> None:
    for _ in range(2):
        with pytest.raises(Transient):
            await site.publish()
    site.own.neighbours.append(site.other)
    with pytest.raises(Transient, match="It was provided again"):
        await site.publish()
    published = await site.publish()
    assert list(site.own.blobs) == [to_text(published.cid)]
    assert site.other.blobs == site.own.blobs
    assert site.added() == 1


async def test_a_route_that_is_dead_is_named_and_waited_for(site: Site) -> None:
    await site.other.stop()
    with pytest.raises(Transient, match=site.other.url):
        await site.publish()
    await site.other.start()
    site.other.blobs = site.own.blobs
    assert (await site.publish()).size == len(next(iter(site.own.blobs.values())))


async def test_other_bytes_by_the_other_route_are_not_enough(site: Site) -> None:
    site.other.blobs = site.own.blobs
    site.other.fault = Fault.CORRUPT
    with pytest.raises(Transient, match="another route"):
        await site.publish()


async def test_a_full_disk_here_is_not_taken_for_a_dead_route(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.other.blobs = site.own.blobs
    get = site.route.get

    async def full(*arguments: Any, **named: Any) -> int:
        await get(*arguments, **named)
        raise StoreFull("no space left")

    monkeypatch.setattr(site.route, "get", full)
    with pytest.raises(Transient, match="^no space left$") as trouble:
        await site.publish()
    assert trouble.value.part == "disk"


async def test_another_attempt_is_another_envelope(site: Site) -> None:
    with pytest.raises(Transient):
        await site.publish()
    site.other.blobs = site.own.blobs
    await site.publish(attempt=2)
    assert site.added() == 2


async def test_copies_for_single_readers_wait_for_nobody(site: Site) -> None:
    """A final model or an answer is no promise on chain that costs a fee; an attestation must not wait for a route."""
    assert (await site.publish(kind=2, attempt=0)).size > len(MODEL)
