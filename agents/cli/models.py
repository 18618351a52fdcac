"""`bfl-agent models`: get final, verify — the result, checked against what the contract holds."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agents.cli.exits import Exit
from agents.cli.failures import Failure
from agents.cli.session import Session

if TYPE_CHECKING:
    from bfl_events.state import TaskState

app = typer.Typer(name="models", rich_markup_mode=None, help="The trained model: get final, verify.")
TaskOption = Annotated[
    str | None, typer.Option("--task", metavar="ADDRESS", help="The task, or the beginning of its address.")
]


class Which(StrEnum):
    FINAL = "final"


@app.command()
def get(
    ctx: typer.Context,
    which: Annotated[Which, typer.Argument(help="final")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write it (.safetensors).")],
    task: TaskOption = None,
    unattested: Annotated[
        bool, typer.Option("--unattested", help="Take the most attested model even without a majority.")
    ] = False,
) -> None:
    """Write the task's final model, its bytes checked against the hash that a majority attested on chain."""
    from agents.cli.final import bring
    from agents.cli.view import look

    session: Session = ctx.obj
    view = asyncio.run(look(session))
    found = view.task(task)
    digest, votes = _final(found, unattested)
    asyncio.run(bring(session, view, found, digest, output))
    attested = any(found.final_hash)
    session.show(
        {"task": found.address, "file": str(output), "model_hash": digest.hex(), "attested": attested, "votes": votes},
        [
            f"{output}  {output.stat().st_size} bytes",
            f"sha256 {digest.hex()}",
            f"attested by {votes} members of task {found.address}" + ("" if attested else ": NO MAJORITY"),
        ],
    )


@app.command()
def verify(ctx: typer.Context, file: Path, task: TaskOption = None) -> None:
    """Say which model of a task a file is, by its hash. Exit 22 if it is none."""
    from agents.cli.view import look
    from agents.effects.model_files import digest_of

    session: Session = ctx.obj
    digest = digest_of(file)
    view = asyncio.run(look(session))
    tasks = [view.task(task)] if task is not None else view.tasks
    known = [(found.address, name) for found in tasks if (name := _name(found, digest)) is not None]
    if not known:
        raise Failure(
            f"{file} is no model of {'this task' if task else 'any task of this factory'}.",
            f"Its SHA-256 is {digest.hex()}.",
            "Get the model again: bfl-agent models get final -o FILE",
            Exit.DIFFERENCE,
        )
    session.show(
        {
            "file": str(file),
            "sha256": digest.hex(),
            "matches": [{"task": address, "model": name} for address, name in known],
        },
        [f"{file} is the {name} of task {address}" for address, name in known],
    )


def _final(task: TaskState, unattested: bool) -> tuple[bytes, int]:
    """The final hash and how many attested it. Raises Failure."""
    from bfl_events.schema import Phase

    votes = [attestation.final_hash for attestation in task.attestations.values()]
    if any(task.final_hash):
        return task.final_hash, votes.count(task.final_hash)
    if task.phase < Phase.ATTEST or not votes:
        raise Failure(
            "There is no final model yet." if not task.phase.ended else "This task has no final model.",
            f"It is {task.phase.name.lower()} in round {task.round} of {task.params.rounds}.",
            "bfl-agent task wait --for completed",
            Exit.ENDED_BADLY if task.phase.ended else Exit.USAGE,
        )
    best = max(sorted(set(votes)), key=votes.count)
    if not unattested:
        raise Failure(
            "No majority attested one model.",
            f"The most attested has {votes.count(best)} of {len(votes)} votes.",
            "Wait, or take that one with --unattested: nobody vouches for it.",
            Exit.ENDED_BADLY,
        )
    return best, votes.count(best)


def _name(task: TaskState, digest: bytes) -> str | None:
    if digest == task.final_hash:
        return "final model, attested by a majority"
    if digest == task.params.model_hash:
        return "initial model"
    for attempt in reversed(task.attempts):
        for index, opened in attempt.opened.items():
            if opened.model_hash == digest:
                return f"local model of {task.member(index).account} in round {attempt.round}"
        if digest in {commit.base_hash for commit in attempt.commits.values()}:
            return f"global model after round {attempt.round - 1}"
    return None
