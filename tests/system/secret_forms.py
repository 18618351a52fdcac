"""What a leaked secret of an agent would look like in a text: for tests that look for it in whatever an agent wrote."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agents.crypto.accounts import list_accounts, load_account
from agents.crypto.keystore import read_password

_KEPT_SECRET = {"keystore", "secrets"}
_LINE = 64      # characters of a whole line in a PEM file


def secret_forms(home: Path, encryption_keys: Mapping[bytes, RSAPrivateKey]) -> dict[str, bytes]:
    """By what it is: the password, each account's key, the secret numbers and the PEM lines of these keys (by id)."""
    password = read_password(home / "secrets" / "password")
    forms = {"password": password.encode()}
    for account in list_accounts(home / "keystore"):
        forms |= _of_number(f"account {account.path.name}", load_account(home / "keystore", account.address, password))
    for name, key in encryption_keys.items():
        numbers = key.private_numbers()
        for part in ("d", "p", "q"):
            number = getattr(numbers, part)
            forms |= _of_number(f"{part} of {name.hex()}", number.to_bytes(-(-number.bit_length() // 8)))
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        lines = [line for line in pem.splitlines() if len(line) == _LINE]
        forms |= {f"PEM line {at} of {name.hex()}": line for at, line in enumerate(lines)}
    return forms


def _of_number(what: str, secret: bytes) -> dict[str, bytes]:
    return {
        f"{what}, raw": secret,
        f"{what}, hex": secret.hex().encode(),
        f"{what}, base64": base64.b64encode(secret).rstrip(b"="),
        f"{what}, base64 for URLs": base64.urlsafe_b64encode(secret).rstrip(b"="),
        f"{what}, decimal": str(int.from_bytes(secret)).encode(),
    }


def written(directory: Path) -> dict[str, bytes]:
    """By path: every file below a directory, but for keystores and password files. A home's, or several homes'."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in files
            if not _KEPT_SECRET & set(path.relative_to(directory).parts[:2])}
