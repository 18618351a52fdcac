"""Sees every write that a process makes and every boundary that it passes, by audit hooks: what escapes is told.

`CRASH_WITNESS=FILE` makes a process of the kill matrix append JSON lines there: {"passed": boundary} once each, and
{"escaped": event, "what": path, "where": stack} for a durable write outside every boundary.
"""

from __future__ import annotations

from collections.abc import Mapping

VARIABLE = "CRASH_WITNESS"


def watch_if_asked(environment: Mapping[str, str]) -> None:
    """Placed before the process does anything."""
