"""The agent's model folder: one file per model, named by the SHA-256 of its canonical bytes. Owns nothing but files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from agents.effects.salvage import set_aside
from bfl_events.boundaries import Boundary, passing

SUFFIX = ".safetensors"
_HASHED_BYTES = 512 * 1024**2      # what a power cut damages is new: the newest are read, the older only looked at


class ModelFiles:
    """Content-addressed model files. A file that is there is whole: it comes by rename after it was synced."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._changed = -1
        self._held: frozenset[bytes] = frozenset()

    def held(self) -> frozenset[bytes]:
        """Hashes of all models at hand; looks again when the folder has changed, whoever changed it."""
        if (changed := self._folder.stat().st_mtime_ns) != self._changed:
            names = (path.stem for path in self._folder.glob("*" + SUFFIX))
            self._held = frozenset(bytes.fromhex(name) for name in names if len(name) == 64)
            self._changed = changed
        return self._held

    def path(self, model_hash: bytes) -> Path:
        return self._folder / (model_hash.hex() + SUFFIX)

    def adopt(self, source: Path, model_hash: bytes) -> None:
        """Move a finished file in under its hash. Raises OSError."""
        with source.open("rb") as stream:
            os.fsync(stream.fileno())
        with passing(Boundary.MODEL_ADOPT):
            os.replace(source, self.path(model_hash))
        self._changed = -1

    def set_aside(self, model_hash: bytes) -> None:
        """Its bytes are not what its name says: keep them under another one. Raises OSError."""
        set_aside(self.path(model_hash))
        self._changed = -1

    def remove(self, model_hash: bytes) -> None:
        """Forget a model; without effect if it is not there."""
        with passing(Boundary.MODEL_REMOVE):
            self.path(model_hash).unlink(missing_ok=True)
        self._changed = -1


def damaged_models(folder: Path) -> Iterator[Path]:
    """Model files whose bytes do not have the hash in their name, newest first; of the oldest only the empty ones."""
    read = 0
    stats = sorted(((path.stat(), path) for path in folder.glob(f"*{SUFFIX}")), key=lambda one: -one[0].st_mtime)
    for stat, path in stats:
        if stat.st_size == 0 or (read < _HASHED_BYTES and digest_of(path).hex() != path.stem):
            yield path
        read += stat.st_size


def digest_of(path: Path) -> bytes:
    """SHA-256 of a file's bytes: a model's name. Raises OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
