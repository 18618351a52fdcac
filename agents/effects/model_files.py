"""The agent's model folder: one file per model, named by the SHA-256 of its canonical bytes. Owns nothing but files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

SUFFIX = ".safetensors"


class ModelFiles:
    """Content-addressed model files. A file that is there is whole: it comes by rename after it was synced."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._held = {bytes.fromhex(path.stem) for path in folder.glob("*" + SUFFIX) if len(path.stem) == 64}

    def held(self) -> frozenset[bytes]:
        """Hashes of all models at hand."""
        return frozenset(self._held)

    def path(self, model_hash: bytes) -> Path:
        return self._folder / (model_hash.hex() + SUFFIX)

    def adopt(self, source: Path, model_hash: bytes) -> None:
        """Move a finished file in under its hash. Raises OSError."""
        with source.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(source, self.path(model_hash))
        self._held.add(model_hash)

    def remove(self, model_hash: bytes) -> None:
        """Forget a model; without effect if it is not there."""
        self.path(model_hash).unlink(missing_ok=True)
        self._held.discard(model_hash)

    def is_intact(self, model_hash: bytes) -> bool:
        """Whether the bytes on disk still have this hash; a file that does not is removed."""
        try:
            with self.path(model_hash).open("rb") as stream:
                intact = hashlib.file_digest(stream, "sha256").digest() == model_hash
        except FileNotFoundError:
            intact = False
        if not intact:
            self.remove(model_hash)
        return intact
