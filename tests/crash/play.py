"""One run from the first agent's start to the last one's end: workers join one after the other, then all work."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bfl_events.boundaries import Boundary
from bfl_events.schema import WorkerJoined
from tests.crash.company import Company
from tests.crash.events import count, topic
from tests.crash.stage import EVERYBODY, REQUESTER, WORKERS, Stage

Arms = Mapping[str, Sequence[str]]
DECLINED = 23
_WORKER_JOINED = topic(WorkerJoined)


@dataclass(frozen=True)
class Plot:
    """What happens besides the kills. `refused` declines the task in a first life. `starts_in_vain`: when the
    last worker has joined, only the requester is awake, and no block is made, until the weather changes that."""

    refused: str = ""
    starts_in_vain: bool = False
    weather: Callable[[Stage, Company], Callable[[], None]] = lambda *_: lambda: None


def play(stage: Stage, company: Company, arms: Arms, plot: Plot, environment: Mapping[str, str] | None = None) -> None:
    """`arms`: the failpoints of each agent. Returns when the task is over and everybody has ended by itself."""
    company.start(REQUESTER, arms.get(REQUESTER, ()), environment)
    for seats, name in enumerate(WORKERS, start=1):
        if name == plot.refused:
            be_refused(company, name)
        if name == WORKERS[-1] and plot.starts_in_vain:
            let_the_last_one_only_join(stage, company, name)
        company.start(name, arms.get(name, ()), environment)
        if name == WORKERS[-1] and plot.starts_in_vain:
            company.freeze(name)
        company.until(lambda seats=seats: count(stage, _WORKER_JOINED) >= seats, f"{name} had joined")
    company.until(company.all_done, "everybody had ended", weather=plot.weather(stage, company))


def be_refused(company: Company, name: str) -> None:
    """A first life under a policy that no task fits: its refusal is in the journal, and the operator's to mend."""
    company.start(name, (), {"BFL_POLICY__MIN_VALIDATION": "100000"}, stays_down=DECLINED)
    company.until(lambda: company.members[name].code == DECLINED, f"{name} had declined")


def let_the_last_one_only_join(stage: Stage, company: Company, last: str) -> None:
    """It dies right after, and stays down. Only the requester is awake from now on, and no block is made."""
    everybody = [name for name in EVERYBODY if name != last]
    company.freeze(*everybody)
    company.start(last, [f"{Boundary.TX_SEND}.after"], stays_down=-signal.SIGKILL)
    company.until(lambda: company.members[last].code == -signal.SIGKILL, f"{last} had joined and died")
    stage.anvil.rpc("evm_setAutomine", False)
    company.thaw(REQUESTER)
