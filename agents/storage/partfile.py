"""A file that becomes visible only when it is whole: written beside its place, synced, renamed. Owns the *.part files.

While being written it is locked, so that what a killed process left behind can be told from work in progress.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agents.storage.store import StoreFull, StoreUnavailable
from bfl_events.boundaries import Boundary, passing
from bfl_events.durable import dead_parts, open_part, sync_directory


class PartFile:
    """A temporary file in `directory`; `commit` moves it into place, `discard` (also after commit) removes the rest."""

    def __init__(self, directory: Path) -> None:
        self._path, descriptor = open_part(directory)
        self._file = os.fdopen(descriptor, "wb")

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)

    def commit(self, target: Path, step: Boundary) -> None:
        """Make the bytes durable, then let them appear at `target`, replacing what was there."""
        self._file.flush()
        os.fsync(self._file.fileno())
        with passing(step):
            self._path.replace(target)
            sync_directory(target.parent)

    def discard(self) -> None:
        with suppress(OSError):  # closing flushes, which fails again on a full disk
            self._file.close()
        self._path.unlink(missing_ok=True)


def sweep(directory: Path) -> None:
    """Remove the part files in `directory` that no living process is writing."""
    for path in dead_parts(directory):
        with suppress(OSError), passing(Boundary.BLOB_SWEEP):
            path.unlink()


@contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Turn an OSError into StoreFull or StoreUnavailable, with `doing` in its message."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull(f"{doing}: no space left on the disk; free some and try again") from error
        raise StoreUnavailable(f"{doing}: {error}") from error
