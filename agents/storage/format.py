"""The embedded store's format: a number in the file `format` of its directory, for its layout and its part files.

Owns the stamp and the refusal of a newer one. A directory without a stamp has format 1.
"""

from pathlib import Path
from typing import Final

from agents.storage.partfile import PartFile
from agents.storage.store import StorageError
from bfl_events.boundaries import Boundary

STORE_FORMAT: Final = 1


class StoreTooNew(StorageError):
    """A newer version of this program wrote the store; nothing was changed."""


def refuse_newer(directory: Path) -> None:
    """Raises StoreTooNew; a directory that is not there is of no format."""
    try:
        text = (directory / "format").read_text("utf-8").strip()
    except (OSError, ValueError):
        return
    if text.isdigit() and int(text) > STORE_FORMAT:
        raise StoreTooNew(
            f"the store {directory} was written by a newer bfl-agent (format {text}, this version knows up to "
            f"{STORE_FORMAT}); install that version again, or name another store"
        )


def stamp_store(directory: Path) -> None:
    """Note the format once. Raises OSError."""
    if not (directory / "format").exists():
        part = PartFile(directory / "parts")
        try:
            part.write(f"{STORE_FORMAT}\n".encode())
            part.commit(directory / "format", Boundary.STORE_STAMP)
        finally:
            part.discard()
