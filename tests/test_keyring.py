"""A home's keys: what opens at the start, and what only when it is wanted."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from agents.crypto.accounts import new_account
from agents.crypto.keys import encryption_key_files, key_id
from agents.crypto.keystore import LIGHT_SCRYPT, KeyDamaged, WrongPassword
from agents.home import Home
from agents.identity import Identity, identities
from agents.keyring import Keyring

PASSWORD = "a password"


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Identity]:
    """A home whose agent ran before."""
    home = Home(tmp_path_factory.mktemp("home")).create()
    new_account(home.keystore, PASSWORD, created=datetime.now(UTC), scrypt_n=LIGHT_SCRYPT)
    (identity,) = identities(home)
    Keyring(home, identity, PASSWORD)
    return home, identity


def test_a_first_start_makes_an_encryption_key_and_a_later_one_finds_it(lived_in: tuple[Home, Identity]) -> None:
    home, identity = lived_in
    keyring = Keyring(home, identity, PASSWORD)
    assert len(encryption_key_files(home.encryption_keys)) == 1
    assert list(keyring.keys()) == [key_id(keyring.newest())]


def test_coming_back_opens_no_encryption_key_until_one_is_wanted(
    lived_in: tuple[Home, Identity], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    def counted(directory: Path, password: str) -> dict[bytes, object]:
        opened.append(directory)
        return {}

    monkeypatch.setattr("agents.keyring.load_encryption_keys", counted)
    keyring = Keyring(*lived_in, PASSWORD)
    assert not opened
    keyring.keys()
    keyring.keys()
    assert opened == [lived_in[0].encryption_keys]


def test_a_new_key_comes_first_and_the_old_ones_stay(lived_in: tuple[Home, Identity]) -> None:
    old = Keyring(*lived_in, PASSWORD).newest()
    keyring = Keyring(*lived_in, PASSWORD)
    new = keyring.rotate()
    assert list(keyring.keys()) == [key_id(new), key_id(old)]
    assert list(Keyring(*lived_in, PASSWORD).keys()) == [key_id(new), key_id(old)]


def test_a_wrong_password_is_noticed_at_the_start_and_a_damaged_key_when_it_is_wanted(
    lived_in: tuple[Home, Identity]
) -> None:
    home, identity = lived_in
    with pytest.raises(WrongPassword):
        Keyring(home, identity, "another")
    newest = encryption_key_files(home.encryption_keys)[0]
    newest.chmod(0o600)
    newest.write_bytes(newest.read_bytes()[:300])
    keyring = Keyring(home, identity, PASSWORD)
    with pytest.raises(KeyDamaged):
        keyring.keys()
