"""Our contracts behind the `Chain` port: calls through the outbox, typed reads, refusals as `Rejected` by name.

Owns what is specific to a contract call: its gas, its revert reason, that there is a contract at all. Must not keep
nonces (the outbox does) or decide what is due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import astuple, dataclass
from typing import Any, TypeVar

from agents.effects.calldata import decode_answer, encode_call
from agents.effects.gas import with_margin
from agents.effects.node import Node, RpcCaller
from agents.effects.outbox import Outbox, Reverted
from agents.effects.ports import Call, Receipt, Rejected, Transient
from agents.effects.refused_calls import explain, poor
from agents.effects.settling import InsufficientFunds
from agents.effects.slots import Payload
from bfl_events.commitment import Creation
from bfl_events.rpc import RpcRefused
from bfl_events.schema import Address

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class CreatedTask:
    """`receipt` is None if the very same task was there before."""

    address: Address
    receipt: Receipt | None


class ContractChain:
    """`agents.effects.ports.Chain` for one account. `rpc` is the one the outbox was given."""

    def __init__(self, rpc: RpcCaller, outbox: Outbox) -> None:
        self._outbox = outbox
        self._node = Node(rpc, outbox.account)

    # ---- the port

    async def send(self, key: str, call: Call) -> Receipt:
        """Once per key. Raises Rejected with the contract's error (before sending, or after a mined revert, when the
        key is free again), Transient, Fatal. An unfunded account is Transient (`InsufficientFunds`)."""

        async def prepare() -> Payload:
            data = encode_call(call.function, call.arguments)
            fields = self._fields(call.to, data, call.value)
            code, gas = await asyncio.gather(self._node.code(call.to), self._gas(fields, call.gas))
            if not code:
                raise Transient(f"there is no contract at {call.to} on this fork; {call.function} is not sent")
            return Payload(call.to, data, call.value, gas)

        try:
            return await self._outbox.send(key, prepare)
        except Reverted as reverted:
            data = encode_call(call.function, call.arguments)
            fields = self._fields(call.to, data, call.value)
            raise await self._reason(fields, reverted.receipt) from reverted

    async def abandon(self, key: str) -> None:
        """Nobody wants this any more: if it stays unmined, its nonce is used up by a self-transfer."""
        await self._outbox.abandon(key)

    def afloat(self, key: str) -> bool:
        """Signed, and given to a node: it goes on without this process."""
        return self._outbox.afloat(key)

    async def balance(self, account: Address) -> int:
        """Wei at the latest block."""
        return await _asked(self._node.balance(account))

    # ---- reads

    async def read(self, to: Address, function: str, *arguments: Any) -> Any:
        """A view's answer, as `calldata.decode_answer` has it. Raises Rejected (also `NoContract`), Transient."""
        request = {"to": to, "data": _hex(encode_call(function, arguments))}
        answer = await _asked(self._node.view(request))
        if not answer:
            raise Rejected("NoContract", (to,))
        try:
            return decode_answer(function, answer)
        except ValueError as error:
            raise Rejected("NotOurContract", (to, str(error))) from error

    async def code(self, address: Address) -> bytes:
        """The code at an address, at the latest block; empty where there is no contract."""
        return await _asked(self._node.code(address))

    # ---- creating

    async def create(self, key: str, creation_code: bytes) -> tuple[Address, Receipt]:
        """Deploy code, once per key. Raises as `send`."""

        async def prepare() -> Payload:
            return Payload(None, creation_code, 0, await self._gas(self._fields(None, creation_code, 0), None))

        try:
            receipt = await self._outbox.send(key, prepare)
        except Reverted as reverted:
            raise await self._reason(self._fields(None, creation_code, 0), reverted.receipt) from reverted
        return await _asked(self._node.created(receipt.tx)), receipt

    async def predict_task(self, factory: Address, creation: Creation) -> Address:
        """Where the factory puts the task with exactly these terms."""
        terms = (creation.requester, creation.nonce, *_terms(creation), creation.reward)
        address: Address = await self.read(factory, "predictTask", *terms)
        return address

    async def create_task(self, factory: Address, creation: Creation) -> CreatedTask:
        """Create it from this account, once for the same terms and nonce. Raises Rejected (`BadParams` names the
        field), Transient; ValueError if the terms name another requester."""
        if creation.requester != self._outbox.account:
            raise ValueError(f"the task's requester is {creation.requester}, this account is {self._outbox.account}")
        address = await self.predict_task(factory, creation)
        if await self.code(address):
            return CreatedTask(address, None)
        call = Call(factory, "createTask", (creation.nonce, *_terms(creation)), creation.reward)
        try:
            return CreatedTask(address, await self.send(f"create:{address}", call))
        except Rejected as rejected:
            if rejected.error == "TaskExists":
                return CreatedTask(address, None)
            raise

    # ---- gas and reasons

    def _fields(self, to: Address | None, data: bytes, value: int) -> dict[str, str]:
        target = {} if to is None else {"to": to}
        return {"from": self._outbox.account, "data": _hex(data), "value": hex(value), **target}

    async def _gas(self, fields: dict[str, str], fixed: int | None) -> int:
        if fixed is not None:
            return fixed
        try:
            return with_margin(await self._node.estimate(fields))
        except RpcRefused as refused:
            if poor(refused):
                raise InsufficientFunds(
                    f"account {self._outbox.account} cannot pay for its next transaction ({refused.message}):"
                    " send it ether; the transaction is tried again by itself") from refused
            raise explain(refused) from refused

    async def _reason(self, fields: dict[str, str], receipt: Receipt) -> Rejected:
        """Why it reverted: the same call on the state before its block, then on the state of its block (FACTS 3.3)."""
        for block in (receipt.block - 1, receipt.block):
            try:
                await self._node.view(fields, block)
            except RpcRefused as refused:
                reason = explain(refused)
                if isinstance(reason, Rejected):
                    return reason
            except Transient:
                break
        return Rejected("Reverted", (f"in block {receipt.block}, reason not to be found",))


async def _asked(question: Awaitable[_T]) -> _T:
    try:
        return await question
    except RpcRefused as refused:
        raise explain(refused) from refused


def _terms(creation: Creation) -> tuple[Any, ...]:
    return (astuple(creation.params), creation.spec_cid, creation.model_cid, creation.requester_key)


def _hex(data: bytes) -> str:
    return "0x" + data.hex()
