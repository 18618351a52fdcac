"""`bfl-agent rounds`: list, show, explain — what happened, and whom are we waiting for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agents.cli.exits import Exit
from agents.cli.failures import Failure
from agents.cli.session import Session, short, table

if TYPE_CHECKING:
    from bfl_events.state import Attempt, TaskState

app = typer.Typer(name="rounds", rich_markup_mode=None, help="Rounds of a task: list, show, explain.")
TaskOption = Annotated[
    str | None, typer.Option("--task", metavar="ADDRESS", help="The task, or the beginning of its address.")
]


@app.command("list")
def list_(ctx: typer.Context, task: TaskOption = None) -> None:
    """All rounds and attempts of a task."""
    session, found = _task(ctx, task)
    rows = [_summary(found, attempt) for attempt in found.attempts]
    session.show(
        {"task": found.address, "rounds": rows},
        [
            f"Task {found.address} · {found.phase.name} · round {found.round}/{found.params.rounds}",
            *table(
                ("round", "attempt", "roster", "opened", "revealed", "accepted", "top", "threshold"),
                (
                    [
                        row["round"],
                        row["attempt"],
                        row["roster"],
                        row["opened"],
                        row["revealed"],
                        len(row["accepted"]),
                        " ".join(map(short, row["top"])) or "–",
                        row["threshold"] if row["threshold"] is not None else "–",
                    ]
                    for row in rows
                ),
            ),
        ],
    )


@app.command()
def show(
    ctx: typer.Context,
    number: Annotated[int | None, typer.Argument(metavar="ROUND", help="Default: the current one.")] = None,
    task: TaskOption = None,
) -> None:
    """One round: each member's model, scores and standing."""
    session, found = _task(ctx, task)
    wanted = found.round if number is None else number
    attempts = [attempt for attempt in found.attempts if attempt.round == wanted]
    if not attempts:
        raise Failure(
            f"There is no round {wanted} yet.",
            f"The task is in round {found.round}.",
            "bfl-agent rounds list",
            Exit.USAGE,
        )
    members = list(_members(found, attempts[-1]))
    head = ("worker", "committed", "opened", "scored", "revealed", "score", "result")
    session.show(
        {"task": found.address, **_summary(found, attempts[-1]), "members": members},
        [
            f"Task {found.address} · round {wanted} · attempt {attempts[-1].number}",
            *table(
                head,
                (
                    [
                        short(m["worker"]),
                        *(("yes" if m[name] else "–") for name in head[1:5]),
                        m["score"] if m["score"] is not None else "–",
                        m["result"],
                    ]
                    for m in members
                ),
            ),
        ],
    )


@app.command()
def explain(ctx: typer.Context, task: TaskOption = None) -> None:
    """Whom are we waiting for, until when, what happens then."""
    from agents.cli.explain import explain as explained
    from agents.cli.view import look

    session: Session = ctx.obj
    view = asyncio.run(look(session))
    explanation = explained(view.task(task), view.now, view.me)
    session.show(explanation.document(), explanation.lines())


def _task(ctx: typer.Context, named: str | None) -> tuple[Session, TaskState]:
    from agents.cli.view import look

    session: Session = ctx.obj
    return session, asyncio.run(look(session)).task(named)


def _summary(task: TaskState, attempt: Attempt) -> dict[str, Any]:
    from bfl_events.bitmap import members_of, size

    def who(bitmap: int) -> list[str]:
        return [task.member(index).account for index in members_of(bitmap)]

    scored = attempt.scored
    return {
        "round": attempt.round,
        "attempt": attempt.number,
        "roster": size(attempt.roster),
        "committed": len(attempt.commits),
        "opened": len(attempt.opened),
        "revealed": len(attempt.revealed),
        "threshold": scored.theta if scored else None,
        "accepted": who(scored.accepted) if scored else [],
        "top": who(scored.top_k) if scored else [],
        "deviant": who(scored.deviant) if scored else [],
        "invalid": who(scored.invalid) if scored else [],
        "per_top_wei": str(attempt.paid.per_top) if attempt.paid else None,
        "per_rest_wei": str(attempt.paid.per_rest) if attempt.paid else None,
    }


def _members(task: TaskState, attempt: Attempt) -> Iterator[dict[str, Any]]:
    from bfl_events.bitmap import members_of
    from bfl_events.scoring import lane_of, unpack_row

    medians = unpack_row(attempt.scored.medians) if attempt.scored else None
    for index in members_of(attempt.roster):
        opened = attempt.opened.get(index)
        yield {
            "worker": task.member(index).account,
            "index": index,
            "committed": index in attempt.commits,
            "opened": opened is not None,
            "scored": index in attempt.score_commits,
            "revealed": index in attempt.revealed,
            "model_hash": opened.model_hash.hex() if opened else None,
            "size_bytes": opened.size if opened else None,
            "score": medians[lane_of(index)] if medians is not None and opened else None,
            "result": _result(attempt, index),
        }


def _result(attempt: Attempt, index: int) -> str:
    if attempt.scored is None:
        return "open"
    scored, paid = attempt.scored, attempt.paid
    words = [
        word
        for word, bitmap in (
            ("top", scored.top_k),
            ("accepted", scored.accepted),
            ("deviant", scored.deviant),
            ("invalid", scored.invalid),
            ("paid", paid.eligible if paid else 0),
        )
        if bitmap >> index & 1
    ]
    return ", ".join(words) or "not accepted"
