"""One task with failpoints, from an empty directory to its outcome, with everything checked that holds for any run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.crash.company import Company
from tests.crash.manner import Manner
from tests.crash.node import Node
from tests.crash.play import Arms, Plot, play
from tests.crash.stage import Stage, staged
from tests.crash.testimony import surprises
from tests.crash.verdict import Outcome, faults, outcome
from tests.crash.witness import VARIABLE

QUIET = Plot()


@contextmanager
def running(directory: Path, manner: Manner, arms: Arms, plot: Plot = QUIET, *, node: Node | None = None,
            all_fire: bool = True) -> Iterator[tuple[Stage, Outcome]]:
    """The task is over inside, the chain and the homes are still there. Everybody has died of exactly what was meant
    for him, or with `all_fire` False of some of it; and all that was written was written in a named step."""
    with staged(directory, manner.subject, store="local:../blobs" if node is None else node.url) as stage:
        with Company(stage, manner) as company:
            play(stage, company, arms, plot, {VARIABLE: str(stage.told)})
        left = {member.name: member.armed for member in company.members.values() if member.armed}
        deaths = {member.name: len(member.fired) for member in company.members.values()}
        assert not (left and all_fire), f"nobody came to {left}"
        assert all(deaths[name] == len(one) for name, one in arms.items()) if all_fire else any(deaths.values()), deaths
        kept = stage.pins if node is None else lambda name: node.marks(stage.addresses[name])
        wrong = faults(stage, kept, undone=plot is not QUIET) + surprises(stage.told, kubo=node is not None)
        assert not wrong, wrong
        yield stage, outcome(stage)


def run(directory: Path, manner: Manner, arms: Arms, plot: Plot = QUIET, *, node: Node | None = None,
        all_fire: bool = True) -> Outcome:
    """What it came to."""
    with running(directory, manner, arms, plot, node=node, all_fire=all_fire) as (_, found):
        return found
