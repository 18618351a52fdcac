"""`bfl-agent doctor`: everything that can be checked before anything is at stake, and how to mend what fails."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from agents.cli.exits import Exit
from agents.cli.session import Session, table

Spec = Annotated[
    Path | None,
    typer.Option("--data", metavar="SPEC.toml", help="Also build that task's model and load its data (starts torch)."),
]


def doctor(ctx: typer.Context, data: Spec = None) -> None:
    """Check configuration, account, chain, contract, store, data, clock and disk. Exit 17 if anything failed."""
    from agents.cli.checks import State
    from agents.cli.checks_local import examine

    session: Session = ctx.obj
    checks = asyncio.run(examine(session, data))
    failed, warned = (sum(1 for check in checks if check.state is state) for state in (State.FAIL, State.WARN))
    rows = [(check.part, check.subject, f"{check.state:<4} {check.result}", check.fix or "–") for check in checks]
    summary = f"{failed} failed, {warned} warnings." if failed or warned else "All is well."
    lines = [*table(("Check", "", "Result", "How to fix"), rows), summary]
    session.show({"ok": not failed, "checks": [check.document() for check in checks]}, lines)
    if failed:
        raise typer.Exit(Exit.PREFLIGHT)
    session.note("Next: bfl-agent run")
