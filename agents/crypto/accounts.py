"""Accounts in Web3 Secret Storage v3 files, named as geth names them. Owns the files; signs nothing.

Every function that takes a password blocks for about 0.7 s (scrypt).
"""

import json
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from eth_account import Account
from eth_keys.datatypes import PrivateKey

from agents.crypto.keystore import (
    STRONG_SCRYPT,
    KeyDamaged,
    KeyExists,
    KeyNotFound,
    WrongPassword,
    stamp,
)
from agents.crypto.privatefile import write_private
from bfl_events.boundaries import Boundary

_KEY_BYTES: Final = 32
_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # of secp256k1
_FILE: Final = re.compile(r"UTC--.+--([0-9a-f]{40})")


@dataclass(frozen=True, slots=True)
class AccountFile:
    """A 20-byte address and the file that holds its key."""

    address: bytes
    path: Path


def new_account(directory: Path, password: str, *, created: datetime, scrypt_n: int = STRONG_SCRYPT) -> AccountFile:
    """Make a key and store it."""
    key = (1 + secrets.randbelow(_ORDER - 1)).to_bytes(_KEY_BYTES)
    return import_account(directory, key, password, created=created, scrypt_n=scrypt_n)


def import_account(
    directory: Path, private_key: bytes, password: str, *, created: datetime, scrypt_n: int = STRONG_SCRYPT
) -> AccountFile:
    """Store a key as `UTC--<time>--<address>`, mode 0600. Raises KeyExists, ValueError for what is no private key."""
    if len(private_key) != _KEY_BYTES or not 0 < int.from_bytes(private_key) < _ORDER:
        raise ValueError("not a private key: it has 32 bytes and lies between 1 and the order of secp256k1")
    if not password:
        raise ValueError("an account needs a password")
    address = address_of(private_key)
    for account in list_accounts(directory):
        if account.address == address:
            raise KeyExists(f"0x{address.hex()} is in the keystore already: {account.path}")
    keyfile = Account.encrypt(private_key, password, kdf="scrypt", iterations=scrypt_n)
    keyfile["address"] = address.hex()
    path = directory / f"UTC--{stamp(created)}--{address.hex()}"
    write_private(path, json.dumps(keyfile).encode(), Boundary.ACCOUNT_WRITE)
    return AccountFile(address, path)


def list_accounts(directory: Path) -> list[AccountFile]:
    """The accounts of the keystore, oldest first; an empty list if there is no such directory."""
    found = ((path, _FILE.fullmatch(path.name)) for path in sorted(directory.glob("UTC--*")))
    return [AccountFile(bytes.fromhex(name[1]), path) for path, name in found if name is not None]


def load_account(directory: Path, address: bytes, password: str) -> bytes:
    """The 32-byte private key of `address`. Of several files for it, a damaged one (half a copy) does not count while
    another opens. Raises KeyNotFound, WrongPassword, KeyDamaged."""
    damaged: KeyDamaged | None = None
    for account in list_accounts(directory):
        if account.address == address:
            try:
                key = read_keyfile(account.path, password)
            except KeyDamaged as error:
                damaged = damaged or error
                continue
            if address_of(key) != address:
                raise KeyDamaged(f"{account.path} holds the key of 0x{address_of(key).hex()}, not of its name")
            return key
    if damaged is not None:
        raise damaged
    raise KeyNotFound(f"no account 0x{address.hex()} in {directory}; see `bfl-agent account list`")


def read_keyfile(path: Path, password: str) -> bytes:
    """The private key in any Web3 Secret Storage v3 file. Raises KeyNotFound, WrongPassword, KeyDamaged."""
    keyfile = _parsed(path)
    try:
        return bytes(Account.decrypt(keyfile, password))
    except (KeyError, TypeError, AssertionError, NotImplementedError) as error:
        raise KeyDamaged(f"{path} is no Web3 Secret Storage v3 file: {error!r}") from error
    except ValueError as error:
        if "MAC mismatch" in str(error):
            raise WrongPassword(f"the password does not open {path}") from error
        raise KeyDamaged(f"{path} is no Web3 Secret Storage v3 file: {error!r}") from error


def address_of(private_key: bytes) -> bytes:
    """The 20-byte address of a private key."""
    return bytes(PrivateKey(private_key).public_key.to_canonical_address())


def _parsed(path: Path) -> dict[str, Any]:
    try:
        keyfile = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise KeyNotFound(f"no key file {path}") from error
    except ValueError as error:
        raise KeyDamaged(f"{path} is not JSON: {error}") from error
    if not isinstance(keyfile, dict) or keyfile.get("version") != 3:
        raise KeyDamaged(f"{path} is no Web3 Secret Storage file of version 3")
    return keyfile
