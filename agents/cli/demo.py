"""`bfl-agent demo`: a whole task on this machine, with real processes, proven at the end."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from agents.cli.session import Session
from agents.demo.attack import Attack


class TaskName(StrEnum):
    DIGITS = "digits"
    MNIST = "mnist"


def _attacks(names: str) -> tuple[str, ...]:
    """`--attack noise,lazy`. Raises BadParameter for a name that is none."""
    given = tuple(name.strip() for name in names.split(","))
    for name in given:
        if name not in tuple(Attack):
            raise typer.BadParameter(f"{name!r} is no attack; known are {', '.join(Attack)}.", param_hint="--attack")
    return given


def demo(
    ctx: typer.Context,
    workers: Annotated[int, typer.Option(min=2, max=62, help="Processes that train and score.")] = 3,
    rounds: Annotated[int, typer.Option(min=1, max=1_000)] = 5,
    task: Annotated[TaskName, typer.Option(help="mnist needs --data-dir, or downloads it.")] = TaskName.DIGITS,
    data_dir: Annotated[Path | None, typer.Option(help="Where the data set lies.", show_default=False)] = None,
    malicious: Annotated[int, typer.Option(min=0, help="How many of the workers cheat.")] = 0,
    attack: Annotated[str, typer.Option(
        metavar="NAME[,NAME]", help=f"How they cheat, in turn: {', '.join(Attack)}.")] = Attack.LABEL_FLIP.value,
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep everything there.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(
        min=0, help="Of the data's partition and of the faults; without it 0, and at random with --chaos.",
        show_default=False)] = None,
    chaos: Annotated[
        str, typer.Option(metavar="KINDS", help="Faults while it runs: kill,rpc,store,reorg.", show_default=False)
    ] = "",
    minutes: Annotated[float, typer.Option(min=0.1, max=1_440, help="How long, task after task, with --chaos.")] = 1,
    every_fault: Annotated[bool, typer.Option(
        "--every-fault", help="With --chaos: nothing is proven unless each sort of fault happened.")] = False,
) -> None:
    """Start a chain, a requester and workers on this machine; train, attest, pay; prove it; end everything."""
    from agents.demo.entry import Wish, demonstrate

    session: Session = ctx.obj
    wish = Wish(workers, rounds, task.value, data_dir, malicious, _attacks(attack), seed, keep, chaos, minutes,
                every_fault)
    raise typer.Exit(demonstrate(wish, session))
