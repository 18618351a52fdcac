"""A real chain for tests: anvil as a child process, the contracts deployed on it, and calls from its unlocked accounts.

`start_anvil(tmp_path)` is a context manager; `deploy(url)` returns the addresses; both are synchronous. Skips the
test, with the reason, where anvil is not installed.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import decode, encode

from bfl_events.commitment import checksum_address
from bfl_events.keccak import keccak256

BINARY = Path(__file__).resolve().parents[1] / "contracts/node_modules/.bin/anvil"
ACCOUNTS = (
    "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC", "0x90F79bf6EB2c4f870365E785982E1f101E93b906",
    "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65", "0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc",
    "0x976EA74026E726554dB657fA54763abd0C3a0aa9", "0x14dC79964da2C08b23698B3D3cc7Ca32193d9955",
    "0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f", "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720",
)
"""anvil's ten unlocked development accounts, 10,000 ether each."""


class NodeError(Exception):
    """The node refused a call; `data` holds the contract's error."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(f"{error.get('message')} {error.get('data', '')}")
        self.data = error.get("data")


def rpc(url: str, method: str, *params: Any, timeout_s: float = 10.0) -> Any:
    """One JSON-RPC call, blocking. Raises NodeError, or OSError if the node does not answer."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=timeout_s) as response:
        answer = json.loads(response.read())
    if "error" in answer:
        raise NodeError(answer["error"])
    return answer["result"]


@dataclass
class Anvil:
    """A running anvil. `flags` are its own, with underscores: block_time=1, state=path, mixed_mining=True."""

    directory: Path
    flags: Mapping[str, object]
    port: int = 0
    process: subprocess.Popen[str] | None = None
    output: list[str] = field(default_factory=list)
    drain: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def rpc(self, method: str, *params: Any, timeout_s: float = 10.0) -> Any:
        return rpc(self.url, method, *params, timeout_s=timeout_s)

    def transactions(self, sender: str | None = None) -> Iterator[dict[str, Any]]:
        """All that were mined, or those of one account, in the chain's order."""
        for number in range(int(self.rpc("eth_blockNumber"), 16) + 1):
            for tx in self.rpc("eth_getBlockByNumber", hex(number), True)["transactions"]:
                if sender is None or tx["from"].lower() == sender.lower():
                    yield tx

    def burnt_for_gas(self, account: str) -> int:
        """What all transactions of an account have cost in wei, from their receipts."""
        receipts = (self.rpc("eth_getTransactionReceipt", tx["hash"]) for tx in self.transactions(account))
        return sum(int(one["gasUsed"], 16) * int(one["effectiveGasPrice"], 16) for one in receipts)

    def start(self) -> None:
        """Start it, again on the same port if it ran before, and wait until it listens."""
        flags = {"host": "127.0.0.1", "port": self.port, "prune_history": 256, **self.flags}
        arguments = [str(BINARY)]
        for name, value in flags.items():
            if value is not False:
                arguments += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
        self.process = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.directory,
            preexec_fn=_die_with_parent,  # noqa: PLW1509  # no other thread forks here
            env={**os.environ, "HOME": str(self.directory)},
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            if line.startswith("Listening on "):
                self.port = int(line.rsplit(":", 1)[1])
                break
        else:
            raise RuntimeError(f"anvil ended: {''.join(self.output[-20:])}")
        self.drain = threading.Thread(target=_drain, args=(self.process.stdout,), daemon=True)
        self.drain.start()

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM: with --state it writes its chain to disk."""
        self._end(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            self.process.wait(20)
            if self.drain is not None:
                self.drain.join(5)
        self.process = None


@contextmanager
def start_anvil(directory: Path, **flags: object) -> Iterator[Anvil]:
    """A fresh anvil on a free loopback port, gone afterwards, also if the test process is killed."""
    if not BINARY.exists():
        pytest.skip(f"anvil is not installed: {BINARY} is missing (npm ci in contracts/)")
    anvil = Anvil(directory, flags)
    anvil.start()
    try:
        yield anvil
    finally:
        anvil.kill()


@dataclass(frozen=True)
class Deployment:
    """Addresses of the contracts, and the block in which the factory was created."""

    factory: str
    implementation: str
    transitions: str
    block: int


def deploy(url: str, sender: str = ACCOUNTS[0]) -> Deployment:
    """The library, the implementation and the factory from `bfl_events/abi`, linked and deployed."""
    transitions = _create(url, sender, _linked("Transitions", {}))["contractAddress"]
    implementation = _create(url, sender, _linked("FLTask", {"Transitions": transitions}))["contractAddress"]
    argument = encode(["address"], [implementation]).hex()
    receipt = _create(url, sender, _linked("FLTaskFactory", {}) + argument)
    return Deployment(_checksum(receipt["contractAddress"]), _checksum(implementation), _checksum(transitions),
                      int(receipt["blockNumber"], 16))


@dataclass
class Contract:
    """Calls by function name, from an unlocked account. `tuple` parameters are given as sequences."""

    url: str
    address: str
    name: str

    def send(self, function: str, *arguments: Any, sender: str = ACCOUNTS[0], value: int = 0) -> dict[str, Any]:
        """Send a transaction and wait for its receipt. Raises NodeError if it reverts."""
        return self.settle(self.post(function, *arguments, sender=sender, value=value))

    def post(self, function: str, *arguments: Any, sender: str = ACCOUNTS[0], value: int = 0, gas: int = 5_000_000
             ) -> str:
        """Send a transaction without waiting; its hash."""
        transaction = {"from": sender, "to": self.address, "value": hex(value), "gas": hex(gas),
                       "data": self._data(function, arguments)}
        tx: str = rpc(self.url, "eth_sendTransaction", transaction)
        return tx

    def settle(self, tx: str) -> dict[str, Any]:
        receipt = _receipt(self.url, tx)
        if receipt["status"] != "0x1":
            transaction = rpc(self.url, "eth_getTransactionByHash", tx)
            call = {key: transaction[key] for key in ("from", "to", "value", "input")}
            rpc(self.url, "eth_call", call, hex(int(receipt["blockNumber"], 16) - 1))
            raise NodeError({"message": f"{tx} reverted"})
        return receipt

    def call(self, function: str, *arguments: Any) -> Any:
        """A view's values; a single one comes alone."""
        entry = _function(self.name, function)
        call = {"to": self.address, "data": self._data(function, arguments)}
        answer = bytes.fromhex(rpc(self.url, "eth_call", call, "latest")[2:])
        values = decode([_type(one) for one in entry["outputs"]], answer)
        return values[0] if len(values) == 1 else values

    def _data(self, function: str, arguments: Sequence[Any]) -> str:
        types = [_type(one) for one in _function(self.name, function)["inputs"]]
        selector = keccak256(f"{function}({','.join(types)})".encode())[:4]
        return "0x" + (selector + encode(types, arguments)).hex()


CID = bytes.fromhex("01551220") + bytes(range(32))
KEY = b"k" * 64
TERMS: Mapping[str, Any] = {
    "rounds": 3, "minWorkers": 3, "minActive": 2, "maxWorkers": 8, "topK": 1, "lateJoin": False, "auditLane": False,
    "topShareBps": 7000, "tieBand": 500, "acceptBps": 8000, "devTol": 1500, "slashBps": 5000, "feeBps": 1000,
    "missBps": 500, "burnBps": 0, "maxMiss": 3, "maxLow": 3, "maxVoid": 5, "joinWindow": 3600, "trainWindow": 600,
    "openWindow": 600, "scoreWindow": 600, "revealWindow": 600, "attestWindow": 600, "hardStop": None,
    "collateral": 10**18, "allowRoot": bytes(32), "modelHash": b"m" * 32, "specHash": b"s" * 32,
}
"""Terms of a task that the contract accepts, by ABI name; `hardStop` None is a year from the chain's now."""

_nonces = itertools.count(1)


def create_task(url: str, factory: str, *, reward: int = 3 * 10**18, sender: str = ACCOUNTS[0], **terms: Any
                ) -> Contract:
    """A new task with TERMS, some of them replaced."""
    filled = {**TERMS, **terms}
    if filled["hardStop"] is None:
        filled["hardStop"] = int(rpc(url, "eth_getBlockByNumber", "latest", False)["timestamp"], 16) + 365 * 86_400
    arguments = (next(_nonces).to_bytes(32, "big"), tuple(filled.values()), CID, CID, KEY)
    receipt = Contract(url, factory, "FLTaskFactory").send("createTask", *arguments, sender=sender, value=reward)
    created = next(log for log in receipt["logs"] if log["address"].lower() == factory.lower())
    return Contract(url, _checksum("0x" + created["topics"][1][-40:]), "FLTask")


def join(task: Contract, worker: str, collateral: int = TERMS["collateral"]) -> None:
    """Join a task without allow-list, paid out to the worker itself."""
    task.send("joinTask", worker, KEY, [], sender=worker, value=collateral)


@cache
def artefact(name: str) -> dict[str, Any]:
    """The contract build's output for one contract."""
    content: dict[str, Any] = json.loads(resources.files("bfl_events.abi").joinpath(f"{name}.json").read_text())
    return content


def _function(contract: str, name: str) -> Mapping[str, Any]:
    entries: list[Mapping[str, Any]] = artefact(contract)["abi"]
    return next(one for one in entries if one["type"] == "function" and one["name"] == name)


def _type(parameter: Mapping[str, Any]) -> str:
    kind: str = parameter["type"]
    if kind.startswith("tuple"):
        return f"({','.join(map(_type, parameter['components']))}){kind[5:]}"
    return kind


def _linked(name: str, libraries: Mapping[str, str]) -> str:
    content = artefact(name)
    code: str = content["bytecode"]
    for file in content["linkReferences"].values():
        for library, places in file.items():
            for place in places:
                start = 2 + 2 * place["start"]
                code = code[:start] + libraries[library][2:].lower() + code[start + 2 * place["length"]:]
    return code


def _create(url: str, sender: str, data: str) -> dict[str, Any]:
    receipt = _receipt(url, rpc(url, "eth_sendTransaction", {"from": sender, "data": data, "gas": hex(12_000_000)}))
    assert receipt["status"] == "0x1", "the contract could not be deployed"
    return receipt


def _receipt(url: str, tx: str, deadline_s: float = 20.0) -> dict[str, Any]:
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        receipt: dict[str, Any] | None = rpc(url, "eth_getTransactionReceipt", tx)
        if receipt is not None:
            return receipt
        time.sleep(0.01)   # interval mining: nothing to wait on but the next block
    raise TimeoutError(f"{tx} was not mined within {deadline_s} s")


def _checksum(address: str) -> str:
    return checksum_address(bytes.fromhex(address[2:]))


def _drain(stream: Any) -> None:
    with stream:
        for _ in stream:
            pass


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)   # PR_SET_PDEATHSIG
