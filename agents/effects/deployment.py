"""Deploying our contracts, and recognising them: the committed artefacts against the code at an address.

Owns linking, the order of deployment and the comparison. Must not keep addresses: the configuration has them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from agents.effects.calldata import artefact, constructor_arguments
from agents.effects.ports import Fatal, Receipt
from bfl_events.commitment import address_bytes, checksum_address
from bfl_events.schema import Address

LIBRARY, IMPLEMENTATION, FACTORY = "Transitions", "FLTask", "FLTaskFactory"

_PROXY_HEAD, _PROXY_TAIL = bytes.fromhex("363d3d373d3d3d363d73"), bytes.fromhex("5af43d82803e903d91602b57fd5bf3")
_WRONG_CHAIN = 14


class Builder(Protocol):
    """Creates contracts once per key; `agents.effects.contracts.ContractChain` fits."""

    async def create(self, key: str, creation_code: bytes) -> tuple[Address, Receipt]: ...


class Reader(Protocol):
    """Reads code; `agents.effects.contracts.ContractChain` fits."""

    async def code(self, address: Address) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Deployment:
    """The three contracts; `gas_used` by name, 0 for those that were found."""

    library: Address
    implementation: Address
    factory: Address
    gas_used: Mapping[str, int]


async def deploy_contracts(chain: Builder, *, series: str = "") -> Deployment:
    """Library, implementation, factory. Killed and started again with the same outbox it goes on where it was; with
    another `series` it deploys anew. Raises as `ContractChain.create`."""
    gas = {}

    async def create(name: str, code: bytes) -> Address:
        digest = hashlib.sha256(code).hexdigest()[:16]
        address, receipt = await chain.create(":".join(("deploy", name, digest, *filter(None, [series]))), code)
        gas[name] = receipt.gas_used
        return address

    library = await create(LIBRARY, _linked(LIBRARY, "bytecode", {}))
    implementation = await create(IMPLEMENTATION, _linked(IMPLEMENTATION, "bytecode", {LIBRARY: library}))
    arguments = constructor_arguments(FACTORY, (implementation,))
    factory = await create(FACTORY, _linked(FACTORY, "bytecode", {}) + arguments)
    return Deployment(library, implementation, factory, gas)


async def check_factory(chain: Reader, factory: Address) -> Deployment:
    """That the code at an address, and all that it relies on, is what this version was built with.

    Raises Fatal (exit 14) if there is no contract, or another one, or another version of it; else what `code` raises.
    """
    implementation = _only(await _recognised(chain, FACTORY, factory), FACTORY, factory)
    code = await _recognised(chain, IMPLEMENTATION, implementation)
    library = _address_at(code, _links(IMPLEMENTATION, "deployedLinkReferences")[0])
    if _only(await _recognised(chain, LIBRARY, library), LIBRARY, library) != library:
        raise _other(LIBRARY, library)
    return Deployment(library, implementation, factory, {})


async def check_task(chain: Reader, task: Address, implementation: Address) -> None:
    """That a task is a clone of this implementation. Raises as `check_factory`."""
    code = await chain.code(task)
    if not code:
        raise _nothing("task", task)
    if code != _PROXY_HEAD + address_bytes(implementation) + _PROXY_TAIL:
        raise _other("task", task)


async def _recognised(chain: Reader, name: str, address: Address) -> bytes:
    code = await chain.code(address)
    if not code:
        raise _nothing(name, address)
    expected = bytes.fromhex(artefact(name)["deployedBytecode"][2:])
    if _masked(code, name) != _masked(expected, name):
        raise _other(name, address)
    return code


def _masked(code: bytes, name: str) -> bytes:
    """Code with everything zeroed that is only known once it is deployed."""
    blank = bytearray(code)
    for reference in (*_links(name, "deployedLinkReferences"), *artefact(name)["immutableReferences"]):
        start, length = reference["start"], reference["length"]
        blank[start : start + length] = bytes(length)
    return bytes(blank)


def _only(code: bytes, name: str, address: Address) -> Address:
    """The one address that all immutables of this code hold."""
    found = {code[r["start"] : r["start"] + r["length"]] for r in artefact(name)["immutableReferences"]}
    if len(found) != 1:
        raise _other(name, address)
    return checksum_address(found.pop()[-20:])


def _address_at(code: bytes, reference: Mapping[str, int]) -> Address:
    return checksum_address(code[reference["start"] : reference["start"] + reference["length"]])


def _links(name: str, field: str) -> list[Mapping[str, int]]:
    return [place for names in artefact(name)[field].values() for places in names.values() for place in places]


def _linked(name: str, field: str, libraries: Mapping[str, Address]) -> bytes:
    content: Mapping[str, Any] = artefact(name)
    code = bytearray.fromhex(content[field][2:])
    for names in content["linkReferences"].values():
        for library, places in names.items():
            for place in places:
                code[place["start"] : place["start"] + place["length"]] = address_bytes(libraries[library])
    return bytes(code)


def _nothing(name: str, address: Address) -> Fatal:
    return Fatal(f"there is no contract at {address} ({name}): check chain.factory, chain.rpc and chain.chain_id, or"
                 " deploy with `bfl-agent contracts deploy`", exit_code=_WRONG_CHAIN)


def _other(name: str, address: Address) -> Fatal:
    return Fatal(f"the contract at {address} is not the {name} that this version of bfl-agent was built with: another"
                 " contract, or another version. Correct chain.factory, or use the bfl-agent that deployed it",
                 exit_code=_WRONG_CHAIN)
