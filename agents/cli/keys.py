"""`bfl-agent keys`: show, rotate — the RSA keys that others seal models for. Old private keys are kept."""

from __future__ import annotations

import asyncio
import re

import typer

from agents.cli.session import Session, table

app = typer.Typer(name="keys", rich_markup_mode=None, help="Encryption keys: show, rotate.")
_NAME = re.compile(r"RSA--(.+)--([0-9a-f]{16})\.pem")


@app.command()
def show(ctx: typer.Context) -> None:
    """The encryption keys of this home, newest first; the newest is announced when joining."""
    session: Session = ctx.obj
    named = [
        (path, found)
        for path in sorted(session.home.encryption_keys.glob("RSA--*.pem"), reverse=True)
        if (found := _NAME.fullmatch(path.name)) is not None
    ]
    keys = [{"key_id": found[2], "created": found[1], "path": str(path)} for path, found in named]
    session.show(
        {"keys": keys},
        table(("key id", "created", "file"), ([k["key_id"], k["created"], k["path"]] for k in keys))
        if keys
        else ["No encryption key yet: the agent makes one when it first joins or creates a task."],
    )


@app.command()
def rotate(ctx: typer.Context) -> None:
    """Make a new key and announce it in every task this account takes part in."""
    from agents.cli.rotating import rotate as rotate_key

    session: Session = ctx.obj
    asyncio.run(rotate_key(session))
