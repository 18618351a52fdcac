"""CIDs as Kubo computes them. Owns the 36 bytes, their text form and the UnixFS tree they stand for; does no storing.

Equal to `ipfs add --cid-version=1 --raw-leaves --chunker=size-262144 --max-file-links=174`: leaves of 256 KiB are raw
blocks, a file of several leaves is a balanced dag-pb tree of at most 174 links a node.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agents.storage.store import InvalidCid

CID_BYTES: Final = 36
LEAF_BYTES: Final = 262_144
MAX_LINKS: Final = 174
_SHA256_MULTIHASH: Final = b"\x12\x20"
_RAW: Final = b"\x01\x55" + _SHA256_MULTIHASH
_DAG_PB: Final = b"\x01\x70" + _SHA256_MULTIHASH


def parse(data: bytes) -> bytes:
    """Return `data` if it is a binary CIDv1 (0x01, codec 0x55 or 0x70, 0x12 0x20, 32 bytes), else raise InvalidCid."""
    if len(data) != CID_BYTES:
        raise InvalidCid(f"a CID has {CID_BYTES} bytes, not {len(data)}")
    if data[:4] not in (_RAW, _DAG_PB):
        raise InvalidCid(f"not a CIDv1 of SHA-256 with codec raw or dag-pb: it starts with {data[:4].hex()}")
    return bytes(data)


def to_text(cid: bytes) -> str:
    """The base32 text form, `bafk…` or `bafy…` (59 characters)."""
    return "b" + base64.b32encode(parse(cid)).decode("ascii").rstrip("=").lower()


def from_text(text: str) -> bytes:
    """Parse exactly the form that `to_text` writes; anything else raises InvalidCid."""
    padding = "=" * (-(len(text) - 1) % 8)
    try:
        cid = parse(base64.b32decode(text[1:].upper() + padding))
    except (binascii.Error, ValueError) as error:
        raise InvalidCid(f"not a base32 CIDv1: {text[:80]!r}") from error
    if to_text(cid) != text:
        raise InvalidCid(f"not the canonical base32 text of a CIDv1: {text[:80]!r}")
    return cid


@dataclass(frozen=True, slots=True)
class _Link:
    cid: bytes
    file_bytes: int  # bytes of the file below this node
    dag_bytes: int  # Tsize: those plus the nodes themselves


class UnixFsHasher:
    """The CID of a stream, in memory independent of its length (at most `max_links` links for each level)."""

    def __init__(self, *, leaf_bytes: int = LEAF_BYTES, max_links: int = MAX_LINKS) -> None:
        self._leaf_bytes = leaf_bytes
        self._max_links = max_links
        self._leaf = hashlib.sha256()
        self._filled = 0
        self._levels: list[list[_Link]] = [[]]
        self.size = 0

    def update(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        self.size += len(view)
        while view:
            if self._filled == self._leaf_bytes:
                self._close_leaf()
            part = view[: self._leaf_bytes - self._filled]
            self._leaf.update(part)
            self._filled += len(part)
            view = view[len(part) :]

    def cid(self) -> bytes:
        """The CID of all bytes so far. Ends the stream: no `update` may follow."""
        if self._filled or self.size == 0:
            self._close_leaf()
        level = 0
        while level + 1 < len(self._levels) or len(self._levels[level]) > 1:
            self._close_node(level)
            level += 1
        return self._levels[level][0].cid

    def _close_leaf(self) -> None:
        self._append(0, _Link(_RAW + self._leaf.digest(), self._filled, self._filled))
        self._leaf = hashlib.sha256()
        self._filled = 0

    def _append(self, level: int, link: _Link) -> None:
        """A full node is closed only when another link needs its place, so that no level starts in vain."""
        if level == len(self._levels):
            self._levels.append([])
        if len(self._levels[level]) == self._max_links:
            self._close_node(level)
        self._levels[level].append(link)

    def _close_node(self, level: int) -> None:
        links = self._levels[level]
        self._levels[level] = []
        self._append(level + 1, _node(links))


def _node(links: list[_Link]) -> _Link:
    """A dag-pb node (links first, then data) whose data is a UnixFS File with one block size for each link."""
    file_bytes = sum(link.file_bytes for link in links)
    unixfs = b"\x08\x02" + b"\x18" + _varint(file_bytes)
    unixfs += b"".join(b"\x20" + _varint(link.file_bytes) for link in links)
    block = b"".join(
        _field(0x12, _field(0x0A, link.cid) + b"\x12\x00" + b"\x18" + _varint(link.dag_bytes)) for link in links
    ) + _field(0x0A, unixfs)
    dag_bytes = len(block) + sum(link.dag_bytes for link in links)
    return _Link(_DAG_PB + hashlib.sha256(block).digest(), file_bytes, dag_bytes)


def _field(tag: int, payload: bytes) -> bytes:
    return bytes([tag]) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def chunks(path: Path) -> Iterator[bytes]:
    """The file's bytes, a leaf at a time."""
    with path.open("rb") as file:
        while chunk := file.read(LEAF_BYTES):
            yield chunk


def cid_of_file(path: Path) -> bytes:
    hasher = UnixFsHasher()
    for chunk in chunks(path):
        hasher.update(chunk)
    return hasher.cid()


def cid_of_bytes(data: bytes) -> bytes:
    hasher = UnixFsHasher()
    hasher.update(data)
    return hasher.cid()
