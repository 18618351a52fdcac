"""Changes single values in config.toml and leaves everything else, comments included, as the operator wrote it.

Owns the smallest TOML editing that does so: plain `key = value` lines in plain tables. Must not validate settings.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from agents.cli.exits import Exit
from agents.cli.failures import Failure
from agents.crypto.privatefile import write_private
from bfl_events.boundaries import Boundary

Value = str | int | bool | Sequence[str]


def set_values(path: Path, table: str, values: Mapping[str, Value]) -> None:
    """Set `[table] key = value` for each; the file appears whole or not at all. Raises Failure, OSError."""
    text = path.read_text("utf-8") if path.exists() else ""
    changed = with_values(text, table, values)
    if not _holds(changed, table, values):
        wanted = ", ".join(f"{table}.{key} = {literal(value)}" for key, value in values.items())
        raise Failure(
            f"{path} could not be changed.",
            "It is written in a form that this program does not edit.",
            f"Set by hand: {wanted}",
            Exit.CONFIGURATION,
        )
    write_private(path, changed.encode(), Boundary.CONFIG_WRITE)


def with_values(text: str, table: str, values: Mapping[str, Value]) -> str:
    """The file's text with these values; a table that is missing is appended."""
    lines = text.splitlines()
    header = next(
        (at for at, line in enumerate(lines) if re.fullmatch(rf"\s*\[\s*{re.escape(table)}\s*\]\s*(#.*)?", line)), None
    )
    if header is None:
        lines += [*([""] if lines else []), f"[{table}]"]
        header = len(lines) - 1
    for key, value in values.items():
        end = next((at for at in range(header + 1, len(lines)) if lines[at].lstrip().startswith("[")), len(lines))
        place = _place(lines, header + 1, end, key)
        line = f"{key} = {literal(value)}"
        if place is None:
            lines.insert(header + 1, line)
        else:
            comment = re.search(r"\s+#[^\"']*$", lines[place])
            lines[place] = line + (comment[0] if comment else "")
    return "\n".join(lines) + "\n"


def _place(lines: Sequence[str], start: int, end: int, key: str) -> int | None:
    """The line that sets the key, else one that shows it as a comment."""
    for form in (rf"\s*{re.escape(key)}\s*=", rf"\s*#\s*{re.escape(key)}\s*="):
        for at in range(start, end):
            if re.match(form, lines[at]):
                return at
    return None


def literal(value: Value) -> str:
    """A TOML value: JSON's forms of strings, numbers, booleans and lists of strings are TOML's too."""
    return json.dumps(value if isinstance(value, str | int) else list(value), ensure_ascii=False)


def _holds(text: str, table: str, values: Mapping[str, Value]) -> bool:
    try:
        found: object = tomllib.loads(text)
    except ValueError:
        return False
    for name in table.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return isinstance(found, dict) and all(
        found.get(key) == (value if isinstance(value, str | int) else list(value)) for key, value in values.items()
    )
