"""`bfl-agent`: the operator's face. One module per noun; each command imports the heavy libraries it needs."""

from __future__ import annotations

import sys


def main() -> None:
    """The console script."""
    from agents.cli.app import invoke

    sys.exit(invoke(sys.argv[1:]))
