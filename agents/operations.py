"""What an operator can ask a running agent through its control socket. Owns the answers; the socket is `control`'s."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import Any

from agents.agent import Agent
from agents.control import Handler, Operation, Refused
from agents.core.intents import Withdraw
from agents.effects.outbox import Outbox
from agents.effects.ports import Call, Rejected, Transient
from agents.health import Health
from agents.keyring import Keyring
from agents.shutdown import Shutdown
from agents.telemetry import Marker, Telemetry
from bfl_events.rules import claims
from bfl_events.schema import Address, Phase
from bfl_events.state import Standing, TaskState

DRAINING_EXIT = 12


@dataclass(frozen=True, slots=True)
class Operator:
    """The parts of a running agent that an operator may look at or push."""

    agent: Agent
    keyring: Keyring
    telemetry: Telemetry
    health: Health
    outbox: Outbox
    shutdown: Shutdown
    chain_id: int
    factory: Address
    began: float = field(default_factory=time.time)


def handlers(operator: Operator) -> Mapping[str, Handler]:
    """The operations by name."""
    answers = {
        Operation.STATUS: _status, Operation.LEAVE: _leave, Operation.ROTATE: _rotate, Operation.WITHDRAW: _withdraw,
        Operation.DRAIN: _drain, Operation.LOG_LEVEL: _log_level,
    }
    return {name: partial(answer, operator) for name, answer in answers.items()}


def _refuse_while_draining(operator: Operator) -> None:
    if operator.shutdown.asked:
        raise Refused("The agent drains.", "It was told to stop and starts nothing new.", "Start it again.",
                      exit_code=DRAINING_EXIT)


async def _status(operator: Operator, _: Mapping[str, Any]) -> Mapping[str, Any]:
    agent, outlook = operator.agent, operator.agent.daemon.outlook
    now = time.time()
    pending = [{"key": p.key, "nonce": p.nonce, "state": p.state, "age_s": p.age_s} for p in operator.outbox.pending()]
    tasks = [] if outlook is None else [task for task in outlook.world.tasks.values() if _concerns(task, agent.address)]
    return {
        "role": agent.role, "address": agent.address, "version": version("bfl-agent"),
        "uptime_s": round(now - operator.began, 1), "head": None if outlook is None else outlook.now.head,
        "chain_id": operator.chain_id, "factory": operator.factory, "balance_wei": await _balance(operator),
        "draining": operator.shutdown.asked, **operator.health.report(),
        "doing": list(agent.busy()), "pending": pending,
        "tasks": [_task_line(task, agent.address) for task in tasks],
    }


async def _balance(operator: Operator) -> str | None:
    try:
        return str(await operator.agent.chain.balance(operator.agent.address))
    except Transient:
        return None


def _concerns(task: TaskState, address: str) -> bool:
    return address in task.seats or task.requester == address or not task.phase.ended


def _task_line(task: TaskState, address: str) -> Mapping[str, Any]:
    index = task.index_of(address)
    standing = "requester" if task.requester == address else "none"
    if index is not None:
        standing = Standing(task.member(index).status).name.lower()
    return {"task": task.address, "phase": task.phase.name.lower(), "round": task.round, "rounds": task.params.rounds,
            "attempt": task.attempt, "deadline": task.deadline, "standing": standing}


async def _leave(operator: Operator, request: Mapping[str, Any]) -> Mapping[str, Any]:
    _refuse_while_draining(operator)
    task = _task(operator, request)
    if operator.agent.address not in task.seats:
        raise Refused(f"This account has no seat in task {task.address}.", "Only a worker can leave.", "Nothing to do.")
    try:
        operator.agent.wish_to_leave(task.address)
    except Transient as error:
        raise Refused("The wish to leave was not noted.", f"{error}.", "Repeat the command then.") from None
    if task.phase == Phase.JOINING:
        await _send(operator, f"leave:{task.address}:{task.at.block}", Call(task.address, "removeWorker"))
    return {"task": task.address, "phase": task.phase.name.lower()}


async def _rotate(operator: Operator, _: Mapping[str, Any]) -> Mapping[str, Any]:
    """A new encryption key, announced in every task this account takes part in."""
    _refuse_while_draining(operator)
    outlook, address = operator.agent.daemon.outlook, operator.agent.address
    if outlook is None:
        raise Refused("No new key was made.", "The agent has not looked at the chain since its start, and so does not "
                      "know where to announce one.", "Repeat the command in a moment.")
    try:
        der = await asyncio.to_thread(operator.keyring.rotate)
    except OSError as error:
        raise Refused("The new key was not stored.", f"{error}.", "Free disk space and repeat the command.") from None
    told = [task.address for task in outlook.world.tasks.values() if _takes_part(task, address)]
    for task in told:
        await _send(operator, f"rotate:{task}:{der[-16:].hex()}", Call(task, "rotateKey", (der,)))
    return {"tasks": told}


def _takes_part(task: TaskState, address: str) -> bool:
    index = task.index_of(address)
    seated = index is not None and bool((task.active | task.pending) >> index & 1)
    return (seated and not task.phase.ended) or task.requester == address


async def _withdraw(operator: Operator, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Send what this account is owed to its payout address."""
    _refuse_while_draining(operator)
    outlook, address = operator.agent.daemon.outlook, operator.agent.address
    tasks = [] if outlook is None else list(outlook.world.tasks.values())
    chosen = [_task(operator, request)] if request.get("task") else tasks
    paid = {}
    for task in chosen:
        for claim in claims(task).withdrawals:
            if claim.account == address:
                await operator.agent.perform(Withdraw(task.address, address, claim.amount))
                paid[task.address] = str(claim.amount)
    return {"withdrawn_wei": paid}


async def _drain(operator: Operator, _: Mapping[str, Any]) -> Mapping[str, Any]:
    operator.shutdown.ask()
    return {"draining": True}


async def _log_level(operator: Operator, request: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        operator.telemetry.threshold.set(str(request.get("level")))
    except ValueError as error:
        raise Refused("The log level was not changed.", f"{error}.", "Name one of those.", exit_code=2) from None
    operator.telemetry.log.info(Marker.AGENT_LEVEL_CHANGED, to=operator.telemetry.threshold.level)
    return {"level": operator.telemetry.threshold.level}


def _task(operator: Operator, request: Mapping[str, Any]) -> TaskState:
    try:
        return operator.agent.task(str(request.get("task")))
    except LookupError as error:
        raise Refused("There is no such task.", f"{error}.", "See `bfl-agent task list`.") from None


async def _send(operator: Operator, key: str, call: Call) -> None:
    try:
        await operator.agent.chain.send(key, call)
    except (Rejected, Transient) as error:
        raise Refused("The transaction did not go through.", f"{error}.", "Look at `bfl-agent status`.") from None
