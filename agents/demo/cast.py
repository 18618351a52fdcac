"""Everything that runs in a demo, and what is done with it whichever way it goes. Starts and judges nothing."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agents.cli.exits import Exit
from agents.cli.failures import Failure
from agents.demo import processes
from agents.demo.chain import LocalChain
from agents.demo.display import Display
from agents.demo.examiner import Examiner
from agents.demo.homes import Participant
from agents.demo.picture import Picture, global_models
from agents.demo.plan import Plan
from agents.demo.spectator import Spectator
from agents.demo.stage import Stage
from agents.demo.supervisor import Service, Supervisor
from agents.demo.telltale import LogTail, doing
from agents.effects.ports import LearnerFailed, Transient
from bfl_events.rpc import Rpc

GRACE_S: Final = 3.0          # an agent's drain, before it is killed
LOOK_EVERY_S: Final = 0.1
CATCH_UP_S: Final = 20.0
LAST_LINES: Final = 5


@dataclass(slots=True)
class Cast:
    """Everything that runs. Closed in the order it was opened, backwards."""

    plan: Plan
    display: Display
    chain: LocalChain
    rpc: Rpc
    stage: Stage
    supervisor: Supervisor
    spectator: Spectator
    examiner: Examiner
    laboratory: AsyncExitStack
    picture: Picture


def service(one: Participant, stage: Stage) -> Service:
    script = Path(sys.prefix) / "bin" / "bfl-agent"
    program: tuple[str, ...] = ("-c", "from agents.cli import main; main()", "run")
    if one.attack is not None:
        program = ("-m", "agents.demo.attacker", one.attack)
    elif script.exists():
        program = (str(script), "run")      # so that `ps` shows what it is
    command = (sys.executable, *program, "--home", str(one.home.root), "--task", stage.task)
    return Service(one.name, command, one.home.root / "logs" / "output.log")


def tend(cast: Cast, tails: Mapping[str, LogTail]) -> None:
    """One look at all agents. Raises Failure if one has failed for good."""
    for ended in cast.supervisor.tend():
        if ended.failed:
            raise gave_up(cast, ended.name, str(ended))
    for name, tail in tails.items():
        for line in tail.read():
            cast.picture.doing[name] = doing(line) or cast.picture.doing.get(name, "")
    cast.picture.restarts = cast.supervisor.restarts
    cast.picture.task = cast.spectator.state
    cast.picture.quality = cast.examiner.found


async def examine(cast: Cast) -> None:
    """Measures each round's model as it appears."""
    await cast.examiner.warm()
    while True:
        task = cast.spectator.state
        if task is not None and task.round > 1:
            await cast.examiner.examine(global_models(task).values())
        await asyncio.sleep(LOOK_EVERY_S)


async def settle(cast: Cast) -> None:
    """Let the spectator see the last block, so that the picture is complete."""
    head = int(await cast.rpc.call("eth_blockNumber"), 16)
    with suppress(TimeoutError):
        async with asyncio.timeout(CATCH_UP_S):
            while (cursor := cast.spectator.log.cursor()) is None or cursor.number < head:
                await asyncio.sleep(0.02)
    cast.picture.task = cast.spectator.state


async def catch_up(cast: Cast) -> None:
    """Measure what is not measured yet; a model that cannot be measured stays unknown, and the proof says so."""
    task = cast.spectator.state
    if task is None:
        raise Failure("The task was never seen.", "The chain holds no log of it.", "See the logs.", Exit.ENDED_BADLY)
    with suppress(LearnerFailed, Transient):
        await cast.examiner.examine(global_models(task).values())
    cast.picture.quality = cast.examiner.found
    cast.display.show(cast.picture)


def deliver(result: Path, model: Path) -> bytes | None:
    """Copy the requester's file next to the other results; its SHA-256, None if there is none."""
    try:
        shutil.copyfile(result, model)
    except FileNotFoundError:
        return None
    return hashlib.sha256(model.read_bytes()).digest()


async def left_over() -> list[str]:
    """Who is still there a moment after the end; killed now."""
    with suppress(TimeoutError):
        async with asyncio.timeout(GRACE_S):
            while processes.children(os.getpid()):
                processes.reap_adopted(())
                await asyncio.sleep(0.02)
    return processes.end_strangers()


def gave_up(cast: Cast, name: str, what: str) -> Failure:
    home = next(one.home for one in cast.stage.participants if one.name == name)
    output = home.root / "logs" / "output.log"
    last = output.read_text("utf-8", errors="replace").splitlines()[-LAST_LINES:] if output.exists() else []
    return Failure(f"{what}, and starting it again does not help.", " ".join(last), f"See {home.log} and {output}.",
                   Exit.ENDED_BADLY)
