"""What every room needs that writes a file which is there whole or not at all: parts, their locks, synced directories.

A part is locked while it is written, so that what a killed process left can be told from work under way. Owns the
names of parts; who writes one moves it into place, as one of the steps in `boundaries`.
"""

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Final

_PART: Final = re.compile(r"\.[0-9a-f]{16}\.part")


class _Lock(Enum):
    """NONE: some network file systems have no locks. There a part is simply never swept."""

    OURS, HELD, NONE = range(3)


def open_part(directory: Path, mode: int = 0o666) -> tuple[Path, int]:
    """A new part that nobody else has, with a descriptor to write it, locked until that is closed. Raises OSError."""
    while True:
        path = directory / f".{secrets.token_hex(8)}.part"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        if _try_lock(descriptor) is not _Lock.HELD and os.fstat(descriptor).st_nlink:
            return path, descriptor
        os.close(descriptor)                # between its making and its locking somebody took it for dead


def dead_parts(directory: Path) -> Iterator[Path]:
    """The parts in `directory` that no living process is writing, to be removed one by one."""
    for path in directory.iterdir():
        if _PART.fullmatch(path.name):
            with suppress(OSError), path.open("rb") as file:
                if _try_lock(file.fileno()) is _Lock.OURS:
                    yield path


def _try_lock(descriptor: int) -> _Lock:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _Lock.HELD
    except OSError:
        return _Lock.NONE
    return _Lock.OURS


def sync_directory(directory: Path) -> None:
    """Make what was renamed in it durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
