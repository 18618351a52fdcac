"""`bfl-agent task`: create, list, show, join, leave, start, wait, cancel, price."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from agents.cli.session import Session, table

app = typer.Typer(
    name="task", rich_markup_mode=None, help="Tasks: create, list, show, join, leave, start, wait, cancel, price."
)
Named = Annotated[
    str | None, typer.Argument(metavar="[TASK]", help="Its address or the beginning of it. Default: the only one.")
]


@app.command()
def create(
    ctx: typer.Context,
    spec: Annotated[Path, typer.Argument(metavar="SPEC.toml")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show terms and cost; send and publish nothing.")] = False,
    nonce: Annotated[
        str | None,
        typer.Option(help="64 hex digits, or random. Default: from the file, so that repeating it finds the task."),
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Initial model (.safetensors) instead of a fresh one.")] = None,
) -> None:
    """Create and fund a task. Repeating the command finds the task that it made."""
    from agents.cli.create import create as create_task

    asyncio.run(create_task(ctx.obj, spec, dry_run=dry_run, nonce=nonce, model=model))


@app.command("list")
def list_(
    ctx: typer.Context,
    open_only: Annotated[bool, typer.Option("--open", help="Only those that can be joined.")] = False,
) -> None:
    """The factory's tasks."""
    from agents.cli.task_views import role_in, task_document
    from agents.cli.view import look
    from agents.notation import ether
    from bfl_events.bitmap import size
    from bfl_events.schema import Phase

    session: Session = ctx.obj
    view = asyncio.run(look(session))
    tasks = [task for task in view.tasks if not open_only or task.phase == Phase.JOINING]
    rows = (
        [
            task.address,
            task.phase.name.lower(),
            f"{task.round}/{task.params.rounds}",
            f"{size(task.active)}/{task.params.max_workers}",
            ether(task.reward),
            ether(task.params.collateral),
            role_in(task, view.me),
        ]
        for task in tasks
    )
    head = ("task", "phase", "round", "workers", "reward", "collateral", "you")
    document = {"tasks": [task_document(task, view.me) for task in tasks]}
    session.show(document, table(head, rows) if tasks else ["No tasks."])


@app.command()
def show(ctx: typer.Context, task: Named = None) -> None:
    """Terms, members and money of one task."""
    from agents.cli.task_views import task_document, task_lines
    from agents.cli.view import look

    session: Session = ctx.obj
    view = asyncio.run(look(session))
    found = view.task(task)
    session.show(task_document(found, view.me), task_lines(found, view.me))


@app.command()
def price(
    ctx: typer.Context,
    what: Annotated[str, typer.Argument(metavar="SPEC.toml|TASK")],
    workers: Annotated[int | None, typer.Option(min=2, help="How many workers are expected.")] = None,
) -> None:
    """What a task costs, and how much collateral makes cheating a loss (PROTOCOL 4.3)."""
    from agents.cli import terms
    from agents.cli.task_views import price_lines

    session: Session = ctx.obj
    if what.startswith("0x"):
        from agents.cli.view import look

        task = asyncio.run(look(session)).task(what)
        priced = terms.price(
            task.params, task.reward, workers or task.params.min_workers, invited=any(task.params.allow_root)
        )
    else:
        draft = terms.read(Path(what))
        priced = terms.price(draft.params, draft.reward, workers or draft.expected_workers, invited=bool(draft.allowed))
    session.show(priced.document(), price_lines(priced))


@app.command()
def join(
    ctx: typer.Context,
    task: Named = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, bond nothing.")] = False,
) -> None:
    """Say whether this agent would join, and why not; without --dry-run, run it for this task."""
    from agents.cli.acts import join as join_task

    asyncio.run(join_task(ctx.obj, task, dry_run=dry_run))


@app.command()
def leave(ctx: typer.Context, task: Named = None) -> None:
    """Leave: at once while joining, else at the next settlement. Shows what it costs before it asks."""
    from agents.cli.acts import leave as leave_task

    asyncio.run(leave_task(ctx.obj, task))


@app.command()
def start(ctx: typer.Context, task: Named = None) -> None:
    """Start the task (its requester may, as soon as enough workers have joined; anybody at the deadline)."""
    from agents.cli.acts import start as start_task

    asyncio.run(start_task(ctx.obj, task))


@app.command()
def cancel(ctx: typer.Context, task: Named = None) -> None:
    """Cancel the task before it starts: everything returns."""
    from agents.cli.acts import cancel as cancel_task

    asyncio.run(cancel_task(ctx.obj, task))


@app.command()
def wait(
    ctx: typer.Context,
    task: Named = None,
    until: Annotated[
        str, typer.Option("--for", metavar="WHAT", help="started, round:N (settled), ended, completed.")
    ] = "ended",
    timeout: Annotated[float, typer.Option(help="Seconds; exit 21 when they have passed.")] = 3_600.0,
) -> None:
    """Wait until the task has come so far. Exit 23 if it ended otherwise, 21 after the timeout."""
    from agents.cli.waiting import wait as wait_for

    asyncio.run(wait_for(ctx.obj, task, until, timeout))
