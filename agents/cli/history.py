"""The factory's records: a running agent's log as it is, else a log of the CLI's own, brought up to date.

Owns which log is read. Never takes the agent's lock: looking must not keep an agent from starting.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from agents.cli.exits import Exit
from agents.cli.failures import Failure
from agents.cli.reach import open_rpc
from agents.cli.session import Session
from agents.control import is_live
from agents.home import NetworkHome
from bfl_events.boundaries import Boundary, passing
from bfl_events.log import EventLog, Identity
from bfl_events.log_file import OtherLog
from bfl_events.rpc import Unavailable
from bfl_events.schema import Address, Record
from bfl_events.source import Advance, EventSource

_LOCK_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class History:
    """Records complete up to block `head`. `now`: seconds by the chain's clock; by this machine's, but not behind any
    known block, if the chain did not tell. `base_fee`: wei per gas now; 0 if the chain was not asked."""

    records: Sequence[Record]
    head: int
    now: float
    base_fee: int


async def recall(session: Session, factory: Address, network: NetworkHome) -> History:
    """As up to date as can be had. Raises RpcError, TimeoutError and LogError if nothing can be had at all."""
    if is_live(session.home.control_socket) and _head(network.events) >= max(1, _head(network.view)):
        return _read(network.events)          # unless it has just begun to read what was seen here before
    network.create()
    try:
        with FileLock(network.view.with_suffix(".lock"), timeout=_LOCK_S):
            tip = await _advance(session, factory, network.view)
    except (Unavailable, TimeoutError, Timeout) as error:
        logs = [path for path in (network.view, network.events) if _head(path)]
        if not logs and isinstance(error, Unavailable):
            raise
        if not logs:
            why = (
                f"No new block came for {session.settings.chain.deadline_s:g} s; the notes above say what was missing."
            )
            raise Failure(
                "The chain could not be read.", why, "Check chain.rpc and chain.start_block.", Exit.NO_RPC
            ) from None
        session.note(f"The chain cannot be read ({error}); showing what was logged before.")
        return _read(max(logs, key=_head))
    return _read(network.view, tip)


def _read(path: Path, tip: Advance | None = None) -> History:
    with EventLog(path) as log, log.snapshot():
        cursor, records = log.cursor(), list(log.records())
    head = 0 if cursor is None else cursor.number
    if tip is None:
        return History(records, head, max([time.time(), *(record.time for record in records[-1:])]), 0)
    now = max(time.time(), tip.head.time) if tip.clock is None else float(tip.clock)
    return History(records, head, now, tip.head.base_fee)


def _head(path: Path) -> int:
    """The block that a log has come to, 0 if there is none."""
    if not path.exists():
        return 0
    with EventLog(path) as log:
        cursor = log.cursor()
    return 0 if cursor is None else cursor.number


async def _advance(session: Session, factory: Address, path: Path) -> Advance:
    """Bring the CLI's log to the chain's present; the last step. Raises RpcError, TimeoutError, LogError."""
    chain = session.settings.chain
    async with open_rpc(session.settings) as rpc:
        identity = Identity(int(await rpc.call("eth_chainId"), 16), factory, chain.start_block)
        with _open(path, identity) as log:
            source = EventSource(
                rpc,
                log,
                factory=factory,
                start_block=chain.start_block,
                follow=lambda _: True,
                on_trouble=lambda why: session.note(f"… {why}"),
            )
            async with aclosing(source.advances()) as advances:
                return await _to_the_present(session, advances, chain.deadline_s)


async def _to_the_present(session: Session, advances: AsyncGenerator[Advance, None], patience_s: float) -> Advance:
    """Give up only when nothing comes for `patience_s`. Raises TimeoutError."""
    async with asyncio.timeout(patience_s) as deadline:
        async for advance in advances:
            if not advance.behind:
                return advance
            deadline.reschedule(asyncio.get_running_loop().time() + patience_s)
            session.note(
                f"Reading the chain: block {advance.head.number}, {advance.behind} to go (chain.start_block helps)"
            )
    raise TimeoutError("the chain's log ended")


def _open(path: Path, identity: Identity) -> EventLog:
    """A log of the CLI that was begun otherwise is begun again: it holds nothing that the chain does not."""
    try:
        return EventLog(path, identity)
    except OtherLog:
        for suffix in ("", "-wal", "-shm"):
            with passing(Boundary.VIEW_DROP):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
        return EventLog(path, identity)
