"""Prices: what a transaction offers for its gas, and by how much an offer rises when it is passed over.

Owns arithmetic and the operator's limit. Asks nobody and sends nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

GWEI = 10**9


@dataclass(frozen=True, slots=True)
class Fee:
    """An EIP-1559 offer, in wei per gas."""

    max_fee: int
    tip: int

    def bumped(self) -> Fee:
        """Both fields 25 % higher, at least one wei: geth replaces from +10 %, anvil from +5 % (FACTS 3.2)."""
        return Fee(max(self.max_fee * 5 // 4, self.max_fee + 1), max(self.tip * 5 // 4, self.tip + 1))


@dataclass(frozen=True, slots=True)
class FeePolicy:
    """The operator's limits. `tip_gwei` None: what the node suggests. `max_fee_gwei` caps every offer, also bumps."""

    max_fee_gwei: float = 500.0
    tip_gwei: float | None = None

    @property
    def cap(self) -> int:
        """Wei per gas."""
        return int(self.max_fee_gwei * GWEI)

    @property
    def tip(self) -> int | None:
        """Wei per gas, None when the node is to be asked."""
        return None if self.tip_gwei is None else int(self.tip_gwei * GWEI)

    def offer(self, base_fee: int, tip: int) -> Fee | None:
        """Room for the base fee to double; None when the cap does not even cover the next block's base fee."""
        tip = min(tip, self.cap)
        if _next_base(base_fee) + tip > self.cap:
            return None
        return Fee(min(2 * base_fee + tip, self.cap), tip)

    def replacement(self, last: Fee, base_fee: int, tip: int) -> Fee | None:
        """An offer that a node takes in place of `last`; None when the cap forbids one."""
        least = last.bumped()
        wanted = Fee(max(least.max_fee, 2 * base_fee + max(least.tip, tip)), max(least.tip, tip))
        if least.max_fee > self.cap:
            return None
        return Fee(min(wanted.max_fee, self.cap), min(wanted.tip, self.cap))


def outpriced(fee: Fee, base_fee: int) -> bool:
    """The next block's base fee (at most 1/8 higher) may exceed this offer."""
    return _next_base(base_fee) > fee.max_fee


def _next_base(base_fee: int) -> int:
    return base_fee * 9 // 8
