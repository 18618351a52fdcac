"""A file for its owner's eyes that appears whole or not at all: written beside its place, synced, renamed.

While being written it is locked, so that what a killed process left, a secret perhaps, can be told from work under way.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from bfl_events.boundaries import Boundary, passing
from bfl_events.durable import dead_parts, open_part, sync_directory


@contextmanager
def private_file(target: Path, step: Boundary) -> Iterator[BinaryIO]:
    """A new file of mode 0600 that takes `target`'s place when the block ends well, and vanishes when it does not."""
    for left in dead_parts(target.parent):
        with suppress(OSError):
            left.unlink()
    part, descriptor = open_part(target.parent, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with passing(step):
            part.replace(target)
            sync_directory(target.parent)
    finally:
        part.unlink(missing_ok=True)


def write_private(target: Path, content: bytes, step: Boundary = Boundary.PRIVATE_WRITE) -> None:
    """Write a small secret; its directory is made (mode 0700) if it is not there."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with private_file(target, step) as file:
        file.write(content)
