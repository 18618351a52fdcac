"""How long an agent takes to its first decision on a long log, by processor time.

    python -m tests.benchmarks.start [--events 100000]

The log holds many tasks of one factory: copies of one honest game, each under an address of its own and later in time.
A member took part in all of them; a stranger in none, and only the last still runs.
Judged: at most 3 s, Python and its imports included. Settings, keystore, chain and lock are left out here;
`tests.benchmarks.whole_start` starts an agent with all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from agents.core.intents import Intent, Outcome
from agents.core.state import Me, Memory, Outlook
from agents.core.worker import decide
from agents.crypto.commitment import SaltKey
from agents.daemon import Daemon
from agents.effects.runner import Runner
from agents.effects.seals import AccountSeals
from agents.effects.wall_clock import WallClock
from agents.own_history import OwnHistory
from bfl_events.codec import checksummed
from bfl_events.follower import Advance, Head
from bfl_events.lineage import Ref
from bfl_events.log import EventLog, Identity
from bfl_events.schema import Address, Event, Record, TaskCreated, TaskInitialized
from tests.benchmarks.fold import honest_log
from tests.benchmarks.limits import Figure, judge
from tests.simulation.play import FACTORY, account

ROOT = Path(__file__).resolve().parents[2]
MEMBER, STRANGER, CHAIN_ID = account(1), account(77), 31337
START = """
import asyncio, json, resource, sys, time
from agents.lean import light_import, spare_pairings
with light_import():                                     # as `bfl-agent run` begins
    spare_pairings()
    import agents.composition
from tests.benchmarks.start import first_decision
imported = time.process_time()
outlook = asyncio.run(first_decision(sys.argv[1], sys.argv[2]))
spent = time.process_time()
mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"folded": outlook.folded, "wanted": len(outlook.wanted), "imports_s": imported,
                  "log_s": spent - imported, "peak_mib": mib}))
"""


@dataclass(frozen=True)
class Cost:
    """Seconds of CPU: for Python and the agent's imports, and for reading, folding and deciding.

    `folded`: events that were read and folded; `wanted`: intents of the first decision.
    """

    folded: int
    wanted: int
    imports_s: float
    log_s: float
    peak_mib: float


def copies(log: Sequence[Record], events: int) -> Iterator[Record]:
    """The log again and again, at least so many events."""
    blocks, seconds = log[-1].block, log[-1].time - log[0].time + 1
    for n in range(-(-events // len(log))):
        task = checksummed((n + 1).to_bytes(20, "big"))
        for record in log:
            emitter = FACTORY if isinstance(record.event, TaskCreated) else task
            yield replace(record, block=record.block + n * blocks, time=record.time + n * seconds, emitter=emitter,
                          event=_later(record.event, task, n * seconds))


def _later(event: Event, task: str, seconds: int) -> Event:
    changes: dict[str, Any] = {"deadline": event.deadline + seconds} if hasattr(event, "deadline") else {}
    if isinstance(event, TaskCreated):
        changes = {"task": task}
    if isinstance(event, TaskInitialized):
        changes["params"] = replace(event.params, hard_stop=event.params.hard_stop + seconds)
    return replace(event, **changes) if changes else event


def write(path: Path, records: Sequence[Record], factory: Address = FACTORY, end: Ref | None = None) -> None:
    with EventLog(path, Identity(CHAIN_ID, factory, 0)) as log:
        log.anchor(Ref(0, b"s" * 32))
        log.append(records, end or Ref(records[-1].block + 1, b"e" * 32))


class Silence:
    """Everything around the loop, as nothing: the chain stands still, and no effect ever ends."""

    def __init__(self, head: Head) -> None:
        self.head = head

    async def advances(self) -> AsyncGenerator[Advance, None]:
        yield Advance(self.head)
        await asyncio.Event().wait()

    async def perform(self, intent: Intent) -> None:
        await asyncio.Event().wait()

    async def give_up(self, intent: Intent) -> None: ...
    def record(self, key: str, outcome: Outcome) -> None: ...
    def report(self, intent: Intent, what: str, detail: Outcome | BaseException | None) -> None: ...
    def records(self, records: tuple[Record, ...]) -> None: ...
    def rewound(self, to: int) -> None: ...
    def tick(self, outlook: Outlook) -> None: ...


async def first_decision(path: str, account: str) -> Outlook:
    """The daemon's own loop over this log until it has decided once, as a worker that remembers nothing."""
    me = Me(account, AccountSeals(SaltKey(b"k" * 32), CHAIN_ID, account))
    with EventLog(path) as log:
        cursor = log.cursor()
        assert cursor is not None
        silence = Silence(Head(cursor.number, cursor.hash, 0))
        daemon = Daemon(
            advances=silence.advances, replay=OwnHistory(log, account, None).records, decide=decide, me=lambda: me,
            memory=Memory, clock=WallClock(),
            runner=Runner(silence.perform, silence.record, WallClock(), silence.report, silence.give_up),
            block_s=0.0, observer=silence, finished=lambda outlook: True,
        )
        await daemon.run()
    assert daemon.outlook is not None
    return daemon.outlook


def start(events: int, accounts: Sequence[str]) -> list[Cost]:
    """A new process for each account, on a log of so many events."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "events.sqlite"
        write(path, list(islice(copies(honest_log(workers=5, rounds=30), events), events)))
        return [_start(path, account) for account in accounts]


def _start(path: Path, account: str) -> Cost:
    command = (sys.executable, "-c", START, str(path), account)
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return Cost(**json.loads(done.stdout))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    events = parser.parse_args().events
    costs = dict(zip(("a member", "a stranger"), start(events, (MEMBER, STRANGER)), strict=True))
    told = [f"{who}: {cost.imports_s:.2f} s Python and imports, {cost.log_s:.2f} s reading, folding and deciding, peak "
            f"{cost.peak_mib:.0f} MiB" for who, cost in costs.items()]
    return judge("start", [Figure(f"{who}'s first decision on {events:,} events", cost.imports_s + cost.log_s, 3, "s")
                           for who, cost in costs.items()], *told)


if __name__ == "__main__":
    raise SystemExit(main())
