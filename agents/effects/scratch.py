"""Folders for work in progress: gone when the work ends, or at the next start if it was killed.

A folder for each piece of work, because whoever still writes after a cancellation (a thread, the learning child) then
finds no place for it: nothing appears late.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

_PREFIX = "scratch-"
_TRIES = 5      # a file may be made while its folder is being removed


class Scratch:
    """Below `root`, where other folders are left alone."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A new folder, dropped with all that is in it. Raises OSError."""
        folder = self._root / f"{_PREFIX}{uuid4().hex}"
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            _drop(folder)

    def file(self) -> Path:
        """A place for one finished file that somebody takes over at once."""
        return self._root / uuid4().hex

    def sweep(self) -> None:
        """Drop what a killed process left: nobody else works here."""
        for path in self._root.glob("*"):
            if not path.is_dir():
                path.unlink()
            elif path.name.startswith(_PREFIX):
                _drop(path)


def _drop(folder: Path) -> None:
    for _ in range(_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
