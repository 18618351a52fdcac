"""One task that stands still in each of its phases, so that homes can be copied there and put back later.

A moment is a phase in which everybody but one worker has acted, whose act waits at the barrier; in Settle, where any
agent's `nextRound` waits. Owns the order of the moments and the copies.
"""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bfl_events.schema import Phase, WorkerJoined
from tests.anvil import Contract
from tests.crash.barrier import EVERYBODYS, Barrier, barrier
from tests.crash.company import Company
from tests.crash.events import count, topic
from tests.crash.manner import Manner
from tests.crash.stage import REQUESTER, ROUNDS, WORKERS, Stage, staged

VICTIM, KEEPER, _ = WORKERS
PHASES = {          # what ends the phase, and the bitmap of who has done it
    Phase.TRAIN: ("commitModel", "committed"), Phase.OPEN: ("openModel", "opened"),
    Phase.SCORE: ("commitScores", "scored"), Phase.REVEAL: ("submitScore", "revealed"), Phase.SETTLE: (EVERYBODYS, ""),
    Phase.ATTEST: ("attestFinal", "attested"),
}
OTHERS = 0b101       # the bits of all but the keeper, who has index 1
STAYS = ("logs", "run", "config.toml", "format")      # of a home: not in a backup, or the same in every one
_WORKER_JOINED = topic(WorkerJoined)

Moment = tuple[int, Phase]


def moments() -> Iterator[Moment]:
    for round in range(1, ROUNDS + 1):
        yield from ((round, phase) for phase in PHASES if phase is not Phase.ATTEST)
    yield ROUNDS, Phase.ATTEST


@dataclass
class Staging:
    """Everybody runs, with the barrier between them and the chain. `directory` is for the copies."""

    directory: Path
    stage: Stage
    company: Company
    barrier: Barrier
    copies: dict[tuple[str, Moment], Path] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {"BFL_CHAIN__RPC": self.barrier.url, "BFL_CHAIN__POLL_S": "1"}

    def play(self, visit: Callable[[Moment], None]) -> None:
        """From the first start to the last end."""
        self.company.start(REQUESTER, (), self.environment)
        for seats, name in enumerate(WORKERS, start=1):
            self.company.start(name, (), self.environment)
            self.company.until(lambda seats=seats: count(self.stage, _WORKER_JOINED) >= seats, f"{name} had joined")
        for moment in moments():
            self.company.until(partial(self._stands_still, *moment), f"it stood still in {moment}")
            visit(moment)
            self.barrier.lets = PHASES[moment[1]][0]
        self.barrier.lets = None
        self.ends()

    def ends(self) -> None:
        """Each by itself, with code 0."""
        self.company.until(self.company.all_done, "everybody had ended")

    def _stands_still(self, round: int, phase: Phase) -> bool:
        act, bitmap = PHASES[phase]
        task = Contract(self.stage.anvil.url, self.stage.task, "FLTask")
        core = task.call("core")
        if core[0] != phase or (core[1] != round and phase is not Phase.ATTEST):
            return False
        waits = {function for sender, function in self.barrier.waiting if phase is Phase.SETTLE
                 or sender == self.barrier.keeper}
        return act in waits and (not bitmap or task.call(bitmap) & OTHERS == OTHERS)

    # ---- homes

    def back_up(self, name: str, moment: Moment) -> None:
        """What a snapshot of the file system would hold."""
        target = self.directory / f"backup-{len(self.copies)}"
        self.company.signal(name, signal.SIGSTOP)
        shutil.copytree(self.stage.home(name).root, target, ignore=shutil.ignore_patterns(*STAYS))
        self.company.signal(name, signal.SIGCONT)
        self.copies[name, moment] = target

    def restore(self, name: str, moment: Moment) -> None:
        """Killed if it lives, put back and started again, until it works."""
        root, lives = self.stage.home(name).root, len(self.lives(name))
        self.kill(name)
        for path in root.iterdir():
            if path.name not in STAYS:
                shutil.rmtree(path)
        shutil.copytree(self.copies[name, moment], root, dirs_exist_ok=True)
        self.company.start(name, (), self.environment)
        self.company.until(lambda: any(line["event"] == "agent.resumed" for life in self.lives(name)[lives:]
                                       for line in life), f"{name} worked again")

    def kill(self, name: str) -> None:
        """For good, until it is started again."""
        member = self.company.members[name]
        member.stays_down = -signal.SIGKILL
        self.company.signal(name, signal.SIGKILL)
        self.company.until(lambda: member.code is not None, f"{name} was dead")
        self.barrier.hang_up(self.stage.addresses[name])

    def lives(self, name: str) -> list[list[dict[str, Any]]]:
        """The lines of its log, one list for each start."""
        path = self.stage.home(name).log
        text = path.read_text().splitlines() if path.exists() else []
        found: list[list[dict[str, Any]]] = []
        for line in (json.loads(line) for line in text if line.startswith("{") and line.endswith("}")):
            if line["event"] == "agent.started":
                found.append([])
            found[-1].append(line)
        return found


@contextmanager
def staging(directory: Path, manner: Manner) -> Iterator[Staging]:
    """Nobody runs yet."""
    copies = directory / "backups"
    copies.mkdir()
    with staged(directory / "run", manner.subject) as stage, barrier(stage.anvil, stage.addresses[KEEPER]) as bar, \
            Company(stage, manner) as company:
        yield Staging(copies, stage, company, bar)
