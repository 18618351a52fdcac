"""A real agent's start on a long log, by wall clock: from the start of `bfl-agent run` to its first decision.

    python -m tests.benchmarks.whole_start [--events 100000] [--tries 3]

All of it is there: settings, keystore, lock, a chain whose head is where the log ends, and the log of
`tests.benchmarks.start`, with the agent's own account in the place of a worker that took part in every task. A first
start, which makes its keys and databases, is not measured. Judged is the median with a keystore that is light to open,
as those of a demo are: at most 3 s. Told beside it is the same with a keystore of the usual strength, which scrypt is
meant to take about a second to open, and for machines that are not quiet the processor time of both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from agents.demo.recovery import RESUMED
from agents.demo.telltale import LogTail, seconds_of
from agents.home import Home
from bfl_events.lineage import Ref
from bfl_events.schema import Address, Event, Record
from tests.anvil import Anvil, deploy, start_anvil
from tests.benchmarks.fold import honest_log
from tests.benchmarks.limits import Figure, judge
from tests.benchmarks.start import CHAIN_ID, MEMBER, copies, write
from tests.simulation.play import FACTORY
from tests.system.by_hand import ADDRESS, Terminals, terminals

KEYSTORES = {"light": " --light-kdf", "usual": ""}
LONGEST_S = 120.0


def mine(records: Sequence[Record], account: Address, factory: Address) -> Iterator[Record]:
    """The same log of another factory, with another account in the place of MEMBER."""
    for record in records:
        emitter = factory if record.emitter == FACTORY else record.emitter
        yield replace(record, emitter=emitter, event=_as(account, record.event))


def _as(account: Address, event: Event) -> Event:
    changes = {field.name: account for field in fields(event) if getattr(event, field.name) == MEMBER}
    return replace(event, **changes) if changes else event


def furnish(hand: Terminals, name: str, factory: Address, records: Sequence[Record], end: Ref) -> None:
    """A worker's home that has read the chain up to `end`."""
    printed = hand.type(f"bfl-agent init --home {name} --new-account --factory {factory} --part 0/3{KEYSTORES[name]}")
    account, home = ADDRESS.findall(printed)[0], Home(hand.directory / name).network(CHAIN_ID, factory).create()
    write(home.events, list(mine(records, account, factory)), factory, end)


@dataclass(frozen=True)
class Start:
    """Seconds from the start of the process to its first decision, and of processor time until then."""

    seconds: float
    cpu_s: float


def start(hand: Terminals, name: str, events: int) -> Start:
    """One start of an agent, killed after its first decision, which rests on all of the log."""
    tail = LogTail(Home(hand.directory / name).log)
    tail.read()
    began = time.time()
    hand.leave_running(f"bfl-agent run --role worker --home {name}", f"{name}.log")
    process = hand.running.pop()
    try:
        while time.time() < began + LONGEST_S:
            for line in tail.read():
                if line["event"] == RESUMED:
                    assert line["folded"] == events, line
                    return Start(seconds_of(line) - began, line["cpu_s"])
            time.sleep(0.02)
        said = (hand.directory / f"{name}.log").read_text()
        raise TimeoutError(f"{name}: no decision within {LONGEST_S:g} s\n{said}")
    finally:
        process.kill()
        process.wait()


def head(anvil: Anvil) -> Ref:
    block = anvil.rpc("eth_getBlockByNumber", "latest", False)
    return Ref(int(block["number"], 16), bytes.fromhex(block["hash"][2:]))


def starts(events: int, tries: int) -> dict[str, list[Start]]:
    """By keystore. The two agents take turns, so that the machine is the same for both."""
    records = list(islice(copies(honest_log(workers=5, rounds=30), events), events))
    with TemporaryDirectory() as name, start_anvil(Path(name), chain_id=CHAIN_ID, number=records[-1].block) as anvil:
        factory = deploy(anvil.url).factory
        with terminals(Path(name), anvil.url) as hand:
            for keystore in KEYSTORES:
                furnish(hand, keystore, factory, records, head(anvil))
                start(hand, keystore, events)
            turns = [{keystore: start(hand, keystore, events) for keystore in KEYSTORES} for _ in range(tries)]
    return {keystore: [turn[keystore] for turn in turns] for keystore in KEYSTORES}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--tries", type=int, default=3)
    given = parser.parse_args()
    found = starts(given.events, given.tries)
    took = {keystore: statistics.median(one.seconds for one in tries) for keystore, tries in found.items()}
    worked = {keystore: statistics.median(one.cpu_s for one in tries) for keystore, tries in found.items()}
    return judge(
        "whole start",
        [Figure(f"first decision on {given.events:,} events", took["light"], 3, "s")],
        f"with a keystore of the usual strength {took['usual']:.2f} s",
        f"processor time {worked['light']:.2f} s, with a keystore of the usual strength {worked['usual']:.2f} s",
    )


if __name__ == "__main__":
    raise SystemExit(main())
