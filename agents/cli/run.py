"""`bfl-agent run`: the agent itself. `bfl-agent --role worker …` is the same."""

from __future__ import annotations

from typing import Annotated

import typer

from agents.cli.session import Session


def run(
    ctx: typer.Context,
    task: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Serve this task only, then end.")] = None,
) -> None:
    """Run the agent until its task has ended or it is told to stop (SIGTERM, Ctrl-C)."""
    import uvloop

    from agents.cli.failures import usage
    from agents.notation import checksum_address

    try:
        address = None if task is None else checksum_address(task)
    except ValueError as error:
        raise usage("This is no task.", f"{error}.", "See bfl-agent task list.") from None
    uvloop.run(serve(ctx.obj, address))


async def serve(session: Session, task: str | None) -> None:
    """Hand over to the daemon; its exit code is the command's."""
    from agents.lean import light_import, spare_pairings

    with light_import():
        spare_pairings()
        from agents import composition

    raise typer.Exit(await composition.run(session.settings, task=task))
