"""FLE1: one file that only its recipients can read, bound to its place on the chain (PROTOCOL 6 and 8).

Owns sealing and opening, both streaming and blocking; does not decide who receives or what the plaintext means.
The header's MAC commits to the content key: plain AES-GCM would open under two keys to two plaintexts.
"""

import hashlib
import hmac
import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from agents.crypto.envelope_header import (
    ADDRESS_BYTES,
    CHUNK_BYTES,
    MAX_HEADER_BYTES,
    MAX_PLAINTEXT_BYTES,
    NONCE_PREFIX_BYTES,
    Context,
    EnvelopeError,
    Header,
    Kind,
    Reason,
    Stanza,
    decode_header,
)
from agents.crypto.keys import key_id, usable_public_key
from agents.crypto.privatefile import private_file
from bfl_events.boundaries import Boundary

__all__ = [
    "Context",
    "EnvelopeError",
    "Kind",
    "Reason",
    "envelope_size",
    "max_envelope_bytes",
    "open_envelope",
    "seal",
]

_PREAMBLE: Final = struct.Struct(">4sBBI")
_MAGIC: Final = b"FLE1"
_VERSION: Final = 1
_SUITE: Final = 1  # RSA-OAEP with SHA-256; suite 2 (HPKE) is reserved
_MAC_BYTES: Final = 32
_TAG_BYTES: Final = 16
_CEK_BYTES: Final = 32


def envelope_size(plaintext_bytes: int, header_bytes: int) -> int:
    """The exact length of an envelope file."""
    chunks = max(1, -(-plaintext_bytes // CHUNK_BYTES))
    return _PREAMBLE.size + header_bytes + _MAC_BYTES + plaintext_bytes + chunks * _TAG_BYTES


def max_envelope_bytes(plaintext_bytes: int) -> int:
    """PROTOCOL 8's maxBytes: the envelope of so many bytes with the largest header."""
    return envelope_size(plaintext_bytes, MAX_HEADER_BYTES)


def seal(
    source: Path,
    target: Path,
    context: Context,
    recipients: Sequence[tuple[bytes, bytes]],
    *,
    randomness: Callable[[int], bytes] = os.urandom,
) -> int:
    """Encrypt `source` for `recipients`, pairs of 20-byte address and DER SPKI; return the envelope's size.

    A recipient whose key is unusable is left out, as every agent does. Raises EnvelopeError(NO_RECIPIENT) if none
    is left, ValueError for an address that comes twice or a source that changes or is too long, OSError.
    `target` appears by rename.
    """
    encoded_context = context.encoded()
    cek, nonce_prefix = randomness(_CEK_BYTES), randomness(NONCE_PREFIX_BYTES)
    stanzas = _wrapped(cek, encoded_context, recipients)
    keys = _derive(cek, encoded_context)
    with source.open("rb") as plain, private_file(target, Boundary.ENVELOPE_SEAL) as out:
        length = os.fstat(plain.fileno()).st_size
        if length > MAX_PLAINTEXT_BYTES:
            raise ValueError(f"{source} has {length} bytes, more chunks than can be counted")
        front = _front(Header(context, length, nonce_prefix, stanzas).encoded())
        if len(front) > _PREAMBLE.size + MAX_HEADER_BYTES:
            raise ValueError(f"{len(stanzas)} recipients are too many for one envelope")
        front += hmac.digest(keys.header, front, "sha256")
        out.write(front)
        cipher, aad = AESGCM(keys.payload), hashlib.sha256(front).digest()
        for nonce, chunk_bytes in _chunks(length, nonce_prefix):
            chunk = plain.read(chunk_bytes)
            if len(chunk) != chunk_bytes:
                raise ValueError(f"{source} became shorter while it was read")
            out.write(cipher.encrypt(nonce, chunk, aad))
        if plain.read(1):
            raise ValueError(f"{source} became longer while it was read")
        return out.tell()


def open_envelope(
    source: Path,
    target: Path,
    context: Context,
    address: bytes,
    private_keys: Mapping[bytes, RSAPrivateKey],
    *,
    expected_hash: bytes,
    expected_length: int,
    max_bytes: int,
) -> None:
    """Decrypt what was sealed for `address` under one of `private_keys` (by key id) to `target`.

    `context`, `expected_hash` (SHA-256 of the plaintext), `expected_length` and `max_bytes` (of the envelope) are the
    chain's. Raises EnvelopeError with the first reason in PROTOCOL 6's order, or OSError; `target` appears by rename,
    only if everything holds.
    """
    with source.open("rb") as file:
        front, header = _read_front(file, max_bytes)
        encoded_context = context.encoded()
        if header.context.encoded() != encoded_context:
            raise EnvelopeError(Reason.WRONG_CONTEXT, f"sealed for {header.context}, expected {context}")
        if header.plaintext_bytes != expected_length:
            detail = f"holds {header.plaintext_bytes} bytes, expected {expected_length}"
            raise EnvelopeError(Reason.WRONG_LENGTH, detail)
        keys = _derive(_unwrap(header, encoded_context, address, private_keys), encoded_context)
        mac = file.read(_MAC_BYTES)
        if not hmac.compare_digest(mac, hmac.digest(keys.header, front, "sha256")):
            raise EnvelopeError(Reason.HEADER_TAMPERED, "the header's MAC does not belong to this content key")
        with private_file(target, Boundary.ENVELOPE_OPEN) as out:
            digest = _decrypt(file, out, header, keys.payload, hashlib.sha256(front + mac).digest())
            if digest != expected_hash:
                detail = f"the plaintext's SHA-256 is {digest.hex()}, expected {expected_hash.hex()}"
                raise EnvelopeError(Reason.WRONG_HASH, detail)


@dataclass(frozen=True, slots=True, repr=False)
class _Keys:
    header: bytes
    payload: bytes


def _derive(cek: bytes, encoded_context: bytes) -> _Keys:
    """HKDF-SHA256 (RFC 5869), salted with the context, one expansion for each use."""
    secret = hmac.digest(hashlib.sha256(encoded_context).digest(), cek, "sha256")
    return _Keys(*(HKDFExpand(SHA256(), 32, info).derive(secret) for info in (b"FLE1 hdr", b"FLE1 pay")))


def _oaep(encoded_context: bytes, address: bytes, recipient_key: bytes) -> padding.OAEP:
    label = hashlib.sha256(b"FLE1 wrap" + encoded_context + address + recipient_key).digest()
    return padding.OAEP(padding.MGF1(SHA256()), SHA256(), label)


def _wrapped(cek: bytes, encoded_context: bytes, recipients: Sequence[tuple[bytes, bytes]]) -> tuple[Stanza, ...]:
    stanzas: list[Stanza] = []
    for address, der in sorted(recipients):
        if len(address) != ADDRESS_BYTES:
            raise ValueError(f"an address has {ADDRESS_BYTES} bytes, not {len(address)}")
        if stanzas and stanzas[-1].address == address:
            raise ValueError(f"recipient 0x{address.hex()} comes twice")
        if (public_key := usable_public_key(der)) is not None:
            recipient_key = key_id(der)
            wrap = public_key.encrypt(cek, _oaep(encoded_context, address, recipient_key))
            stanzas.append(Stanza(address, recipient_key, wrap))
    if not stanzas:
        raise EnvelopeError(Reason.NO_RECIPIENT, f"none of the {len(recipients)} recipients has a usable key")
    return tuple(stanzas)


def _unwrap(
    header: Header, encoded_context: bytes, address: bytes, private_keys: Mapping[bytes, RSAPrivateKey]
) -> bytes:
    stanza = next((stanza for stanza in header.stanzas if stanza.address == address), None)
    if stanza is None:
        raise EnvelopeError(
            Reason.NOT_A_RECIPIENT, f"0x{address.hex()} is not among the {len(header.stanzas)} recipients"
        )
    if stanza.key_id not in private_keys:
        raise EnvelopeError(
            Reason.UNKNOWN_KEY, f"sealed for the key {stanza.key_id.hex()}, which is not in the keystore"
        )
    try:
        cek = private_keys[stanza.key_id].decrypt(stanza.wrap, _oaep(encoded_context, address, stanza.key_id))
    except ValueError as error:
        raise EnvelopeError(Reason.UNWRAP_FAILED, "the content key was not wrapped for this key and context") from error
    if len(cek) != _CEK_BYTES:
        raise EnvelopeError(Reason.UNWRAP_FAILED, f"the content key has {len(cek)} bytes, not {_CEK_BYTES}")
    return cek


def _front(encoded_header: bytes) -> bytes:
    return _PREAMBLE.pack(_MAGIC, _VERSION, _SUITE, len(encoded_header)) + encoded_header


def _read_front(file: BinaryIO, max_bytes: int) -> tuple[bytes, Header]:
    """Everything before the MAC, checked against the file's length."""
    size = os.fstat(file.fileno()).st_size
    if size > max_bytes:
        raise EnvelopeError(Reason.TOO_LARGE, f"{size} bytes, allowed are {max_bytes}")
    preamble = file.read(_PREAMBLE.size)
    if len(preamble) < _PREAMBLE.size:
        raise EnvelopeError(Reason.TRUNCATED, f"{size} bytes are no envelope")
    magic, version, suite, header_bytes = _PREAMBLE.unpack(preamble)
    if (magic, version, suite) != (_MAGIC, _VERSION, _SUITE):
        raise EnvelopeError(Reason.MALFORMED, f"starts with {preamble[:6].hex()}: not FLE1, version 1, suite 1")
    if header_bytes > MAX_HEADER_BYTES:
        raise EnvelopeError(Reason.MALFORMED, f"the header has {header_bytes} bytes, more than {MAX_HEADER_BYTES}")
    encoded_header = file.read(header_bytes)
    if len(encoded_header) < header_bytes:
        raise EnvelopeError(Reason.TRUNCATED, "the file ends in its header")
    header = decode_header(encoded_header)
    whole = envelope_size(header.plaintext_bytes, header_bytes)
    if size != whole:
        reason = Reason.TRUNCATED if size < whole else Reason.TRAILING_BYTES
        raise EnvelopeError(reason, f"the file has {size} bytes, its header says {whole}")
    return preamble + encoded_header, header


def _chunks(plaintext_bytes: int, nonce_prefix: bytes) -> Iterator[tuple[bytes, int]]:
    """Nonce and plaintext length of every chunk. STREAM: counter and last flag make order and end part of the nonce."""
    last = max(1, -(-plaintext_bytes // CHUNK_BYTES)) - 1
    for index in range(last):
        yield nonce_prefix + struct.pack(">IB", index, 0), CHUNK_BYTES
    yield nonce_prefix + struct.pack(">IB", last, 1), plaintext_bytes - last * CHUNK_BYTES


def _decrypt(file: BinaryIO, out: BinaryIO, header: Header, key: bytes, aad: bytes) -> bytes:
    """Stream the chunks to `out`; return the plaintext's SHA-256."""
    cipher, digest = AESGCM(key), hashlib.sha256()
    for nonce, chunk_bytes in _chunks(header.plaintext_bytes, header.nonce_prefix):
        sealed = file.read(chunk_bytes + _TAG_BYTES)
        try:
            chunk = cipher.decrypt(nonce, sealed, aad)
        except InvalidTag as error:
            detail = f"the chunk with nonce {nonce.hex()} does not authenticate"
            raise EnvelopeError(Reason.CHUNK_FAILED, detail) from error
        digest.update(chunk)
        out.write(chunk)
    return digest.digest()
