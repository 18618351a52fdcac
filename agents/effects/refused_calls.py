"""What a node's refusal of an estimate or a read means: the contract's error, an empty purse, or nothing yet.

Owns the reading of JSON-RPC errors about calls. Sends nothing.
"""

from __future__ import annotations

import re
from typing import Any

from agents.effects.calldata import decode_error
from agents.effects.ports import Rejected, Transient
from bfl_events.rpc import RpcRefused

_HEX = re.compile(r"0x(?:[0-9a-fA-F]{2}){4,}")
_POOR = ("insufficient funds", "exceeds allowance", "upfront cost", "insufficientfunds", "not enough balance",
         "exceeds transaction sender account balance")
_PASSING = ("missing trie node", "header not found", "pruned", "historical state", "state not available", "timeout",
            "timed out", "busy", "resource not found", "block not found", "unknown block", "not available")


def poor(refused: RpcRefused) -> bool:
    """The account could not pay for the call."""
    text = refused.message.lower()
    return revert_data(refused) is None and any(words in text for words in _POOR)


def explain(refused: RpcRefused) -> Rejected | Transient:
    """The exception to raise for a call that a node refused to run."""
    data, text = revert_data(refused), refused.message.lower()
    if data is not None:
        return Rejected(*decode_error(data))
    if any(words in text for words in _PASSING):
        return Transient(f"the node cannot say yet: {refused.message}")
    if "revert" in text or "invalid opcode" in text or "out of gas" in text:
        return Rejected("Reverted", (refused.message,))
    return Transient(f"the node refused a call ({refused.code}): {refused.message}")


def revert_data(refused: RpcRefused) -> bytes | None:
    """The returned error bytes, wherever this node puts them; None if the call did not revert with any."""
    return _find(refused.data) if refused.data is not None else None


def _find(data: Any) -> bytes | None:
    match data:
        case str():
            found = _HEX.search(data)
            return bytes.fromhex(found[0][2:]) if found else None
        case dict():
            return next((hit for name in ("data", "result", "originalError", "output") if name in data
                         and (hit := _find(data[name])) is not None), None)
        case _:
            return None
