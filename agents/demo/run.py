"""One demo from an empty directory to a proven result. Owns the order of things and the clean end, whatever happens."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, suppress
from typing import Any

from agents.cli.exits import Exit
from agents.cli.failures import Failure
from agents.demo import processes
from agents.demo.cast import GRACE_S, LOOK_EVERY_S, Cast, catch_up, deliver, examine, left_over, service, settle, tend
from agents.demo.chain import CHAIN_ID, start_chain
from agents.demo.display import Display
from agents.demo.examiner import open_examiner
from agents.demo.gas import GasMeter
from agents.demo.picture import Picture
from agents.demo.plan import Plan
from agents.demo.proof import Facts, prove
from agents.demo.result import Run, document
from agents.demo.spectator import Spectator
from agents.demo.stage import set_stage
from agents.demo.supervisor import Supervisor
from agents.demo.telltale import LogTail, read_log
from bfl_events.export import write_export
from bfl_events.log import EventLog, Identity
from bfl_events.rpc import Rpc, RpcError
from bfl_events.verify import verify


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
        await catch_up(cast)
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
    supervisor = Supervisor(service(one, stage) for one in stage.participants)
    stack.push_async_callback(supervisor.stop, GRACE_S)
    supervisor.start()
    display.say(f"✓ {len(stage.participants)} agents started, each its own process and home")
    laboratory = await stack.enter_async_context(AsyncExitStack())
    examiner = await laboratory.enter_async_context(open_examiner(stage, plan.directory))
    picture = Picture(stage.participants)
    return Cast(plan, display, chain, rpc, stage, supervisor, spectator, examiner, laboratory, picture)


async def _watch(cast: Cast) -> None:
    """Until every agent has ended by itself. Raises Failure if one fails for good, or the chain does."""
    tails = {one.name: LogTail(one.home.log) for one in cast.stage.participants}
    meter = GasMeter()
    following = asyncio.create_task(cast.spectator.follow(), name="spectator")
    examining = asyncio.create_task(examine(cast), name="examiner")
    try:
        while not cast.supervisor.finished:
            tend(cast, tails)
            if not cast.chain.running:
                raise Failure("The local chain ended.", f"See {cast.chain.output}.", "Start the demo again.",
                              Exit.NO_RPC)
            with suppress(RpcError):
                await meter.update(cast.rpc)
            cast.picture.gas = meter.total
            cast.display.show(cast.picture)
            for task in (following, examining):
                if task.done():
                    task.result()
            await asyncio.sleep(LOOK_EVERY_S)
        await settle(cast)
    finally:
        for task in (following, examining):
            task.cancel()
        await asyncio.gather(following, examining, return_exceptions=True)


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
    delivered = deliver(stage.participants[0].home.result(stage.task), plan.directory / "model.safetensors")
    wall_s = cast.display.elapsed_s
    await cast.laboratory.aclose()
    cast.chain.stop()
    quality = cast.picture.quality.get(delivered) if delivered is not None else None
    facts = Facts(
        task=task, honest={one.address for one in stage.participants if one.role == "worker" and one.attack is None},
        delivered=delivered, accuracy=None if quality is None else quality.accuracy, wanted_accuracy=plan.accuracy,
        balance_wei=balance, differences=[str(found) for found in verify(records, chain_id=CHAIN_ID)],
        left=await left_over(),
    )
    logs = {one.name: read_log(one.home.log) for one in stage.participants}
    return Run(cast.picture, plan.task, wall_s, prove(facts), records, logs, cast.supervisor.peaks_mib, balance,
               meter.document())
