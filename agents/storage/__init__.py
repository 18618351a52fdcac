"""Content-addressed blobs: the embedded store or a Kubo node behind one protocol. Never hears the word "round"."""

from agents.storage.open import open_source, open_store
from agents.storage.store import (
    BlobCorrupt,
    BlobMissing,
    BlobSource,
    BlobStore,
    BlobTooLarge,
    InvalidAddress,
    InvalidCid,
    StorageError,
    StoreFull,
    StoreUnavailable,
)

__all__ = [
    "BlobCorrupt",
    "BlobMissing",
    "BlobSource",
    "BlobStore",
    "BlobTooLarge",
    "InvalidAddress",
    "InvalidCid",
    "StorageError",
    "StoreFull",
    "StoreUnavailable",
    "open_source",
    "open_store",
]
