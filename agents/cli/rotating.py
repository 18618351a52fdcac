"""`bfl-agent keys rotate`: a new RSA key, stored before anybody hears of it. Old private keys stay where they are."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from agents.cli.hand import open_hand
from agents.cli.session import Session
from agents.cli.view import look
from agents.control import Operation, ask, is_live
from agents.crypto.keys import generate_encryption_key, key_id, public_der, save_encryption_key
from agents.effects.ports import Call
from agents.identity import password


async def rotate(session: Session) -> None:
    """A new RSA key, stored first, then announced in every task that still runs."""
    if is_live(session.home.control_socket):
        answer = ask(session.home.control_socket, Operation.ROTATE, timeout_s=120)
        session.show({"asked": True, **answer}, ["The running agent makes a new key and announces it."])
        return
    secret = password(session.home, session.settings.account)
    key = await asyncio.to_thread(generate_encryption_key)
    path = await asyncio.to_thread(
        save_encryption_key, session.home.encryption_keys, key, secret, created=datetime.now(UTC)
    )
    der = public_der(key)
    told = []
    tasks = (
        [] if session.settings.chain.factory is None else [t for t in (await look(session)).mine if not t.phase.ended]
    )
    if tasks:
        async with open_hand(session) as hand:
            for task in tasks:
                await hand.send(f"rotate:{task.address}:{key_id(der).hex()}", Call(task.address, "rotateKey", (der,)))
                told.append(task.address)
    session.show(
        {"key_id": key_id(der).hex(), "path": str(path), "announced": told},
        [f"key {key_id(der).hex()[:16]}  {path}", *(f"announced in {address}" for address in told)],
    )
