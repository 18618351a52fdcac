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
from pathlib import Path
from typing import Final

_PART: Final = re.compile(r"\.[0-9a-f]{16}\.part")


def new_part(directory: Path) -> Path:
    """A name for a part in `directory` that nobody else has."""
    return directory / f".{secrets.token_hex(8)}.part"


def dead_parts(directory: Path) -> Iterator[Path]:
    """The parts in `directory` that no living process is writing, to be removed one by one."""
    for path in directory.iterdir():
        if _PART.fullmatch(path.name):
            with suppress(OSError), path.open("rb") as file:
                if try_lock(file.fileno()):
                    yield path


def try_lock(descriptor: int) -> bool:
    """Some network file systems have no locks: there a part is simply never swept."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def sync_directory(directory: Path) -> None:
    """Make what was renamed in it durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
