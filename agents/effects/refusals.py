"""What a node means when it refuses a signed transaction.

Owns the words that geth, anvil, Besu, Nethermind and Erigon use. A refusal never decides whether a transaction is
mined, only a receipt does: "nonce too low" is also said of the identical, mined transaction (FACTS 3.2).
"""

from __future__ import annotations

from enum import Enum


class Refusal(Enum):
    """KNOWN: it has these very bytes. USED: the nonce is mined. OUTBID: a better paid version of ours is pooled.
    FEE: pays too little now. FUNDS: the account cannot pay. NEVER: no node will ever mine it. LATER: anything else."""

    KNOWN = "known"
    USED = "nonce used"
    OUTBID = "outbid"
    FEE = "fee too low"
    FUNDS = "insufficient funds"
    NEVER = "never valid"
    LATER = "not now"


_WORDS = (
    (Refusal.KNOWN, ("already known", "already imported", "alreadyknown", "known transaction", "already exists")),
    (Refusal.USED, ("nonce too low", "oldnonce", "nonce is too low")),
    (Refusal.OUTBID, (
        "replacement transaction underpriced", "replacement underpriced", "replacementnotallowed", "could not replace",
    )),
    (Refusal.FUNDS, ("insufficient funds", "upfront cost exceeds", "insufficientfunds", "not enough balance")),
    (Refusal.FEE, (
        "max fee per gas less than", "underpriced", "feetoolow", "fee cap less than", "below current minimum",
        "gas price below",
    )),
    (Refusal.NEVER, (
        "intrinsic gas", "exceeds block gas limit", "exceeds the block", "gas limit too high", "transaction gas limit",
        "exceeds max transaction gas", "oversized data", "max initcode size", "invalid sender", "invalid signature",
        "invalid chain id", "exceeds the configured cap", "tip above fee cap", "max priority fee per gas higher",
        "transaction type not supported",
    )),
)


def meaning(message: str) -> Refusal:
    """The first row of the table that has a word of this message."""
    text = message.lower()
    for refusal, words in _WORDS:
        if any(word in text for word in words):
            return refusal
    return Refusal.LATER
