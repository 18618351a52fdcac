"""A blob on its way to a file: bounded, hashed, and visible only if it is the right one. Knows no back end."""

from pathlib import Path

from agents.storage.cid import UnixFsHasher, to_text
from agents.storage.partfile import PartFile, disk_errors
from agents.storage.store import BlobCorrupt, BlobTooLarge
from bfl_events.boundaries import Boundary


class Download:
    """Receives a stream chunk by chunk. Blocking: use it off the event loop."""

    def __init__(self, cid: bytes, out: Path, max_bytes: int) -> None:
        self._cid = cid
        self._out = out
        self._max_bytes = max_bytes
        self._hasher = UnixFsHasher()
        with disk_errors(f"writing {out}"):
            self._part = PartFile(out.parent)

    @property
    def received(self) -> int:
        return self._hasher.size

    def expect(self, size: int) -> None:
        """Raises BlobTooLarge if a blob announced with `size` bytes is above the cap."""
        if size > self._max_bytes:
            raise BlobTooLarge(f"{to_text(self._cid)} has more than the {self._max_bytes} bytes allowed")

    def write(self, chunk: bytes) -> None:
        self.expect(self.received + len(chunk))
        self._hasher.update(chunk)
        with disk_errors(f"writing {self._out}"):
            self._part.write(chunk)

    def finish(self) -> int:
        """Verify, then let the file appear; return its size. Raises BlobCorrupt."""
        actual = self._hasher.cid()
        if actual != self._cid:
            raise BlobCorrupt(f"asked for {to_text(self._cid)}, got {self.received} bytes of {to_text(actual)}")
        with disk_errors(f"writing {self._out}"):
            self._part.commit(self._out, Boundary.BLOB_GET)
        return self.received

    def discard(self) -> None:
        """Remove what is not finished; harmless after `finish`."""
        self._part.discard()
