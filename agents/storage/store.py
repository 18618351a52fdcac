"""What a blob store promises, and the ways it can fail. Owns the protocol and its errors; knows no back end.

A blob is immutable bytes named by their CID (36 bytes, see cid.py). Every call ends within the store's deadline.
"""

import hashlib
import re
from pathlib import Path
from typing import ClassVar, Final, Protocol

PROBE_BYTES: Final = 4096
_OWNER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


def check_owner(owner: str) -> str:
    """Return `owner` if it can name a directory on any back end, else raise ValueError."""
    if not _OWNER.fullmatch(owner):
        raise ValueError(f"a store's owner is 1 to 64 of A-Z a-z 0-9 . _ - and starts with no dot, not {owner!r}")
    return owner


def probe_content(owner: str) -> bytes:
    """What a probe puts and takes away again: the same each time, so that the next takes what a killed one left."""
    return hashlib.shake_256(owner.encode()).digest(PROBE_BYTES)


class StorageError(Exception):
    """A store could not do what it was asked to. `transient`: the same call may succeed later, unchanged."""

    transient: ClassVar[bool] = False


class StoreUnavailable(StorageError):
    """The store itself does not work now: not reachable, frozen, not permitted, an I/O error."""

    transient = True


class BlobMissing(StorageError):
    """The store works but could not obtain the blob within its deadline. Its publisher may bring it later."""

    transient = True


class BlobCorrupt(StorageError):
    """The store gave bytes that do not hash to the CID. They were not kept; a retry may find a whole copy."""

    transient = True


class BlobTooLarge(StorageError):
    """The blob is larger than the caller's `max_bytes`; nothing was kept."""


class InvalidCid(StorageError):
    """Not a CIDv1 of SHA-256 with codec raw or dag-pb."""


class InvalidAddress(StorageError, ValueError):
    """What an operator gave as the address of a store is none."""


class StoreFull(StorageError):
    """No space left where the blob was to be written; nothing was kept. A person must make room."""


class BlobSource(Protocol):
    """Somewhere to read blobs from."""

    async def get(self, cid: bytes, out: Path, *, max_bytes: int) -> int:
        """As `BlobStore.get`."""
        ...

    async def close(self) -> None:
        """As `BlobStore.close`."""
        ...


class BlobStore(Protocol):
    """Content-addressed storage. `cid` is always the 36 binary bytes; every CID argument may raise InvalidCid.

    Every call may raise StoreUnavailable; those that write may raise StoreFull. A call that was cut off by its
    deadline or cancelled may still take effect a moment later, with the same result as if it had returned.
    """

    async def put(self, path: Path) -> bytes:
        """Store and pin the file's bytes; return their CID. Repeating it changes nothing (and repairs a bad copy)."""
        ...

    async def get(self, cid: bytes, out: Path, *, max_bytes: int) -> int:
        """Write the blob to `out` and return its size in bytes.

        `out` appears by rename, only once all bytes have come and hash to `cid`; after an error it is as before.
        Raises BlobMissing, BlobTooLarge (noticed while streaming), BlobCorrupt.
        """
        ...

    async def pin(self, cid: bytes) -> None:
        """Keep the blob until this owner unpins it. Raises BlobMissing."""
        ...

    async def unpin(self, cid: bytes) -> None:
        """Give up this owner's pin; others keep theirs. Without a pin nothing happens."""
        ...

    async def has(self, cid: bytes) -> bool:
        """Whether this store holds the blob pinned, by whomever, so that it need not be fetched."""
        ...

    async def provide(self, cid: bytes) -> None:
        """Tell the network again that the blob is here; nothing to do where there is no network behind the store."""
        ...

    async def probe(self) -> str:
        """Add, read back and remove random bytes; return one line for `doctor` that describes the store."""
        ...

    async def close(self) -> None:
        """Release connections. The store may not be used afterwards."""
        ...
