"""Whether the store still holds what the journal says was put there."""

from __future__ import annotations

import asyncio
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from agents.core.intents import Done, Published, TermsReady
from agents.effects.journal import Journal
from agents.effects.model_files import ModelFiles
from agents.effects.scratch import Scratch
from agents.effects.stocktaking import take_stock
from agents.storage.local import LocalStore
from agents.storage.store import StoreUnavailable

GENESIS = b"genesis" * 1000
TERMS = "terms:0xT:" + "11" * 32 + ":" + sha256(GENESIS).hexdigest()


class Bench:
    """A journal, a model folder and a store that fit together."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.scratch = folder, folder / "scratch"
        self.journal, self.files = Journal(folder / "journal.sqlite"), ModelFiles(folder / "models")
        self.store = LocalStore(folder / "blobs", owner="me", deadline=10.0)

    async def fill(self) -> None:
        self.journal.record(TERMS, TermsReady('{"task": "digits"}'))
        for key in ("publish:0xT:1:1:aa:r", "publish:0xT:2:2:bb:r", "copy:0xT:2:2:cc"):
            self.journal.record(key, Published(await self._put(key.encode()), 3))
        self.journal.record("clear:0xT:1", Done())
        await self._put(b'{"task": "digits"}')
        await self._put(GENESIS)
        (self.folder / "made").write_bytes(GENESIS)
        self.files.adopt(self.folder / "made", sha256(GENESIS).digest())

    async def _put(self, content: bytes) -> bytes:
        (self.folder / "blob").write_bytes(content)
        return await self.store.put(self.folder / "blob")

    async def take(self) -> tuple[int, int]:
        return await take_stock(self.journal, self.files, self.store, Scratch(self.scratch))


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    found = Bench(tmp_path)
    await found.fill()
    return found


async def test_a_store_that_holds_everything_changes_nothing(bench: Bench) -> None:
    before = dict(bench.journal.outcomes())
    assert await bench.take() == (0, 0)
    assert dict(bench.journal.outcomes()) == before


async def test_lost_envelopes_are_forgotten_and_public_files_are_put_back(bench: Bench) -> None:
    shutil.rmtree(bench.folder / "blobs" / "pins" / "me")
    (bench.folder / "blobs" / "pins" / "me").mkdir()
    assert await bench.take() == (2, 2)
    left = [key for key, outcome in bench.journal.outcomes().items() if isinstance(outcome, Published)]
    assert left == ["publish:0xT:1:1:aa:r"]                  # its round is cleared: nobody needs it any more
    assert await bench.take() == (0, 0)
    again = Journal(bench.folder / "journal.sqlite")
    assert dict(again.outcomes()) == dict(bench.journal.outcomes())


@pytest.mark.parametrize("how", ["refuses", "hangs"])
async def test_a_store_that_does_not_answer_costs_no_outcome_and_no_patience(
    bench: Bench, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(_: bytes) -> bool:
        if how == "refuses":
            raise StoreUnavailable("connection refused")
        await asyncio.Event().wait()
        return False

    monkeypatch.setattr("agents.effects.stocktaking.PATIENCE_S", 0.05)
    monkeypatch.setattr(bench.store, "has", silent)
    before = dict(bench.journal.outcomes())
    assert await bench.take() == (0, 0)
    assert dict(bench.journal.outcomes()) == before


async def test_a_disk_that_refuses_keeps_nobody_from_starting(bench: Bench) -> None:
    (bench.folder / "no folder").write_text("")
    bench.scratch = bench.folder / "no folder" / "scratch"
    with pytest.raises(OSError), Scratch(bench.scratch).folder():  # noqa: PT011
        pass
    assert await bench.take() == (0, 0)
