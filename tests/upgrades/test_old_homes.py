"""A home that an older version wrote is opened, and one that a newer version wrote is refused and left as it is.

A new format adds a home (`make_home`) and keeps those that are here.
"""

from __future__ import annotations

import shutil
import sqlite3
from hashlib import sha256
from pathlib import Path

import pytest

from agents.composition import run
from agents.effects import journal as journal_module
from agents.effects.model_files import ModelFiles
from agents.effects.slots import Slots
from agents.formats import HOME_FORMAT, refuse_newer
from agents.home import Home
from agents.identity import choose, password
from agents.keyring import Keyring
from agents.misconfiguration import SettingsError
from agents.opening import Opening
from agents.settings import load
from agents.storage.local import LocalStore
from agents.storage.store import StorageError
from bfl_events.log import EventLog
from tests.simulation.play import FACTORY
from tests.upgrades import make_home as witness

HOMES = sorted(Path(__file__).parent.glob("home-*"))


@pytest.fixture(params=HOMES, ids=lambda path: str(path.name))
def home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A copy of a home as a version before this one, or this one, has written it."""
    monkeypatch.delenv("BFL_HOME", raising=False)
    shutil.copytree(request.param, tmp_path / "home")
    return Home(tmp_path / "home")


def files(home: Home) -> dict[str, bytes]:
    found = (path for path in home.root.rglob("*") if path.is_file())
    return {str(path.relative_to(home.root)): path.read_bytes() for path in found}


async def test_everything_in_an_old_home_is_read(home: Home, tmp_path: Path) -> None:
    settings = load(home)
    refuse_newer(home, settings.store_address)
    identity = choose(home, settings.account.address)
    keyring = Keyring(home, identity, password(home, settings.account))
    assert (keyring.address, keyring.account_key) == (witness.ACCOUNT, witness.KEY)
    assert len(keyring.keys()) == 1
    network, told = home.network(31337, FACTORY), []
    opening = Opening(network, lambda part, sentence: told.append((part, sentence)))
    opening.mend()
    with EventLog(network.events, witness.IDENTITY) as events:
        assert tuple(events.records()) == witness.records()
        journal, slots = opening.journal(), Slots(network.outbox, chain_id=31337, account=witness.ACCOUNT)
        opening.compare(events, journal, outbox_used=slots.top() is not None)
    assert told == []
    assert dict(journal.outcomes()) == witness.OUTCOMES
    assert slots.open() == {1: witness.SLOTS[1]}
    assert [slot.landing for slot in slots.of("join:0xT")] == [witness.LANDING]
    assert ModelFiles(network.models).held() == {sha256(witness.MODEL).digest()}
    (tmp_path / "model").write_bytes(witness.MODEL)
    store = LocalStore(home.root / "blobs", owner=witness.ACCOUNT.lower(), deadline=10.0)
    (blob,) = (home.root / "blobs" / "pins" / witness.ACCOUNT.lower()).iterdir()
    cid = await LocalStore(tmp_path / "other", owner="me", deadline=10.0).put(tmp_path / "model")
    assert await store.get(cid, tmp_path / "back", max_bytes=10**6) == blob.stat().st_size
    journal.close()
    slots.close()


@pytest.mark.parametrize("what", ["format", "blobs/format", "journal.sqlite", "events.sqlite", "outbox.sqlite"])
async def test_a_newer_home_is_refused_by_name_and_nothing_is_changed(home: Home, what: str) -> None:
    path = next(path for path in home.root.rglob(Path(what).name) if str(path).endswith(f"/{what}")
                and (what != "format" or path.parent == home.root))
    if path.suffix == ".sqlite":
        database = sqlite3.connect(path)
        database.execute("PRAGMA user_version = 99")
        database.close()
    else:
        path.write_text("99\n")
    before = files(home)
    with pytest.raises(SettingsError, match=f"{what} has format 99, and this version knows formats up to 1") as refused:
        await run(load(home))
    assert refused.value.exit_code == 19
    assert files(home) == before


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0" + b"\7" * 5000, b"\xff" * 100])
def test_a_damaged_database_is_not_taken_for_a_newer_one(home: Home, content: bytes) -> None:
    next(home.root.rglob("outbox.sqlite")).write_bytes(content)
    refuse_newer(home, load(home).store_address)


async def test_a_newer_store_is_refused_by_whoever_opens_it(home: Home, tmp_path: Path) -> None:
    (home.root / "blobs" / "format").write_text("2\n")
    with pytest.raises(StorageError, match="written by a newer bfl-agent"):
        await LocalStore(home.root / "blobs", owner="me", deadline=10.0).put(home.config)


def test_a_home_of_todays_format_has_a_witness() -> None:
    assert f"home-{HOME_FORMAT}" in [path.name for path in HOMES]
    journal = sqlite3.connect(f"file:{next(HOMES[-1].rglob('journal.sqlite'))}?mode=ro&immutable=1", uri=True)
    assert journal.execute("PRAGMA user_version").fetchone() == (journal_module.VERSION,)
    journal.close()
