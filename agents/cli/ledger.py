"""`bfl-agent ledger`: show, explain, withdraw — collateral, rewards and penalties, and why."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from agents.cli.exits import Exit
from agents.cli.failures import Failure, usage
from agents.cli.session import Session, short, table

app = typer.Typer(
    name="ledger", rich_markup_mode=None, help="Collateral, rewards and penalties: show, explain, withdraw."
)


@app.command()
def show(
    ctx: typer.Context,
    of: Annotated[str | None, typer.Option("--of", metavar="ADDRESS", help="Another account than this home's.")] = None,
) -> None:
    """What an account staked, earned, lost and can take out, task by task."""
    from agents.cli.earnings import HEAD, row
    from agents.cli.view import look

    session: Session = ctx.obj
    named = None if of is None else _account(of)
    view = asyncio.run(look(session))
    account = named or view.me
    if account is None:
        raise Failure(
            "There is no account in this home.",
            "A ledger belongs to one.",
            "Name it with --of, or bfl-agent account new.",
            Exit.ACCOUNT,
        )
    rows = [line for task in view.tasks if (line := row(task, view.records, account)) is not None]
    session.show(
        {"account": account, "tasks": [line.document() for line in rows]},
        [account, *table(HEAD, (line.cells() for line in rows))]
        if rows
        else [f"{account} has to do with no task yet."],
    )


@app.command()
def explain(ctx: typer.Context, tx: Annotated[str, typer.Argument(metavar="TX", help="A transaction hash.")]) -> None:
    """What one transaction did to whom, by which rule, on what evidence."""
    from agents.cli.earnings import movements
    from agents.cli.view import look

    session: Session = ctx.obj
    digest = _hash(tx)
    view = asyncio.run(look(session))
    tasks = {record.emitter for record in view.records if record.tx == digest}
    sentences = [line for task in view.tasks if task.address in tasks for line in movements(task, view.records, digest)]
    if not sentences:
        raise Failure(
            f"No event of transaction {short(tx)} is known.",
            "It reverted, is not mined yet, or belongs to another factory.",
            "Check the hash; logs show it as tx.",
            Exit.USAGE,
        )
    block = next(record.block for record in view.records if record.tx == digest)
    session.show({"tx": f"0x{digest.hex()}", "block": block, "what": sentences}, [f"Block {block}", *sentences])


@app.command()
def withdraw(
    ctx: typer.Context,
    task: Annotated[
        str | None, typer.Option("--task", metavar="ADDRESS", help="Default: every task that owes something.")
    ] = None,
    of: Annotated[
        str | None, typer.Option("--of", metavar="ADDRESS", help="Another account's, to its own payout address.")
    ] = None,
) -> None:
    """Take out what is owed to this account (a worker's credit and bond, a requester's refund)."""
    from agents.cli.acts import withdraw as withdraw_all

    asyncio.run(withdraw_all(ctx.obj, task, None if of is None else _account(of)))


def _account(text: str) -> str:
    from agents.notation import checksum_address

    try:
        return checksum_address(text)
    except ValueError as error:
        raise usage(f"--of: {error}.", "An account is meant.", "Copy its address again.") from error


def _hash(text: str) -> bytes:
    try:
        digest = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise Failure(
            f"{text!r} is no transaction hash.",
            "0x and 64 hex digits are needed.",
            "Copy it from the log or an explorer.",
            Exit.USAGE,
        )
    return digest
