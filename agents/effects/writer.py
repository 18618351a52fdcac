"""Writes signed versions of a slot: the price it offers, the fields, the signature.

Owns how a transaction is put together. Must not store or send anything.
"""

from __future__ import annotations

from typing import Any

from agents.effects.fees import GWEI, Fee, FeePolicy
from agents.effects.node import Head, Node
from agents.effects.ports import Clock, Transient
from agents.effects.signer import Signer
from agents.effects.slots import VOID_GAS, Attempt, Payload, Slot
from bfl_events.boundaries import Boundary, passing
from bfl_events.schema import Address


class Writer:
    """For one account on one chain, within the operator's limits."""

    def __init__(self, node: Node, signer: Signer, clock: Clock, fees: FeePolicy, chain_id: int) -> None:
        self._node, self._signer, self._clock, self._fees = node, signer, clock, fees
        self.chain_id = chain_id

    @property
    def account(self) -> Address:
        return self._signer.address

    async def offer(self, head: Head) -> Fee:
        """Raises Transient while the base fee is above the operator's limit."""
        fee = self._fees.offer(head.base_fee, await self._tip(head))
        if fee is None:
            raise Transient(f"the base fee is {head.base_fee / GWEI:.3g} gwei, above the limit of"
                            f" {self._fees.max_fee_gwei:g} gwei (chain.max_fee_gwei); waiting for it to fall")
        return fee

    async def better(self, slot: Slot, head: Head, *, void: bool) -> Attempt | None:
        """The same nonce for 25 % more: the same call, or nothing but the nonce (`void`). None above the limit."""
        fee = self._fees.replacement(slot.last.fee, head.base_fee, await self._tip(head))
        if fee is None:
            return None
        return self.void(slot.nonce, fee, head) if void else self.call(slot.nonce, slot.payload, fee, head)

    def call(self, nonce: int, payload: Payload, fee: Fee, head: Head) -> Attempt:
        """What the intent asks for."""
        target = {} if payload.to is None else {"to": payload.to}
        fields = {"value": payload.value, "data": payload.data, "gas": payload.gas, **target}
        return self._sign(nonce, fields, fee, head, void=False)

    def void(self, nonce: int, fee: Fee, head: Head) -> Attempt:
        """A self-transfer of nothing: never skip a nonce (PROTOCOL 2.6)."""
        return self._sign(nonce, {"to": self.account, "value": 0, "data": b"", "gas": VOID_GAS}, fee, head, void=True)

    def _sign(self, nonce: int, fields: dict[str, Any], fee: Fee, head: Head, *, void: bool) -> Attempt:
        envelope = {"type": 2, "chainId": self.chain_id, "nonce": nonce, "accessList": [],
                    "maxFeePerGas": fee.max_fee, "maxPriorityFeePerGas": min(fee.tip, fee.max_fee)}
        with passing(Boundary.TX_SIGN):
            signed = self._signer.sign(envelope | fields)
        return Attempt(signed.hash, signed.raw, fee, void, self._clock.time(), head.number)

    async def _tip(self, head: Head) -> int:
        return self._fees.tip if self._fees.tip is not None else await self._node.tip(head.number)
