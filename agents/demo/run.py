"""One demo from an empty directory to a proven result. Owns the order of things and the clean end, whatever happens."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agents.cli.exits import Exit
from agents.cli.failures import Failure
from agents.demo import processes
from agents.demo.chain import CHAIN_ID, LocalChain, start_chain
from agents.demo.display import Display
from agents.demo.examiner import Examiner, open_examiner
from agents.demo.gas import GasMeter
from agents.demo.homes import Participant
from agents.demo.picture import Picture, global_models
from agents.demo.plan import Plan
from agents.demo.proof import Facts, prove
from agents.demo.result import Run, document
from agents.demo.spectator import Spectator
from agents.demo.stage import Stage, set_stage
from agents.demo.supervisor import Service, Supervisor
from agents.demo.telltale import LogTail, doing, read_log
from agents.effects.ports import LearnerFailed, Transient
from bfl_events.export import write_export
from bfl_events.log import EventLog, Identity
from bfl_events.rpc import Rpc, RpcError
from bfl_events.verify import verify

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


async def perform(plan: Plan, display: Display) -> dict[str, Any]:
    """The whole demo; returns `result.json`'s document, which is written too. Raises Failure if it cannot go on.

    Cancel it at any time: it ends everything that it started.
    """
    processes.adopt_orphans()
    async with AsyncExitStack() as stack:
        stack.callback(processes.end_strangers)
        cast = await _assemble(plan, display, stack)
        await _watch(cast)
        display.say("all agents have ended; checking")
        await _catch_up(cast)
        run = await _inspect(cast)
    result = document(run)
    (plan.directory / "result.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    return result


async def _assemble(plan: Plan, display: Display, stack: AsyncExitStack) -> Cast:
    chain = await start_chain(plan.directory / "chain.log")
    stack.callback(chain.stop)
    display.say(f"✓ local chain {chain.url.removeprefix('http://')}, chain {CHAIN_ID}")
    rpc = await stack.enter_async_context(Rpc([chain.url], chain_id=CHAIN_ID))
    stage = await set_stage(plan, chain, rpc, display)
    identity = Identity(CHAIN_ID, stage.factory, stage.start_block, f"task {stage.task}")
    log = stack.enter_context(EventLog(plan.directory / "events.sqlite", identity))
    spectator = Spectator(rpc, log, stage.task, chain.url.replace("http", "ws", 1))
    supervisor = Supervisor(_service(one, stage) for one in stage.participants)
    stack.push_async_callback(supervisor.stop, GRACE_S)
    supervisor.start()
    display.say(f"✓ {len(stage.participants)} agents started, each its own process and home")
    laboratory = await stack.enter_async_context(AsyncExitStack())
    examiner = await laboratory.enter_async_context(open_examiner(stage, plan.directory))
    picture = Picture(stage.participants)
    return Cast(plan, display, chain, rpc, stage, supervisor, spectator, examiner, laboratory, picture)


def _service(one: Participant, stage: Stage) -> Service:
    script = Path(sys.prefix) / "bin" / "bfl-agent"
    program: tuple[str, ...] = ("-c", "from agents.cli import main; main()", "run")
    if one.attack is not None:
        program = ("-m", "agents.demo.attacker", one.attack)
    elif script.exists():
        program = (str(script), "run")      # so that `ps` shows what it is
    command = (sys.executable, *program, "--home", str(one.home.root), "--task", stage.task)
    return Service(one.name, command, one.home.root / "logs" / "output.log")


async def _watch(cast: Cast) -> None:
    """Until every agent has ended by itself. Raises Failure if one fails for good, or the chain does."""
    tails = {one.name: LogTail(one.home.log) for one in cast.stage.participants}
    meter = GasMeter()
    following = asyncio.create_task(cast.spectator.follow(), name="spectator")
    examining = asyncio.create_task(_examine(cast), name="examiner")
    try:
        while not cast.supervisor.finished:
            _tend(cast, tails)
            with suppress(RpcError):
                await meter.update(cast.rpc)
            cast.picture.gas = meter.total
            cast.display.show(cast.picture)
            for task in (following, examining):
                if task.done():
                    task.result()
            await asyncio.sleep(LOOK_EVERY_S)
        await _settle(cast)
    finally:
        for task in (following, examining):
            task.cancel()
        await asyncio.gather(following, examining, return_exceptions=True)


def _tend(cast: Cast, tails: Mapping[str, LogTail]) -> None:
    for ended in cast.supervisor.tend():
        if ended.failed:
            raise _gave_up(cast, ended.name, str(ended))
    if not cast.chain.running:
        raise Failure("The local chain ended.", f"See {cast.chain.output}.", "Start the demo again.", Exit.NO_RPC)
    for name, tail in tails.items():
        for line in tail.read():
            cast.picture.doing[name] = doing(line) or cast.picture.doing.get(name, "")
    cast.picture.restarts = cast.supervisor.restarts
    cast.picture.task = cast.spectator.state
    cast.picture.quality = cast.examiner.found


async def _examine(cast: Cast) -> None:
    """Measures each round's model as it appears."""
    await cast.examiner.warm()
    while True:
        task = cast.spectator.state
        if task is not None and task.round > 1:
            await cast.examiner.examine(global_models(task).values())
        await asyncio.sleep(LOOK_EVERY_S)


async def _settle(cast: Cast) -> None:
    """Let the spectator see the last block, so that the picture is complete."""
    head = int(await cast.rpc.call("eth_blockNumber"), 16)
    with suppress(TimeoutError):
        async with asyncio.timeout(CATCH_UP_S):
            while (cursor := cast.spectator.log.cursor()) is None or cursor.number < head:
                await asyncio.sleep(0.02)
    cast.picture.task = cast.spectator.state


async def _catch_up(cast: Cast) -> None:
    """Measure what is not measured yet; a model that cannot be measured stays unknown, and the proof says so."""
    task = cast.spectator.state
    if task is None:
        raise Failure("The task was never seen.", "The chain holds no log of it.", "See the logs.", Exit.ENDED_BADLY)
    with suppress(LearnerFailed, Transient):
        await cast.examiner.examine(global_models(task).values())
    cast.picture.quality = cast.examiner.found
    cast.display.show(cast.picture)


async def _inspect(cast: Cast) -> Run:
    """Gather the facts, end what is left to end, and judge."""
    plan, stage, task = cast.plan, cast.stage, cast.spectator.state
    assert task is not None
    balance = int(await cast.rpc.call("eth_getBalance", stage.task, "latest"), 16)
    meter = GasMeter()
    await meter.update(cast.rpc)
    cast.picture.gas = meter.total
    records = cast.spectator.records
    write_export(plan.directory / "events.jsonl", cast.spectator.log)
    delivered = _deliver(stage.participants[0].home.result(stage.task), plan.directory / "model.safetensors")
    wall_s = cast.display.elapsed_s
    await cast.laboratory.aclose()
    cast.chain.stop()
    quality = cast.picture.quality.get(delivered) if delivered is not None else None
    facts = Facts(
        task=task, honest={one.address for one in stage.participants if one.role == "worker" and one.attack is None},
        delivered=delivered, accuracy=None if quality is None else quality.accuracy, wanted_accuracy=plan.accuracy,
        balance_wei=balance, differences=[str(found) for found in verify(records, chain_id=CHAIN_ID)],
        left=await _left_over(),
    )
    logs = {one.name: read_log(one.home.log) for one in stage.participants}
    return Run(cast.picture, plan.task, wall_s, prove(facts), records, logs, cast.supervisor.peaks_mib, balance,
               meter.document())


def _deliver(result: Path, model: Path) -> bytes | None:
    """Copy the requester's file next to the other results; its SHA-256, None if there is none."""
    try:
        shutil.copyfile(result, model)
    except FileNotFoundError:
        return None
    return hashlib.sha256(model.read_bytes()).digest()


async def _left_over() -> list[str]:
    """Who is still there a moment after the end; killed now."""
    with suppress(TimeoutError):
        async with asyncio.timeout(GRACE_S):
            while processes.children(os.getpid()):
                processes.reap_adopted(())
                await asyncio.sleep(0.02)
    return processes.end_strangers()


def _gave_up(cast: Cast, name: str, what: str) -> Failure:
    home = next(one.home for one in cast.stage.participants if one.name == name)
    output = home.root / "logs" / "output.log"
    last = output.read_text("utf-8", errors="replace").splitlines()[-LAST_LINES:] if output.exists() else []
    return Failure(f"{what}, and starting it again does not help.", " ".join(last), f"See {home.log} and {output}.",
                   Exit.ENDED_BADLY)


