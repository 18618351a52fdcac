"""Which formats of a home this version writes, and the refusal of a home that a newer one has written.

Owns the home's stamp, the file `format`, which stands for its layout as a whole. Reads bytes only: a refused home stays
as it is. A home without a stamp has format 1.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agents.effects import journal, slots
from agents.home import Home
from agents.misconfiguration import SettingsError
from agents.storage.format import STORE_FORMAT
from bfl_events import log_file
from bfl_events.boundaries import Boundary, passing

HOME_FORMAT: Final = 1
TOO_NEW_EXIT: Final = 19
_USER_VERSION: Final = slice(60, 64)       # in the header of a SQLite file, big-endian
_FRACTIONS: Final = slice(21, 24)          # these must be 64, 32, 32: else the header is damaged and tells nothing


def refuse_newer(home: Home, store: str) -> None:
    """Raises SettingsError (exit 19) if the home, or an embedded store at the address `store`, is of a newer format."""
    for path, found, known in _stamps(home, store):
        if found > known:
            raise SettingsError(
                "This home was written by a newer bfl-agent.",
                f"{path} has format {found}, and this version knows formats up to {known}. Nothing was changed.",
                "Install that version again, or use another home.",
                exit_code=TOO_NEW_EXIT,
            )


def stamp(home: Home) -> None:
    """Note the home's format. Raises OSError."""
    path = home.root / "format"
    if not path.exists():
        part = path.with_name(".format.part")
        part.write_text(f"{HOME_FORMAT}\n", "utf-8")
        with passing(Boundary.HOME_STAMP):
            os.replace(part, path)


def _stamps(home: Home, store: str) -> Iterator[tuple[Path, int, int]]:
    """(file, its format, the newest that is known)."""
    stamped = [(home.root / "format", HOME_FORMAT)]
    if store.startswith("local:"):
        stamped.append((Path(store.removeprefix("local:")) / "format", STORE_FORMAT))
    for path, known in stamped:
        if path.is_file():
            yield path, _number(path.read_bytes()), known
    networks = home.root / "networks"
    for pattern, known in (("*/journal.sqlite", journal.VERSION), ("*/events.sqlite", log_file.SCHEMA_VERSION),
                           ("*/outbox.sqlite", slots.VERSION)):
        for path in sorted(networks.glob(pattern)):
            yield path, _database_format(path), known


def _number(text: bytes) -> int:
    return int(text) if text.strip().isdigit() else 0


def _database_format(path: Path) -> int:
    """0 for what is no SQLite file; whoever opens it says so."""
    with path.open("rb") as file:
        header = file.read(100)
    sound = header.startswith(b"SQLite format 3\0") and header[_FRACTIONS] == bytes((64, 32, 32))
    return int.from_bytes(header[_USER_VERSION]) if sound else 0
