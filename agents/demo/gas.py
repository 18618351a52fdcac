"""What the transactions cost, per function of the contracts, read from the chain's receipts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from bfl_events.keccak import keccak256
from bfl_events.rpc import Rpc


@dataclass(slots=True)
class Cost:
    """Of one function: gas of each call that succeeded, and how many reverted."""

    used: list[int] = field(default_factory=list)
    reverted: int = 0

    def document(self) -> dict[str, int]:
        calls = len(self.used)
        return {"calls": calls, "mean": round(sum(self.used) / calls) if calls else 0, "max": max(self.used, default=0),
                "reverted": self.reverted}


class GasMeter:
    """Adds up block by block; `update` reads what is new. Not safe against reorgs: take a new one to count again."""

    def __init__(self) -> None:
        self.costs: dict[str, Cost] = {}
        self.total = 0
        self._next = 0

    async def update(self, rpc: Rpc) -> None:
        """Read up to the newest block. Raises RpcError."""
        head = int(await rpc.call("eth_blockNumber"), 16)
        while self._next <= head:
            block = await rpc.call("eth_getBlockByNumber", hex(self._next), True)
            if block["transactions"]:
                receipts = await rpc.call("eth_getBlockReceipts", hex(self._next))
                for transaction, receipt in zip(block["transactions"], receipts, strict=True):
                    self._add(transaction, receipt)
            self._next += 1

    def document(self) -> dict[str, dict[str, int]]:
        return {name: self.costs[name].document() for name in sorted(self.costs)}

    def _add(self, transaction: Mapping[str, Any], receipt: Mapping[str, Any]) -> None:
        gas = int(receipt["gasUsed"], 16)
        self.total += gas
        cost = self.costs.setdefault(function_of(transaction), Cost())
        if int(receipt["status"], 16):
            cost.used.append(gas)
        else:
            cost.reverted += 1


def function_of(transaction: Mapping[str, Any]) -> str:
    """The contract function that a transaction calls; `deploy`, `transfer`, or the selector of a stranger's."""
    data = str(transaction.get("input") or transaction.get("data") or "0x")
    if transaction.get("to") is None:
        return "deploy"
    return "transfer" if len(data) < 10 else functions().get(data[:10], data[:10])


@cache
def functions() -> Mapping[str, str]:
    """Selector -> name, from the installed ABI."""
    return {"0x" + keccak256(f"{entry['name']}({','.join(_types(entry['inputs']))})".encode())[:4].hex(): entry["name"]
            for entry in _entries() if entry["type"] == "function"}


def _entries() -> Iterator[Mapping[str, Any]]:
    for name in ("FLTask.json", "FLTaskFactory.json"):
        yield from json.loads((resources.files("bfl_events.abi") / name).read_text("utf-8"))["abi"]


def _types(parameters: list[dict[str, Any]]) -> Iterator[str]:
    for parameter in parameters:
        kind = str(parameter["type"])
        if kind.startswith("tuple"):
            yield f"({','.join(_types(parameter['components']))}){kind.removeprefix('tuple')}"
        else:
            yield kind
