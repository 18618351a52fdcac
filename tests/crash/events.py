"""What the task has logged of one kind, and where, asked of the chain itself."""

from __future__ import annotations

from typing import Any

from bfl_events.decode import table
from tests.crash.stage import Stage


def topic(kind: type[Any]) -> str:
    return next("0x" + one.hex() for one, layout in table().items() if layout.cls is kind)


def count(stage: Stage, topic: str) -> int:
    return len(blocks(stage, topic))


def blocks(stage: Stage, topic: str) -> list[int]:
    """The number of each one's block."""
    query = {"fromBlock": "0x0", "toBlock": "latest", "address": stage.task, "topics": [topic]}
    return [int(log["blockNumber"], 16) for log in stage.anvil.rpc("eth_getLogs", query)]
