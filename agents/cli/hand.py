"""Sends transactions for one command, exactly once per key, as the agent itself would: same outbox, same lock.

Owns taking the account for the time of the command. Must not decide what is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from eth_account import Account
from filelock import FileLock, Timeout

from agents.cli.exits import Exit
from agents.cli.failures import Failure
from agents.cli.reach import open_rpc
from agents.cli.session import Session
from agents.crypto.accounts import load_account
from agents.effects.contracts import ContractChain
from agents.effects.fees import FeePolicy
from agents.effects.outbox import Outbox, Report
from agents.effects.ports import Call, Receipt
from agents.effects.signer import AccountSigner
from agents.effects.wall_clock import WallClock
from agents.home import NetworkHome
from agents.identity import choose, password
from bfl_events.rpc import Rpc
from bfl_events.schema import Address

_TOLD = {
    "funds": "The account holds too little; waiting for ether …",
    "unavailable": "The chain does not answer; trying again …",
    "capped": "The base fee is above chain.max_fee_gwei; waiting …",
    "replaced": "Passed over; offering a higher fee …",
}


@dataclass(frozen=True, slots=True)
class Hand:
    """An unlocked account on a chain."""

    chain: ContractChain
    rpc: Rpc
    chain_id: int
    address: Address
    network: NetworkHome

    async def send(self, key: str, call: Call) -> Receipt:
        """Mined once for this key. Raises Rejected, Transient, Fatal."""
        return await self.chain.send(key, call)


@asynccontextmanager
async def open_hand(session: Session) -> AsyncIterator[Hand]:
    """Take the account's lock, open its key and its outbox.

    Raises Failure (exit 12) while an agent runs, SettingsError, KeystoreError.
    """
    settings = session.settings
    identity = choose(settings.home, settings.account.address)
    secret = password(settings.home, settings.account)
    async with AsyncExitStack() as stack:
        rpc = await stack.enter_async_context(open_rpc(settings))
        chain_id = int(await rpc.call("eth_chainId"), 16)
        network = settings.home.network(chain_id, settings.chain.factory or identity.address).create()
        _lock(stack, network)
        key = await asyncio.to_thread(load_account, settings.home.keystore, bytes.fromhex(identity.address[2:]), secret)
        cap = settings.chain.max_fee_gwei
        outbox = Outbox(
            rpc,
            AccountSigner(Account.from_key(key)),
            network.outbox,
            chain_id=chain_id,
            clock=WallClock(),
            fees=FeePolicy() if cap is None else FeePolicy(float(cap)),
            report=_reporter(session),
        )
        await stack.enter_async_context(outbox)
        yield Hand(ContractChain(rpc, outbox), rpc, chain_id, identity.address, network)


def _lock(stack: AsyncExitStack, network: NetworkHome) -> None:
    try:
        stack.enter_context(FileLock(network.lock, timeout=0))
    except Timeout:
        raise Failure(
            "An agent is running for this account.",
            f"It holds {network.lock}; two writers would fight over nonces.",
            "Stop it first (SIGTERM loses nothing), or let it do this.",
            Exit.LOCKED,
        ) from None


def _reporter(session: Session) -> Report:
    said: set[str] = set()

    def report(event: str, _: Mapping[str, object]) -> None:
        if event in _TOLD and event not in said:
            said.add(event)
            session.note(_TOLD[event])

    return report
