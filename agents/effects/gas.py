"""Fixed gas limits of calls that a deadline makes possible (PROTOCOL 2.6): the node's estimate would say NothingDue.

Owns the table. Measured in contracts/snapshots (second round, nobody at fault): 168k at 3 seats, 199k at 5, 776k at 30,
7.34M at 126. The limits leave room for the same round with penalties, removals and a deadline's work for every seat.
"""

from __future__ import annotations

TRANSACTION_CAP = 1 << 24      # no transaction may ask for more (EIP-7825)

_LIMITS = ((5, 1_200_000), (16, 2_500_000), (30, 4_500_000), (62, 9_000_000), (126, TRANSACTION_CAP))


def deadline_gas(seats: int) -> int:
    """A limit for `nextRound`, `startTask` and `completeTask` with so many seats taken. What is unused is not paid."""
    return next((limit for most, limit in _LIMITS if seats <= most), TRANSACTION_CAP)


def with_margin(estimate: int) -> int:
    """30 % above an estimate: the state may move between the estimate and the block (FACTS 3.2)."""
    return max(estimate, min(estimate * 13 // 10, TRANSACTION_CAP))
