"""Encryption keys: RSA pairs, their ids, their files in the keystore, and which public keys may be used.

Old keys are kept: what was sealed for them must stay readable. Every function blocks; generating, saving and loading
take tenths of a second each.
"""

import hashlib
import re
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)

from agents.crypto.keystore import STRONG_SCRYPT, KeyDamaged, KeyNotFound, WrongPassword, stamp
from agents.crypto.pem import encrypted_pem
from agents.crypto.privatefile import write_private
from bfl_events.boundaries import Boundary

DEFAULT_BITS: Final = 3072
_MIN_BITS: Final = 2049
_MAX_BITS: Final = 4096
_MAX_DER_BYTES: Final = 1024  # what the contract accepts
_EXPONENT: Final = 65537
_FILE: Final = re.compile(r"RSA--.+--[0-9a-f]{16}\.pem")


def generate_encryption_key(bits: int = DEFAULT_BITS) -> RSAPrivateKey:
    """A new RSA pair of 2049 to 4096 bits. Takes 0.1 to 1 s: call it in a thread."""
    if not _MIN_BITS <= bits <= _MAX_BITS:
        raise ValueError(f"an encryption key has {_MIN_BITS} to {_MAX_BITS} bits, not {bits}")
    return rsa.generate_private_key(_EXPONENT, bits)


def public_der(private_key: RSAPrivateKey) -> bytes:
    """The public half as DER SubjectPublicKeyInfo, as it stands in `WorkerJoined` and `KeyRotated`."""
    return private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_id(der: bytes) -> bytes:
    """keyId = SHA-256(DER SPKI), 32 bytes."""
    return hashlib.sha256(der).digest()


def usable_public_key(der: bytes) -> RSAPublicKey | None:
    """The key, or None if everybody must leave it out: not canonical DER of an RSA key of 2049 to 4096 bits.

    The modulus must be odd, and the exponent odd and between 2^16 and 2^256 (FIPS 186-5, A.1.1), so that no hostile
    key makes sealing fail or crawl.
    """
    if len(der) > _MAX_DER_BYTES:
        return None
    try:
        key = load_der_public_key(der)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    if not isinstance(key, RSAPublicKey) or not _MIN_BITS <= key.key_size <= _MAX_BITS:
        return None
    numbers = key.public_numbers()
    if numbers.n % 2 == 0 or numbers.e % 2 == 0 or not 1 << 16 < numbers.e < 1 << 256:
        return None
    return key if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == der else None


def save_encryption_key(
    directory: Path, private_key: RSAPrivateKey, password: str, *, created: datetime, scrypt_n: int = STRONG_SCRYPT
) -> Path:
    """Write `RSA--<time>--<start of the key id>.pem`, mode 0600, encrypted PKCS#8. Returns its path."""
    name = f"RSA--{stamp(created)}--{key_id(public_der(private_key)).hex()[:16]}.pem"
    write_private(directory / name, encrypted_pem(private_key, password.encode(), scrypt_n), Boundary.KEY_WRITE)
    return directory / name


def encryption_key_files(directory: Path) -> list[Path]:
    """The keystore's encryption keys by their names, newest first."""
    return sorted((path for path in directory.glob("RSA--*.pem") if _FILE.fullmatch(path.name)), reverse=True)


def load_encryption_keys(directory: Path, password: str) -> dict[bytes, RSAPrivateKey]:
    """All encryption keys of the keystore by key id, newest first.

    Raises KeyNotFound if there is none, WrongPassword, KeyDamaged.
    """
    paths = encryption_key_files(directory)
    if not paths:
        raise KeyNotFound(f"no encryption key (RSA--….pem) in {directory}; make one with `bfl-agent keys rotate`")
    keys = [_load(path, password) for path in paths]
    return {key_id(public_der(key)): key for key in keys}


def _load(path: Path, password: str) -> RSAPrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password.encode())
    except ValueError as error:
        if "password" in str(error).lower():
            raise WrongPassword(f"the password does not open {path}") from error
        raise KeyDamaged(f"{path} is no encrypted private key, or the password is wrong: {error}") from error
    except (TypeError, UnsupportedAlgorithm) as error:
        raise KeyDamaged(f"{path} is no encrypted private key: {error}") from error
    if not isinstance(key, RSAPrivateKey):
        raise KeyDamaged(f"{path} holds no RSA key")
    return key
