"""Accounts as geth keeps them, and what is said when one cannot be opened."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agents.crypto.accounts import (
    address_of,
    import_account,
    list_accounts,
    load_account,
    new_account,
    read_keyfile,
)
from agents.crypto.keystore import (
    LIGHT_SCRYPT,
    KeyDamaged,
    KeyExists,
    KeyNotFound,
    WrongPassword,
    read_password,
)

NOON = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
KEY = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
ADDRESS = bytes.fromhex("f39fd6e51aad88f6f4ce6ab8827279cfffb92266")  # anvil's first account

# the test vectors of the Web3 Secret Storage Definition
VECTOR_KEY = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d"
VECTORS = {
    "pbkdf2": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
        "kdf": "pbkdf2",
        "kdfparams": {
            "c": 262144,
            "dklen": 32,
            "prf": "hmac-sha256",
            "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd",
        },
        "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2",
    },
    "scrypt": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "83dbcc02d8ccb40e466191a123791e0e"},
        "ciphertext": "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
        "kdf": "scrypt",
        "kdfparams": {
            "dklen": 32,
            "n": 262144,
            "p": 8,
            "r": 1,
            "salt": "ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19",
        },
        "mac": "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097",
    },
}


def stored(directory: Path, key: bytes = KEY, created: datetime = NOON) -> Path:
    return import_account(directory, key, "correct horse", created=created, scrypt_n=LIGHT_SCRYPT).path


def test_a_new_account_opens_with_its_password(tmp_path: Path) -> None:
    account = new_account(tmp_path / "keystore", "correct horse", created=NOON, scrypt_n=LIGHT_SCRYPT)
    key = load_account(tmp_path / "keystore", account.address, "correct horse")
    assert address_of(key) == account.address
    assert account.path.stat().st_mode & 0o777 == 0o600
    assert account.path.parent.stat().st_mode & 0o777 == 0o700


def test_two_new_accounts_differ(tmp_path: Path) -> None:
    first, second = (new_account(tmp_path, "x", created=NOON, scrypt_n=2) for _ in range(2))
    assert first.address != second.address
    assert len(list_accounts(tmp_path)) == 2


def test_an_imported_account_is_named_and_written_as_geth_does(tmp_path: Path) -> None:
    path = stored(tmp_path)
    assert path.name == f"UTC--2026-11-23T12-00-00.123456000Z--{ADDRESS.hex()}"
    keyfile = json.loads(path.read_text())
    assert keyfile["version"] == 3
    assert keyfile["address"] == ADDRESS.hex()
    assert keyfile["crypto"]["cipher"] == "aes-128-ctr"
    assert KEY.hex() not in path.read_text()
    assert load_account(tmp_path, ADDRESS, "correct horse") == KEY


@pytest.mark.parametrize("name", VECTORS)
def test_the_standards_own_key_files_open(tmp_path: Path, name: str) -> None:
    path = tmp_path / "file"
    path.write_text(json.dumps({"crypto": VECTORS[name], "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6", "version": 3}))
    assert read_keyfile(path, "testpassword").hex() == VECTOR_KEY
    with pytest.raises(WrongPassword, match="file"):
        read_keyfile(path, "testpasswort")


def test_accounts_are_listed_oldest_first_and_other_files_are_not_accounts(tmp_path: Path) -> None:
    stored(tmp_path, KEY, NOON + timedelta(days=1))
    stored(tmp_path, bytes(31) + b"\x01", NOON)
    (tmp_path / "UTC--nonsense").write_text("")
    (tmp_path / "notes.txt").write_text("")
    assert [account.address for account in list_accounts(tmp_path)] == [address_of(bytes(31) + b"\x01"), ADDRESS]
    assert list_accounts(tmp_path / "nowhere") == []


def test_an_account_is_imported_once(tmp_path: Path) -> None:
    path = stored(tmp_path)
    before = path.read_bytes()
    with pytest.raises(KeyExists, match=path.name):
        stored(tmp_path, created=NOON + timedelta(days=1))
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [before]


def test_a_wrong_password_is_named_and_changes_nothing(tmp_path: Path) -> None:
    path = stored(tmp_path)
    before = path.read_bytes()
    with pytest.raises(WrongPassword, match=re.escape(str(path))) as error:
        load_account(tmp_path, ADDRESS, "wrong guess")
    assert "wrong guess" not in str(error.value)
    assert path.read_bytes() == before


def test_an_account_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyNotFound, match=ADDRESS.hex()):
        load_account(tmp_path, ADDRESS, "x")
    with pytest.raises(KeyNotFound, match="nothing"):
        read_keyfile(tmp_path / "nothing", "x")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"version": 1}',
        '{"version": 3}',
        '{"version": 3, "crypto": {}}',
        json.dumps({"version": 3, "crypto": VECTORS["scrypt"] | {"kdf": "argon2"}}),
        json.dumps({"version": 3, "crypto": VECTORS["scrypt"] | {"kdfparams": {}}}),
        json.dumps({"version": 3, "crypto": VECTORS["pbkdf2"] | {"ciphertext": "not hex"}}),
    ],
)
def test_a_damaged_key_file_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / f"UTC--2026-11-23T12-00-00.000000000Z--{ADDRESS.hex()}"
    path.write_text(content)
    with pytest.raises(KeyDamaged, match=path.name):
        load_account(tmp_path, ADDRESS, "x")


def test_a_key_file_under_anothers_name_is_refused(tmp_path: Path) -> None:
    path = stored(tmp_path)
    other = bytes(19) + b"\x01"
    path.rename(tmp_path / f"UTC--2026-11-23T12-00-00.000000000Z--{other.hex()}")
    with pytest.raises(KeyDamaged, match="not of its name"):
        load_account(tmp_path, other, "correct horse")


@pytest.mark.parametrize("key", [b"", bytes(32), b"\xff" * 32, bytes(33)])
def test_what_is_no_private_key_is_not_imported_and_not_repeated(tmp_path: Path, key: bytes) -> None:
    with pytest.raises(ValueError) as error:
        stored(tmp_path, key)
    assert not key or key.hex() not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_an_account_needs_a_password(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="password"):
        new_account(tmp_path, "", created=NOON)


@pytest.mark.parametrize("text", ["secret", "secret\n", "secret\r\n", "secret\nsecond line\n"])
def test_a_password_is_the_first_line_of_its_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "password").write_bytes(text.encode())
    assert read_password(tmp_path / "password") == "secret"


@pytest.mark.parametrize("content", [b"", b"\n", b"\nsecret", b"\xff\xfe"])
def test_a_password_file_without_a_password_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "password").write_bytes(content)
    with pytest.raises(WrongPassword, match="password file"):
        read_password(tmp_path / "password")
    with pytest.raises(KeyNotFound, match="nothing"):
        read_password(tmp_path / "nothing")


def test_half_a_copy_of_a_key_file_does_not_hide_the_whole_one(tmp_path: Path) -> None:
    made = new_account(tmp_path, "secret", created=datetime.now(UTC), scrypt_n=LIGHT_SCRYPT)
    whole = made.path.read_bytes()
    half = tmp_path / made.path.name.replace("UTC--", "UTC--1999-")
    half.write_bytes(whole[:100])
    assert address_of(load_account(tmp_path, made.address, "secret")) == made.address
    made.path.unlink()
    with pytest.raises(KeyDamaged, match="UTC--1999"):
        load_account(tmp_path, made.address, "secret")
