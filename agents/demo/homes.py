"""The participants' homes: an account, a password and a configuration each, as an operator would make them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from agents.crypto.accounts import new_account
from agents.crypto.keystore import LIGHT_SCRYPT
from agents.crypto.privatefile import write_private
from agents.demo.plan import REQUESTER, Plan
from agents.home import Home
from agents.notation import checksum_address
from bfl_events.schema import Address


@dataclass(frozen=True, slots=True)
class Participant:
    """One agent of the demo. `attack` is None for the honest."""

    name: str
    role: str
    home: Home
    address: Address
    attack: str | None = None


def make_homes(plan: Plan, rpc: str, chain_id: int) -> tuple[Participant, ...]:
    """The requester's home first, then the workers'. Raises OSError, SettingsError."""
    names = (REQUESTER, *plan.worker_names)
    addresses = {name: _account(plan.home(name)) for name in names}
    for name in names:
        write_private(plan.home(name).config, plan.configuration(name, rpc, chain_id, addresses).encode())
    return tuple(Participant(name, plan.role(name), plan.home(name), addresses[name], plan.attack_of(name))
                 for name in names)


def _account(home: Home) -> Address:
    home.create()
    password = secrets.token_urlsafe(24)
    write_private(home.password, f"{password}\n".encode())
    # Cheap to open: the chain that the account lives on is gone in a minute.
    made = new_account(home.keystore, password, created=datetime.now(UTC), scrypt_n=LIGHT_SCRYPT)
    return checksum_address(f"0x{made.address.hex()}")
