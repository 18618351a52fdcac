"""A file for its owner's eyes that appears whole or not at all: written beside its place, synced, renamed.

While being written it is locked, so that what a killed process left, a secret perhaps, can be told from work under way.
"""

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from bfl_events.boundaries import Boundary, passing

_PART: Final = re.compile(r"\.[0-9a-f]{16}\.part")


@contextmanager
def private_file(target: Path, step: Boundary) -> Iterator[BinaryIO]:
    """A new file of mode 0600 that takes `target`'s place when the block ends well, and vanishes when it does not."""
    _sweep(target.parent)
    part = target.with_name(f".{secrets.token_hex(8)}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    _try_lock(descriptor)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with passing(step):
            part.replace(target)
            _sync_directory(target.parent)
    finally:
        part.unlink(missing_ok=True)


def write_private(target: Path, content: bytes, step: Boundary = Boundary.PRIVATE_WRITE) -> None:
    """Write a small secret; its directory is made (mode 0700) if it is not there."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with private_file(target, step) as file:
        file.write(content)


def _sweep(directory: Path) -> None:
    """Remove the parts that no living process is writing."""
    for path in directory.iterdir():
        if _PART.fullmatch(path.name):
            with suppress(OSError), path.open("rb") as file:
                if _try_lock(file.fileno()):
                    path.unlink()


def _try_lock(descriptor: int) -> bool:
    """Some network file systems have no locks: there a part is simply never swept."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
