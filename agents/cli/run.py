"""`bfl-agent run`: the agent itself. `bfl-agent --role worker …` is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agents.cli.session import Session


def run(
    ctx: typer.Context,
    task: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Serve this task only, then end.")] = None,
    replay: Annotated[Path | None, typer.Option(
        metavar="FILE", show_default=False,
        help="Do nothing: show what this agent would have decided at each event of an export or an events.sqlite. "
             "Opens no network, takes no lock, needs no password.")] = None,
    until: Annotated[str | None, typer.Option(
        metavar="EVENT", show_default=False,
        help="With --replay: stop after so many events (120), block:1500, line:121, or RoundAdvanced:3.")] = None,
    memory: Annotated[str | None, typer.Option(
        metavar="journal|ideal|none", show_default=False,
        help="With --replay, what the agent remembered: what its journal says by the time of each event (default where "
             "there is one); ideal, as if every piece of work had succeeded at once with the result that the chain "
             "shows; or nothing.")] = None,
    account: Annotated[str | None, typer.Option(
        "--as", metavar="ADDRESS", show_default=False,
        help="With --replay: as this account in this --role, without a home and without limits of its own.")] = None,
) -> None:
    """Run the agent until its task has ended or it is told to stop (SIGTERM, Ctrl-C).

    With --replay FILE it only looks back, for debugging: after each block of the history, and once more before the
    next, which intents become wanted (+), are done (✓), missed (✗) or no longer wanted (-), and which acts of this
    account it would not have decided on (!). With --json one object per look, and a summary as the last.
    """
    from agents.cli.failures import usage

    address = _address("task", task)
    if replay is not None:
        from agents.cli.replaying import Question, replay_decisions

        replay_decisions(ctx.obj, Question(replay, until, memory, _address("account", account), address))
        return
    if (until, memory, account) != (None, None, None):
        raise usage("--until, --memory and --as look back.", "They need a history.", "Add --replay FILE.")
    import uvloop

    uvloop.run(serve(ctx.obj, address))


def _address(what: str, text: str | None) -> str | None:
    from agents.cli.failures import usage
    from agents.notation import checksum_address

    try:
        return None if text is None else checksum_address(text)
    except ValueError as error:
        raise usage(f"This is no {what}.", f"{error}.", "See bfl-agent task list.") from None


async def serve(session: Session, task: str | None) -> None:
    """Hand over to the daemon; its exit code is the command's."""
    from agents.lean import light_import, spare_pairings

    with light_import():
        spare_pairings()
        from agents import composition

    raise typer.Exit(await composition.run(session.settings, task=task))
