"""The header of an FLE1 envelope. Owns its canonical CBOR and the strict reading of it; holds no key.

header = [[chainId, contract, round, attempt, sender, kind], ptLen, chunkLen, noncePrefix, [[addr, keyId, wrap], …]]:
definite lengths, shortest forms, no maps, no tags, recipients in strictly ascending order of address.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from itertools import pairwise
from typing import Any, Final

import cbor2

CHUNK_BYTES: Final = 1 << 20
MAX_HEADER_BYTES: Final = 256 << 10
MAX_PLAINTEXT_BYTES: Final = CHUNK_BYTES << 32  # the chunk counter has 32 bits
ADDRESS_BYTES: Final = 20
KEY_ID_BYTES: Final = 32
NONCE_PREFIX_BYTES: Final = 7
_MIN_WRAP_BYTES: Final = 257  # RSA of more than 2048 bits
_MAX_WRAP_BYTES: Final = 512  # to 4096 bits


class Reason(StrEnum):
    """Why an envelope was refused."""

    TOO_LARGE = "too large"
    MALFORMED = "malformed"
    WRONG_CONTEXT = "wrong context"
    WRONG_LENGTH = "wrong length"
    TRUNCATED = "truncated"
    TRAILING_BYTES = "trailing bytes"
    NOT_A_RECIPIENT = "not a recipient"
    UNKNOWN_KEY = "unknown key"
    UNWRAP_FAILED = "unwrap failed"
    HEADER_TAMPERED = "header tampered"
    CHUNK_FAILED = "chunk failed"
    WRONG_HASH = "wrong hash"
    NO_RECIPIENT = "no recipient"


class EnvelopeError(Exception):
    """An envelope that cannot be made or must not be believed; `reason` is for programs, the message for people."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class Kind(IntEnum):
    MODEL = 0
    CHECKPOINT = 1
    FINAL = 2
    REPAIR = 3


@dataclass(frozen=True, slots=True)
class Context:
    """What an envelope is bound to. The reader builds it from the chain, never from the file.

    `contract` and `sender` are 20-byte addresses; `attempt` is 0 for every kind but MODEL. Raises ValueError.
    """

    chain_id: int
    contract: bytes
    round: int
    attempt: int
    sender: bytes
    kind: int

    def __post_init__(self) -> None:
        for name, value, bits in (
            ("chain_id", self.chain_id, 64),
            ("round", self.round, 32),
            ("attempt", self.attempt, 32),
        ):
            if not 0 <= value < 1 << bits:
                raise ValueError(f"{name} is an unsigned integer of {bits} bits, not {value}")
        for name, address in (("contract", self.contract), ("sender", self.sender)):
            if len(address) != ADDRESS_BYTES:
                raise ValueError(f"{name} is an address of {ADDRESS_BYTES} bytes, not of {len(address)}")
        if self.kind not in tuple(Kind):
            raise ValueError(f"kind is 0 to 3, not {self.kind}")
        if self.kind != Kind.MODEL and self.attempt != 0:
            raise ValueError(f"an envelope of kind {self.kind} has attempt 0, not {self.attempt}")

    def __str__(self) -> str:
        where = f"chain {self.chain_id}, task 0x{self.contract.hex()}, round {self.round}, attempt {self.attempt}"
        return f"{where}, sender 0x{self.sender.hex()}, kind {self.kind}"

    def fields(self) -> list[Any]:
        return [self.chain_id, self.contract, self.round, self.attempt, self.sender, int(self.kind)]

    def encoded(self) -> bytes:
        """The `ctx` that PROTOCOL 6 hashes."""
        return cbor2.dumps(self.fields(), canonical=True)


@dataclass(frozen=True, slots=True)
class Stanza:
    """One recipient: 20-byte address, 32-byte key id, the content key wrapped for that key."""

    address: bytes
    key_id: bytes
    wrap: bytes


@dataclass(frozen=True, slots=True)
class Header:
    context: Context
    plaintext_bytes: int
    nonce_prefix: bytes
    stanzas: tuple[Stanza, ...]

    def encoded(self) -> bytes:
        stanzas = [[stanza.address, stanza.key_id, stanza.wrap] for stanza in self.stanzas]
        fields = [self.context.fields(), self.plaintext_bytes, CHUNK_BYTES, self.nonce_prefix, stanzas]
        return cbor2.dumps(fields, canonical=True)


def decode_header(data: bytes) -> Header:
    """Read exactly what `Header.encoded` can write. Never allocates more than `data` holds.

    Raises EnvelopeError(MALFORMED).
    """
    if len(data) > MAX_HEADER_BYTES:
        raise _malformed(f"the header has {len(data)} bytes, more than {MAX_HEADER_BYTES}")
    cursor = _Cursor(data)
    cursor.array(5)
    context = _context(cursor)
    plaintext_bytes = cursor.unsigned()
    if cursor.unsigned() != CHUNK_BYTES:
        raise _malformed(f"the chunk length is not {CHUNK_BYTES}")
    nonce_prefix = cursor.bytes_of(NONCE_PREFIX_BYTES)
    stanzas = tuple(_stanza(cursor) for _ in range(cursor.length()))
    cursor.end()
    if plaintext_bytes > MAX_PLAINTEXT_BYTES:
        raise _malformed(f"{plaintext_bytes} bytes are more chunks than can be counted")
    if any(one.address >= other.address for one, other in pairwise(stanzas)):
        raise _malformed("the recipients are not in ascending order of address, each once")
    header = Header(context, plaintext_bytes, nonce_prefix, stanzas)
    if header.encoded() != data:
        raise _malformed("the header is not in canonical form")
    return header


def _context(cursor: "_Cursor") -> Context:
    cursor.array(6)
    try:
        return Context(
            chain_id=cursor.unsigned(),
            contract=cursor.bytes_of(ADDRESS_BYTES),
            round=cursor.unsigned(),
            attempt=cursor.unsigned(),
            sender=cursor.bytes_of(ADDRESS_BYTES),
            kind=cursor.unsigned(),
        )
    except ValueError as error:
        raise _malformed(str(error)) from error


def _stanza(cursor: "_Cursor") -> Stanza:
    cursor.array(3)
    return Stanza(
        cursor.bytes_of(ADDRESS_BYTES), cursor.bytes_of(KEY_ID_BYTES), cursor.bytes_of(_MIN_WRAP_BYTES, _MAX_WRAP_BYTES)
    )


class _Cursor:
    """Reads the four CBOR items that a header may contain, shortest forms only."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def unsigned(self) -> int:
        return self._head(0)

    def bytes_of(self, low: int, high: int | None = None) -> bytes:
        length = self._head(2)
        if not low <= length <= (high or low):
            raise _malformed(f"a byte string of {length} bytes before byte {self._at}")
        return self._take(length)

    def length(self) -> int:
        return self._head(4)

    def array(self, length: int) -> None:
        if self.length() != length:
            raise _malformed(f"no array of {length} before byte {self._at}")

    def end(self) -> None:
        if self._at != len(self._data):
            raise _malformed(f"{len(self._data) - self._at} bytes behind the header's end")

    def _head(self, major: int) -> int:
        first = self._take(1)[0]
        extra = first & 0x1F
        if first >> 5 != major or extra > 27:  # 28 to 31: reserved, indefinite lengths
            raise _malformed(f"unexpected byte {first:#04x} at {self._at - 1}")
        if extra < 24:
            return extra
        width = 1 << (extra - 24)
        value = int.from_bytes(self._take(width))
        if value < (24 if width == 1 else 1 << (4 * width)):
            raise _malformed(f"a number not in its shortest form before byte {self._at}")
        return value

    def _take(self, length: int) -> bytes:
        part = self._data[self._at : self._at + length]
        if len(part) != length:
            raise _malformed("the header ends early")
        self._at += length
        return part


def _malformed(detail: str) -> EnvelopeError:
    return EnvelopeError(Reason.MALFORMED, detail)
