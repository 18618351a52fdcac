"""Which account a home acts as, and the password that opens it.

Owns the choice and its sentences; the files' form is `agents.crypto`'s. Must not read a key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agents.home import Home
from agents.misconfiguration import SettingsError
from agents.notation import checksum_address
from agents.settings import Account
from bfl_events.schema import Address

_EXIT: Final = 11
_NAME: Final = re.compile(r"UTC--.+--([0-9a-f]{40})")


@dataclass(frozen=True, slots=True)
class Identity:
    """An account of the keystore and its encrypted file."""

    address: Address
    path: Path


def identities(home: Home) -> tuple[Identity, ...]:
    """All accounts of the keystore, oldest first, by the files' names."""
    named = ((path, _NAME.fullmatch(path.name)) for path in sorted(home.keystore.glob("UTC--*")))
    return tuple(Identity(checksum_address(f"0x{name[1]}"), path) for path, name in named if name is not None)


def choose(home: Home, address: Address | None) -> Identity:
    """The account of that address, or the only one there is. Raises SettingsError (exit 11)."""
    known = identities(home)
    listed = ", ".join(one.address for one in known)
    if not known:
        raise SettingsError(
            f"There is no account in {home.keystore}.",
            "Every agent needs one to sign with.",
            "Run bfl-agent account new (or account import FILE).",
            exit_code=_EXIT,
        )
    match list({one.address: one for one in known if address in (None, one.address)}.values()):
        case [one]:
            return one
        case []:
            raise SettingsError(
                f"Account {address} is not in {home.keystore}.",
                f"It holds {listed}.",
                "Correct account.address (or --account).",
                exit_code=_EXIT,
            )
        case _:
            raise SettingsError(
                "It is not clear which account to use.",
                f"{home.keystore} holds {listed}.",
                "Set account.address in config.toml (or --account).",
                exit_code=_EXIT,
            )


def password_path(home: Home, account: Account) -> Path:
    """`account.password_file` (relative to the home), by default secrets/password."""
    return home.root / account.password_file.expanduser() if account.password_file is not None else home.password


def password(home: Home, account: Account) -> str:
    """From BFL_ACCOUNT__PASSWORD, else the password file's first line. Raises SettingsError (exit 11)."""
    if account.password is not None:
        return account.password.get_secret_value()
    path = password_path(home, account)
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        raise SettingsError(
            f"The password file {path} does not exist.",
            "The account's key is encrypted with it.",
            "Create it (mode 0600), set BFL_ACCOUNT__PASSWORD, or let bfl-agent init make one.",
            exit_code=_EXIT,
        ) from None
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"The password file {path} cannot be read.", f"{error}.", "Correct it or its permissions.", exit_code=_EXIT
        ) from None
    if not lines or not lines[0]:
        raise SettingsError(
            f"The password file {path} is empty.",
            "An empty password protects nothing.",
            "Write one into its first line.",
            exit_code=_EXIT,
        )
    return lines[0]
