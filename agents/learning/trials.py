"""Folders for models that serve one request and nobody else: below the child's working directory, so that what a killed
child left is found and dropped by the next."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

_PREFIX = ".bfl-trial-"


def trial_folder() -> TemporaryDirectory[str]:
    """For a `with`: gone afterwards."""
    return TemporaryDirectory(prefix=_PREFIX, dir=Path.cwd())


def sweep_trials() -> None:
    """Drop what an earlier child left. One child at a time works in a directory."""
    for folder in Path.cwd().glob(f"{_PREFIX}*"):
        shutil.rmtree(folder, ignore_errors=True)
