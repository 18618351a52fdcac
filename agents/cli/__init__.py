"""`bfl-agent`: the operator's face. One module per noun; each command imports the heavy libraries it needs."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """The console script."""
    from agents.lean import light_import
    from bfl_events.boundaries import arm

    with light_import():
        from agents.cli.app import invoke

    arm(os.environ)
    sys.exit(invoke(sys.argv[1:]))
