"""Tasks brought into a state by direct calls: rounds played by anvil's accounts with made-up models."""

from __future__ import annotations

from eth_abi import encode

from bfl_events.decode import decode_log
from bfl_events.keccak import keccak256
from tests.anvil import ACCOUNTS, TERMS, Anvil, Contract, create_task, join, rpc


def started(url: str, factory: str, **terms: object) -> Contract:
    """A task in Train with workers 1 to 3."""
    task = create_task(url, factory, maxWorkers=3, minWorkers=3, **terms)
    for account in ACCOUNTS[1:4]:
        join(task, account)
    task.send("startTask")
    return task


def pass_time(url: str, seconds: int) -> None:
    rpc(url, "evm_increaseTime", seconds)
    rpc(url, "evm_mine")


def round_without_the_first(anvil: Anvil, task: Contract) -> None:
    """Workers 2 and 3 act in every phase of round 1, worker 1 never; the round is settled."""
    others = [(ACCOUNTS[2], 1), (ACCOUNTS[3], 2)]
    salt = b"s" * 32
    for account, index in others:
        task.send(
            "commitModel",
            1,
            1,
            _commitment(task, "FLModel", "bytes32", account, _model(index), salt),
            b"m" * 32,
            sender=account,
        )
    pass_time(anvil.url, TERMS["trainWindow"] + 1)
    task.send("nextRound")
    for account, index in others:
        task.send("openModel", 1, _model(index), salt, 100, b"c" * 36, sender=account)
    rows = {1: [9000, 0, 0, 0, 9000], 2: [9000, 0, 0, 9000, 0]}
    packed = {index: [sum(value << 16 * lane for lane, value in enumerate(row))] for index, row in rows.items()}
    for account, index in others:
        task.send(
            "commitScores",
            1,
            1,
            _commitment(task, "FLScore", "uint256[]", account, packed[index], salt),
            sender=account,
        )
    pass_time(anvil.url, TERMS["scoreWindow"] + 1)
    task.send("nextRound")
    for account, index in others:
        task.send("submitScore", 1, packed[index], salt, sender=account)
    task.send("nextRound")


def _model(index: int) -> bytes:
    return bytes([index]) * 32


def _commitment(task: Contract, name: str, kind: str, account: str, content: object, salt: bytes) -> bytes:
    types = ["string", "uint256", "address", "uint32", "uint32", "address", kind, "bytes32"]
    return keccak256(encode(types, [name, 31337, task.address, 1, 1, account, content, salt]))


def logs_of(anvil: Anvil, task: Contract, event: str) -> list[dict[str, str]]:
    raw = rpc(anvil.url, "eth_getLogs", {"fromBlock": "0x0", "toBlock": "latest", "address": task.address})
    return [log for log in raw if type(decode_log(log, 0).event).__name__ == event]
