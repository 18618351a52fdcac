"""One run from the first agent's start to the last one's end: workers join one after the other, then all work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bfl_events.decode import table
from bfl_events.schema import WorkerJoined
from tests.crash.company import Company
from tests.crash.stage import REQUESTER, WORKERS, Stage

Arms = Mapping[str, Sequence[str]]


def play(stage: Stage, company: Company, arms: Arms, environment: Mapping[str, Mapping[str, str]] | None = None
         ) -> None:
    """`arms`: the failpoints of each agent. Returns when the task is over and everybody has ended by itself."""
    own = environment or {}
    company.start(REQUESTER, arms.get(REQUESTER, ()), **own.get(REQUESTER, {}))
    for seats, name in enumerate(WORKERS, start=1):
        company.start(name, arms.get(name, ()), **own.get(name, {}))
        company.until(lambda seats=seats: joined(stage) >= seats, f"{name} had joined")
    company.until(company.all_done, "everybody had ended")


def joined(stage: Stage) -> int:
    """Workers with a seat."""
    query = {"fromBlock": "0x0", "toBlock": "latest", "address": stage.task, "topics": [_WORKER_JOINED]}
    return len(stage.anvil.rpc("eth_getLogs", query))


_WORKER_JOINED = next("0x" + topic.hex() for topic, kind in table().items() if kind.cls is WorkerJoined)
