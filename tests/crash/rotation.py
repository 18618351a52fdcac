"""An operator who asks a running agent for a new encryption key, again and again, while it dies of asking.

Owns the asking and what came of it. The moment must be one in which the agent sends nothing else.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress

from agents.control import ControlError, Operation, ask
from agents.crypto.keys import key_id
from agents.storage.cid import to_text
from bfl_events import schema as ev
from tests.crash.backups import Staging
from tests.crash.stage import Stage
from tests.crash.verdict import records


def rotate(made: Staging, name: str, failpoints: Sequence[str]) -> None:
    """Until it has died of all of them and the chain has a new key. Whoever was told that the agent broke off asks
    again, unless something is signed already: that goes its way without being asked for."""
    made.kill(name)
    made.company.start(name, failpoints, made.environment)
    member = made.company.members[name]

    def ask_again() -> None:
        if not _signed(made.stage, name):
            with suppress(ControlError):
                ask(made.stage.home(name).control_socket, Operation.ROTATE)

    made.company.until(lambda: not member.armed and rotations(made.stage, name), f"{name} had a new key", ask_again)


def rotations(stage: Stage, name: str) -> list[ev.KeyRotated]:
    """That the chain has seen."""
    events = (record.event for record in records(stage))
    return [event for event in events if isinstance(event, ev.KeyRotated) and event.who == stage.addresses[name]]


def check_models(stage: Stage, name: str, round: int) -> None:
    """One new key: what this round's models are sealed to is still the first one, the next round's is the new one."""
    (rotated,) = rotations(stage, name)
    assert rotated.effective_round == round + 1
    events = [record.event for record in records(stage)]
    (first,) = (event.enc_key for event in events
                if isinstance(event, ev.WorkerJoined) and event.worker == stage.addresses[name])
    for key, its_round in ((first, round), (rotated.enc_key, round + 1)):
        cids = [event.cid for event in events if isinstance(event, ev.ModelSubmitted) and event.round == its_round]
        assert {_sealed_to(stage, cid, (first, rotated.enc_key)) for cid in cids} == {key}


def check_final(stage: Stage, name: str) -> None:
    """What the requester has received was sealed to its one new key."""
    (rotated,) = rotations(stage, name)
    cids = [event.cid for event in (record.event for record in records(stage)) if isinstance(event, ev.FinalAttested)]
    assert {_sealed_to(stage, cid, (rotated.enc_key,)) for cid in cids if cid} == {rotated.enc_key}


def _sealed_to(stage: Stage, cid: bytes, keys: Sequence[bytes]) -> bytes | None:
    """Which one of these, by the ids in the envelope's header."""
    envelope = next((stage.directory / "blobs" / "pins").glob(f"*/{to_text(cid)}")).read_bytes()
    found = [key for key in keys if key_id(key) in envelope]
    return found[0] if len(found) == 1 else None


def _signed(stage: Stage, name: str) -> bool:
    with closing(sqlite3.connect(stage.network(name).outbox)) as database:
        return bool(database.execute("SELECT count(*) FROM slot WHERE key LIKE 'rotate:%'").fetchone()[0])
