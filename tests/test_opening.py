"""Opening a home whose files are damaged or gone: each loss is said once, nothing is deleted, the rest is used."""

from __future__ import annotations

import sqlite3
from hashlib import sha256
from pathlib import Path

import pytest

from agents.core.intents import Done, ModelReady, Outcome
from agents.effects.fees import Fee
from agents.effects.journal import Journal
from agents.effects.slots import Attempt, Payload, Slot, Slots
from agents.home import NetworkHome
from agents.opening import Opening
from bfl_events.lineage import Ref
from bfl_events.log import EventLog, Identity

FACTORY, ACCOUNT = "0x" + "fa" * 20, "0x" + "a1" * 20
IDENTITY = Identity(31337, FACTORY, 0)
TRAINED: dict[str, Outcome] = {"train:0xT:1:aa": ModelReady(bytes(32)), "dry-run:0xT:bb": Done()}


@pytest.fixture
def home(tmp_path: Path) -> NetworkHome:
    """One that has been used."""
    found = NetworkHome(tmp_path / "networks" / "31337-fafafafa").create()
    with EventLog(found.events, IDENTITY) as events:
        events.append((), Ref(5, bytes(32)))
    journal = Journal(found.journal)
    for key, outcome in TRAINED.items():
        journal.record(key, outcome)
    journal.close()
    slots = Slots(found.outbox, chain_id=31337, account=ACCOUNT)
    slots.add(Slot(0, "key", Payload(None, b"", 0, 21000), (Attempt(b"h", b"raw", Fee(1, 1), False, 0.0, 0),)))
    slots.close()
    return found


def opened(home: NetworkHome) -> list[tuple[str, str]]:
    """What is said when this home is opened as an agent does it."""
    told: list[tuple[str, str]] = []
    opening = Opening(home, lambda part, sentence: told.append((part, sentence)))
    opening.mend()
    with EventLog(home.events, IDENTITY) as events:
        journal = opening.journal()
        slots = Slots(home.outbox, chain_id=31337, account=ACCOUNT)
        opening.compare(events, journal, outbox_used=slots.top() is not None)
        slots.close()
        journal.close()
    return told


def test_a_new_home_and_a_sound_one_have_lost_nothing(home: NetworkHome, tmp_path: Path) -> None:
    assert opened(NetworkHome(tmp_path / "other" / "31337-fafafafa").create()) == []
    assert opened(home) == []
    assert list(home.chain.parent.rglob("*.damaged-*")) == []


@pytest.mark.parametrize("part", ["events", "journal", "outbox"])
@pytest.mark.parametrize("content", [b"no database at all" * 99, b"SQLite format 3\0" + b"\7" * 5000])
def test_a_damaged_database_is_moved_aside_and_begun_again(home: NetworkHome, part: str, content: bytes) -> None:
    path: Path = getattr(home, part)
    path.write_bytes(content)
    ((told, sentence),) = opened(home)
    assert told == part
    assert "is damaged" in sentence
    (aside,) = path.parent.glob(f"{part}.sqlite.damaged-*")
    assert aside.name in sentence
    assert aside.read_bytes() == content
    assert [said for said, _ in opened(home) if said == part] in ([], [part])


@pytest.mark.parametrize("part", ["events", "journal", "outbox"])
def test_a_database_with_a_page_torn_is_damaged_too(home: NetworkHome, part: str) -> None:
    path: Path = getattr(home, part)
    content = path.read_bytes()
    path.write_bytes(content[:len(content) - 5000])
    assert [told for told, _ in opened(home)] == [part]


@pytest.mark.parametrize("part", ["events", "journal", "outbox"])
@pytest.mark.parametrize("how", ["gone", "empty"])
def test_a_database_that_is_gone_is_noticed_by_the_others(home: NetworkHome, part: str, how: str) -> None:
    path: Path = getattr(home, part)
    path.unlink()
    if how == "empty":
        path.touch()
    ((told, sentence),) = opened(home)
    assert told == part
    assert "has been here before" in sentence


def test_an_entry_that_cannot_be_read_costs_the_journal_and_is_named(home: NetworkHome) -> None:
    with sqlite3.connect(home.journal) as database:
        database.execute("UPDATE outcome SET kind = 'Dream' WHERE key LIKE 'train:%'")
    ((told, sentence),) = opened(home)
    assert told == "journal"
    assert "Dream" in sentence
    assert list(home.root.glob("journal.sqlite.damaged-*"))


def test_model_files_that_are_not_what_they_promise_are_moved_aside(home: NetworkHome) -> None:
    good, name = b"model" * 100, sha256(b"model" * 100).hexdigest()
    (home.models / f"{name}.safetensors").write_bytes(good)
    for number, content in enumerate((b"", good[:50], b"other")):
        (home.models / f"{number:064x}.safetensors").write_bytes(content)
    ((told, sentence),) = opened(home)
    assert told == "models"
    assert "3 of the model files" in sentence
    assert [path.stem for path in home.models.glob("*.safetensors")] == [name]
    assert len(list(home.models.glob("*.damaged-*"))) == 3
