"""Brings a model that the contract names by its hash: from this home, or from any attester's envelope.

Owns where it is looked for, in which order. What arrives under a wrong hash is never written.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from agents.cli.exits import Exit
from agents.cli.failures import Failure
from agents.cli.reach import encryption_keys, open_blobs
from agents.cli.session import Session, short
from agents.cli.view import View
from agents.core.intents import FetchModel, Refused
from agents.effects.exchange import Exchange
from agents.effects.model_files import ModelFiles, digest_of
from agents.effects.ports import Transient
from bfl_events.boundaries import Boundary, passing
from bfl_events.state import TaskState

_CONTENT_FINAL = 2


async def bring(session: Session, view: View, task: TaskState, digest: bytes, output: Path) -> None:
    """Write the model with this hash to `output`, whole or not at all. Raises Failure."""
    settings = session.settings
    local = (settings.home.result(task.address), view.network.models / f"{digest.hex()}.safetensors")
    for path in local:
        if path.exists() and digest_of(path) == digest:
            _place(path, output)
            return
    with tempfile.TemporaryDirectory(dir=view.network.root, prefix="fetch-") as folder:
        await _fetch(session, view, task, digest, Path(folder))
        _place(Path(folder) / "models" / f"{digest.hex()}.safetensors", output)


def _place(source: Path, output: Path) -> None:
    partial = output.with_name(f".{output.name}.partial")
    try:
        shutil.copyfile(source, partial)
        with passing(Boundary.FINAL_WRITE):
            partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)


async def _fetch(session: Session, view: View, task: TaskState, digest: bytes, folder: Path) -> None:
    """Ask every attester of that hash in turn."""
    settings = session.settings
    if view.me is None or view.me != task.requester:
        raise Failure(
            "The model is not in this home.",
            "The attesters sealed it for the requester only; a worker has it in its own home.",
            "Use --home of the requester or of a worker of this task.",
            Exit.USAGE,
        )
    keys = await asyncio.to_thread(encryption_keys, settings)
    chain_id = int(view.network.root.name.partition("-")[0])
    tried = []
    async with open_blobs(settings, view.me) as store:
        exchange = Exchange(
            store, ModelFiles(folder / "models"), lambda: keys, folder / "work", chain_id=chain_id, account=view.me
        )
        size = await _genesis_size(exchange, view, task, settings.policy.max_model_bytes)
        for index, attestation in task.attestations.items():
            if attestation.final_hash != digest:
                continue
            sender = task.member(index).account
            session.note(f"Fetching from {short(sender)} …")
            wanted = FetchModel(task.address, task.params.rounds, 0, sender, digest, attestation.cid, 0, _CONTENT_FINAL)
            try:
                outcome = await exchange.fetch(wanted, size)
            except Transient as error:
                tried.append(f"{short(sender)}: {error}")
                continue
            if not isinstance(outcome, Refused):
                return
            tried.append(f"{short(sender)}: {outcome.reason}")
    raise Failure(
        "The final model could not be brought.",
        "; ".join(tried) + ".",
        "Try again while the attesters' stores are up; they keep it pinned.",
        Exit.STORE,
    )


async def _genesis_size(exchange: Exchange, view: View, task: TaskState, max_bytes: int) -> int:
    """All models of a task are as long as its first."""
    path = view.network.models / f"{task.params.model_hash.hex()}.safetensors"
    if path.exists():
        return path.stat().st_size
    try:
        found = await exchange.read_public(task.model_cid, task.params.model_hash, max_bytes)
    except Transient as error:
        raise Failure(
            "The task's initial model cannot be had.", f"{error}.", "Check store.address.", Exit.STORE
        ) from None
    if isinstance(found, Refused):
        raise Failure(
            "The task's initial model is not what the chain says.", f"{found.reason}.", "Ask the requester.", Exit.STORE
        )
    return found.stat().st_size
