"""How a trace shows what happens. Owns words only."""

from __future__ import annotations

from typing import Any

from tests.simulation.ledger import Mined
from tests.simulation.transactions import model_call


def told_detail(detail: Any) -> str:
    """What an agent reported: an intent with its outcome or error, the outbox's fields, or anything."""
    match detail:
        case (intent, error) if hasattr(intent, "key"):
            return f"{_short(intent.key)} {'' if error is None else repr(error)[:160]}".rstrip()
        case dict():
            return " ".join(f"{name}={_short(str(value))[:70]}" for name, value in detail.items())
        case _:
            return str(detail)


def told_tx(mined: Mined) -> str:
    """Who called what, and the error if it reverted."""
    tx = mined.tx
    name = model_call(tx.data)[0] if tx.data else "void"
    return f"{tx.sender[2:6]}:{tx.nonce} {name}" + (f" !{type(mined.error).__name__}" if mined.error else "")


def _short(key: str) -> str:
    """Long hexadecimal parts cut to their beginning."""
    return ":".join(part if len(part) < 12 else part[:8] for part in key.split(":"))
