"""`bfl-agent contracts`: deploy — puts the factory on a chain and notes it in config.toml."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from agents.cli.session import Session

app = typer.Typer(name="contracts", rich_markup_mode=None, help="The factory contract: deploy.")


@app.callback()
def contracts() -> None:
    """Keeps `deploy` a command of its own."""


@app.command()
def deploy(
    ctx: typer.Context,
    series: Annotated[str, typer.Option(help="A new name deploys anew; repeating the command does not.")] = "",
) -> None:
    """Deploy a factory of your own (no owner, no upgrade, no pause) and write its address into config.toml."""
    from agents.cli.deploying import deploy as deploy_all

    session: Session = ctx.obj
    asyncio.run(deploy_all(session, series))
