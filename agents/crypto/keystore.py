"""What the keystore's files have in common: errors, names, the cost of a password. Reads and writes no key."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

STRONG_SCRYPT: Final = 1 << 18  # geth's standard cost: 0.7 s, once for each key at start
LIGHT_SCRYPT: Final = 1 << 12  # geth's --lightkdf, for keys that live as long as a demonstration


class KeystoreError(Exception):
    """A key or password that a person must see to."""


class WrongPassword(KeystoreError):
    """The password does not open the file."""


class KeyNotFound(KeystoreError):
    """No such key or password file."""


class KeyExists(KeystoreError):
    """The account is in the keystore already."""


class KeyDamaged(KeystoreError):
    """The file is not what its name says."""


def stamp(created: datetime) -> str:
    """The time in a key file's name, as geth writes it; names sort by it. `created` must be aware of its zone."""
    if created.tzinfo is None:
        raise ValueError("a key's time of creation must have a time zone")
    return created.astimezone(UTC).strftime("%Y-%m-%dT%H-%M-%S.%f000Z")


def read_password(path: Path) -> str:
    """The first line of a password file, as geth reads it. Raises KeyNotFound, WrongPassword if it is empty."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise KeyNotFound(f"no password file {path}") from error
    except UnicodeDecodeError as error:
        raise WrongPassword(f"the password file {path} is not UTF-8 text") from error
    if not lines or not lines[0]:
        raise WrongPassword(f"the first line of the password file {path} is empty")
    return lines[0]
