"""`bfl-events`: follow, export, replay, verify and compare what the contracts logged.

Owns the command tree; data goes to stdout, the rest to stderr. Heavy libraries are imported by the command that
needs them, so that --help is fast.
"""

from __future__ import annotations

import os

import typer

from bfl_events.boundaries import arm
from bfl_events.cli import live, recorded

app = typer.Typer(
    name="bfl-events", add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    no_args_is_help=True,
    help="What did happen: the contracts' events, live from a chain or recorded in a file.",
    epilog="Exit codes: 0 all is well, 2 usage, 13 no RPC endpoint, 14 wrong chain or contract, 19 log too new, "
           "22 a difference was found.",
)
for command in (live.tail, live.export, recorded.replay, recorded.verify, recorded.diff):
    app.command()(command)


def main() -> None:
    """The console script."""
    arm(os.environ)
    app()
