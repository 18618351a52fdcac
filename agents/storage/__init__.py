"""Content-addressed blobs: the embedded store or a Kubo node behind one protocol. Never hears the word "round"."""

from agents.storage.open import open_store
from agents.storage.store import (
    BlobCorrupt,
    BlobMissing,
    BlobStore,
    BlobTooLarge,
    InvalidCid,
    StorageError,
    StoreFull,
    StoreUnavailable,
)

__all__ = [
    "BlobCorrupt",
    "BlobMissing",
    "BlobStore",
    "BlobTooLarge",
    "InvalidCid",
    "StorageError",
    "StoreFull",
    "StoreUnavailable",
    "open_store",
]
