"""Puts the stand-ins in the place of threads, disks, cryptography and coding for as long as a simulation runs.

Owns the list of what is not real in here. Everything else that an agent runs is the product's own code.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from eth_utils.crypto import keccak

import agents.core.reduce as reduce_module
import agents.daemon as daemon_module
import agents.effects.exchange as exchange_module
import agents.effects.runner as runner_module
import bfl_events.bloom as bloom_module
import bfl_events.commitment as commitment_module
import bfl_events.fold as fold_module
import bfl_events.log as log_module
import bfl_events.view as view_module
import tests.simulation.contract as contract_module
from bfl_events.schema import Record
from tests.simulation import learner
from tests.simulation.disk import Disk, Session
from tests.simulation.endpoint import RawLog

T = TypeVar("T")
_DISKS: dict[str, Disk] = {}


def plug_in(disk: Disk) -> None:
    """From now on databases below this disk's folder are this disk's."""
    _DISKS[str(disk.folder)] = disk


def plug_out(disk: Disk) -> None:
    del _DISKS[str(disk.folder)]


@contextmanager
def stand_ins() -> Iterator[None]:
    """Files are synced by nobody, threads run at once, Keccak is the compiled one (equal by tests/events)."""
    doubles = (*_STAND_INS, *_remembering())
    replaced = [(module, name, getattr(module, name)) for module, name, _ in doubles]
    for module, name, double in doubles:
        setattr(module, name, double)
    try:
        yield
    finally:
        for module, name, original in replaced:
            setattr(module, name, original)


def _remembering() -> list[tuple[Any, str, Any]]:
    """Pure functions of records, which are the same objects for every agent: done once for all of them."""
    apply, row = _once(fold_module.apply), _once(log_module._row)
    return [(reduce_module, "apply", apply), (contract_module, "apply", apply), (log_module, "_row", row)]


def _once(function: Callable[..., T]) -> Callable[..., T]:
    """Remembers results by the identity of the arguments, which it keeps alive."""
    known: dict[tuple[int, ...], tuple[tuple[Any, ...], T]] = {}

    def remembered(*arguments: Any) -> T:
        key = tuple(map(id, arguments))
        found = known.get(key)
        if found is None:
            found = known[key] = (arguments, function(*arguments))
        return found[1]

    return remembered


def _connect(path: Path | str, **_: Any) -> Session | sqlite3.Connection:
    folder, _, name = str(path).rpartition("/")
    disk = _DISKS.get(folder)
    return disk.connect(name) if disk is not None else _real_connect(path, isolation_level=None)


async def _in_a_thread(function: Callable[..., T], /, *arguments: Any, **more: Any) -> T:
    await asyncio.sleep(0.002)
    return function(*arguments, **more)


def _decode_log(raw: RawLog, time: int | None = None, events: object = None) -> Record:
    record: Record = raw.record
    return record


_keccak = lru_cache(maxsize=4096)(keccak)
_real_connect = sqlite3.connect
_STAND_INS: tuple[tuple[Any, str, Any], ...] = (
    (sqlite3, "connect", _connect),
    (asyncio, "to_thread", _in_a_thread),
    (os, "fsync", lambda _: None),
    (exchange_module, "seal", learner.seal),
    (exchange_module, "open_envelope", learner.open_envelope),
    (daemon_module, "LONGEST_WAIT_S", 3.0),      # windows are seconds here, not minutes, and so are rests
    (runner_module, "LONGEST_REST_S", 2.0),
    (runner_module, "OBSERVE_S", 4.0),
    (view_module, "decode_log", _decode_log),
    (bloom_module, "keccak256", _keccak),
    (commitment_module, "keccak256", _keccak),
    (contract_module, "keccak256", _keccak),
)
