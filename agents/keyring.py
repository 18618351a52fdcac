"""The keys of one home, opened: the account's, and the encryption keys old and new. Owns their making."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from agents.crypto.accounts import load_account
from agents.crypto.keys import (
    encryption_key_files,
    generate_encryption_key,
    key_id,
    load_encryption_keys,
    public_der,
    save_encryption_key,
)
from agents.home import Home
from agents.identity import Identity
from bfl_events.schema import Address


class Keyring:
    """Opened with the password; blocks for a second or so (scrypt): build it in a thread. Raises KeystoreError.

    The encryption keys cost another scrypt each, so they are opened when the first envelope wants them: an agent that
    comes back has better things to do first. That too may raise KeystoreError.
    """

    def __init__(self, home: Home, identity: Identity, password: str) -> None:
        self._home, self._password = home, password
        self.address: Address = identity.address
        self.account_key = load_account(home.keystore, bytes.fromhex(identity.address[2:]), password)
        self._opened: Mapping[bytes, RSAPrivateKey] | None = None
        if not encryption_key_files(home.encryption_keys):
            self._opened = {}
            self.rotate()

    def keys(self) -> Mapping[bytes, RSAPrivateKey]:
        """All encryption keys by key id, newest first; old ones are kept for what was sealed to them."""
        if self._opened is None:
            self._opened = load_encryption_keys(self._home.encryption_keys, self._password)
        return self._opened

    def newest(self) -> bytes:
        """DER of the newest public key: what a join announces."""
        return public_der(next(iter(self.keys().values())))

    def rotate(self) -> bytes:
        """Make and store a new encryption key; returns its DER. Blocks for tenths of a second."""
        known, key = self.keys(), generate_encryption_key()
        save_encryption_key(self._home.encryption_keys, key, self._password, created=datetime.now(UTC))
        self._opened = {key_id(public_der(key)): key, **known}
        return public_der(key)
