"""Task after task while faults happen, until the time is over; then all is healed, and the last task proven as well.

Owns the order of things. The plan of faults is chaos.py's, turmoil.py carries it out; aftermath.py knows what must not
come of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import urlsplit

from agents.cli.configfile import Value, set_values
from agents.cli.exits import Exit
from agents.cli.failures import Failure
from agents.demo import processes
from agents.demo.aftermath import harm, losses
from agents.demo.blobnode import BlobNode
from agents.demo.cast import GRACE_S, LOOK_EVERY_S, Cast, catch_up, deliver, left_over, service, settle, tend
from agents.demo.chain import CHAIN_ID
from agents.demo.chaos import CONFIRMATIONS, Chaos, Kind, faults
from agents.demo.display import Display
from agents.demo.examiner import open_examiner
from agents.demo.gas import GasMeter
from agents.demo.picture import Picture
from agents.demo.plan import REQUESTER, Plan
from agents.demo.proof import Facts
from agents.demo.recovery import Recovery, recoveries
from agents.demo.spectator import Spectator
from agents.demo.stage import Stage, Theatre, announce, build
from agents.demo.supervisor import Supervisor
from agents.demo.tally import End, Lived, document
from agents.demo.telltale import LogTail, read_log
from agents.demo.turmoil import Turmoil
from agents.demo.upheaval import Upheaval
from agents.demo.wiring import Wiring, open_wiring
from agents.effects.slots import Slot, Slots
from bfl_events.export import write_export
from bfl_events.log import EventLog, Identity
from bfl_events.rpc import Rpc
from bfl_events.verify import verify

STORE_DEADLINE_S: Final = 10
LONGEST_END_S: Final = 900.0        # a task that has not ended so long after the last fault never will
FETCH_S: Final = 120.0


@dataclass(slots=True)
class Ground:
    """What all tasks of a soak stand on. `until`: when faults end, in the event loop's seconds; set by the first."""

    plan: Plan
    chaos: Chaos
    display: Display
    upheaval: Upheaval
    rpc: Rpc
    theatre: Theatre
    wiring: Wiring
    until: float = 0.0


async def endure(plan: Plan, chaos: Chaos, display: Display) -> dict[str, Any]:
    """The whole soak; returns `result.json`'s document, which is written too. Raises Failure if it cannot go on."""
    processes.adopt_orphans()
    async with AsyncExitStack() as stack:
        stack.callback(processes.end_strangers)
        ground = await stack.enter_async_context(_ground(plan, chaos, display))
        loop, lived = asyncio.get_running_loop(), list[Lived]()
        while not lived or loop.time() < ground.until:
            lived.append(await _live(ground, len(lived)))
        meter = GasMeter()
        await meter.update(ground.rpc)
    left = await left_over()
    for name in ("events.jsonl", "model.safetensors"):
        with suppress(FileNotFoundError):
            shutil.copyfile(lived[-1].directory / name, plan.directory / name)
    result = document(chaos, lived, End(plan.task, display.elapsed_s, meter.document(), left))
    (plan.directory / "result.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    return result


@asynccontextmanager
async def _ground(plan: Plan, chaos: Chaos, display: Display) -> AsyncIterator[Ground]:
    async with AsyncExitStack() as stack:
        upheaval = await Upheaval.begin(plan.directory / "chain.log", plan.directory / "chain.json")
        stack.callback(upheaval.stop)
        display.say(f"✓ local chain {upheaval.chain.url.removeprefix('http://')}, chain {CHAIN_ID}, a block a second")
        rpc = await stack.enter_async_context(Rpc([upheaval.chain.url], chain_id=CHAIN_ID))
        theatre = await build(plan, upheaval.chain, rpc, display)
        port = urlsplit(upheaval.chain.url).port
        assert port is not None
        node = await stack.enter_async_context(BlobNode())
        names = [one.name for one in theatre.participants]
        wiring = await stack.enter_async_context(open_wiring(names, port, node.port))
        for one in theatre.participants:
            ways = wiring.ways[one.name]
            chain: dict[str, Value] = {"rpc": ways.rpc, "confirmations": CONFIRMATIONS if chaos.moves_the_chain else 0}
            set_values(one.home.config, "chain", chain)
            if Kind.STORE in chaos.kinds:
                store: dict[str, Value] = {"address": ways.store_address, "deadline_s": STORE_DEADLINE_S}
                set_values(one.home.config, "store", store)
            set_values(one.home.config, "store", {"retain_rounds": 3})
        yield Ground(plan, chaos, display, upheaval, rpc, theatre, wiring)


async def _live(ground: Ground, number: int) -> Lived:
    """One task from its creation to its proof."""
    plan, display = ground.plan, ground.display
    nonce = hashlib.sha256(f"soak {ground.chaos.seed} {number}".encode()).hexdigest()
    before = int(await ground.rpc.call("eth_blockNumber"), 16)
    stage = await announce(plan, ground.theatre, display, nonce)
    directory = plan.directory / f"task-{number + 1}"
    directory.mkdir()
    async with AsyncExitStack() as stack:
        identity = Identity(CHAIN_ID, stage.factory, before + 1, f"task {stage.task}")      # no other task's events
        log = stack.enter_context(EventLog(directory / "events.sqlite", identity))
        spectator = Spectator(ground.rpc, log, stage.task, ground.upheaval.chain.url.replace("http", "ws", 1))
        supervisor = Supervisor(service(one, stage) for one in stage.participants)
        stack.push_async_callback(supervisor.stop, GRACE_S)
        laboratory = await stack.enter_async_context(AsyncExitStack())
        examiner = await laboratory.enter_async_context(open_examiner(stage, plan.directory))
        cast = Cast(plan, display, ground.upheaval.chain, ground.rpc, stage, supervisor, spectator, examiner,
                    laboratory, Picture(stage.participants))
        turmoil = Turmoil(supervisor, ground.upheaval, ground.wiring, lambda: _in_round(spectator), display.say)
        supervisor.start()
        if not ground.until:
            ground.until = asyncio.get_running_loop().time() + 60 * ground.chaos.minutes
        await _watch(cast, turmoil, ground, number)
        await settle(cast)
        await catch_up(cast)
        return await _inspect(cast, turmoil, directory)


def _in_round(spectator: Spectator) -> bool:
    return spectator.state is not None and spectator.state.round >= 1


async def _watch(cast: Cast, turmoil: Turmoil, ground: Ground, number: int) -> None:
    """Until every agent has ended by itself. Raises Failure if one fails for good, or the task does not end."""
    loop, chaos, until = asyncio.get_running_loop(), ground.chaos, ground.until
    tails = {one.name: LogTail(one.home.log) for one in cast.stage.participants}
    plan = faults(chaos, number, REQUESTER, cast.plan.worker_names)
    raging = asyncio.create_task(turmoil.rage(plan, loop.time(), until), name="turmoil")
    following = asyncio.create_task(cast.spectator.follow(), name="spectator")
    try:
        while not cast.supervisor.finished:
            tend(cast, tails)
            cast.picture.doing |= dict.fromkeys(turmoil.retired, "dead for ever")
            cast.display.show(cast.picture)
            for task in (raging, following):
                if task.done():
                    task.result()
            if loop.time() > until + LONGEST_END_S:
                raise Failure("The task does not end.", f"{cast.picture.phase}, {LONGEST_END_S:.0f} s after the last "
                              f"fault of seed {chaos.seed}.", "See the agents' logs.", Exit.ENDED_BADLY)
            await asyncio.sleep(LOOK_EVERY_S)
        raging.cancel()
        await asyncio.gather(raging, return_exceptions=True)
        await settle(cast)
    finally:
        for task in (raging, following):
            task.cancel()
        await asyncio.gather(raging, following, return_exceptions=True)


async def _inspect(cast: Cast, turmoil: Turmoil, directory: Path) -> Lived:
    """Gather the facts of a task that has ended."""
    stage, task = cast.stage, cast.spectator.state
    assert task is not None
    records = cast.spectator.records
    write_export(directory / "events.jsonl", cast.spectator.log)
    fetched = REQUESTER in turmoil.retired
    delivered = await _delivered(stage, directory / "model.safetensors", fetched=fetched)
    quality = cast.picture.quality.get(delivered) if delivered is not None else None
    balance = int(await cast.rpc.call("eth_getBalance", stage.task, "latest"), 16)
    honest = {one.address for one in stage.participants if one.role == "worker" and one.attack is None}
    used = {one.name: int(await cast.rpc.call("eth_getTransactionCount", one.address, "latest"), 16)
            for one in stage.participants}
    facts = Facts(
        task=task, honest=honest, delivered=delivered, accuracy=None if quality is None else quality.accuracy,
        wanted_accuracy=cast.plan.accuracy, balance_wei=balance,
        differences=[str(found) for found in verify(records, chain_id=CHAIN_ID)], left=(), chaos=True, fetched=fetched,
        losses=list(losses(records, honest)), contradictions=harm(records, _signed(stage), used),
    )
    logs = {one.name: read_log(one.home.log) for one in stage.participants}
    found: list[Recovery] = recoveries(cast.supervisor.starts, logs)
    return Lived(directory, cast.picture, facts, records, logs, cast.supervisor.peaks_mib, turmoil.happened, found)


def _signed(stage: Stage) -> Mapping[str, list[Slot]]:
    """Everything that each account ever signed, from its outbox."""
    found = {}
    for one in stage.participants:
        slots = Slots(one.home.network(CHAIN_ID, stage.factory).outbox, chain_id=CHAIN_ID, account=one.address)
        found[one.name] = slots.all()
        slots.close()
    return found


async def _delivered(stage: Stage, model: Path, *, fetched: bool) -> bytes | None:
    """SHA-256 of the requester's file, which is copied; of what a command brings if its agent is gone for ever."""
    home = stage.participants[0].home
    if not fetched:
        return deliver(home.result(stage.task), model)
    with TemporaryDirectory(dir=model.parent) as folder:
        brought = Path(folder) / "final.safetensors"
        await _fetch(stage, brought, model.with_name("models-get-final.log"))
        return deliver(brought, model)


async def _fetch(stage: Stage, model: Path, output: Path) -> None:
    command = ("-c", "from agents.cli import main; main()", "models", "get", "final", "-o", str(model),
               "--task", stage.task, "--home", str(stage.participants[0].home.root), "--json")
    with output.open("wb") as said:
        process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=said, stderr=said)
    try:
        async with asyncio.timeout(FETCH_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
