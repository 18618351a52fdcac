"""The plan of faults: which one happens when, to whom, for how long. A pure function of a seed; does nothing.

Times are seconds since a task's beginning. A seed and the participants' names give the same plan on every machine, so
that a run that failed is told by one number.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

GAPS_S: Final = (1.5, 5.0)             # between one fault and the next
QUIET_S: Final = 3.0                   # agents are let to start at all
DEEPEST_REORG: Final = 6
MOST_BLOCKS_LOST: Final = 3            # by a restart of the chain's node from an older state
CONFIRMATIONS: Final = DEEPEST_REORG   # PROTOCOL 2.6's c, so that no fault reaches what was acted on


class Kind(StrEnum):
    """What `--chaos` takes, separated by commas."""

    KILL = "kill"
    RPC = "rpc"
    STORE = "store"
    REORG = "reorg"


class What(StrEnum):
    """One sort of fault; the value is how it is told."""

    AGENTS = "killed"
    CHILDREN = "learning child killed"
    EVERYBODY = "everybody killed"
    FOR_EVER = "killed for ever"
    FREEZE = "chain node frozen"
    RESTART = "chain node restarted from an older state"
    CUT = "cut off from the chain"
    SLOW = "chain answers slowly"
    FAILING = "chain endpoint refuses"
    HALF = "chain answers half"
    STORE_DEAD = "store dead"
    STORE_SLOW = "store slow"
    STORE_FAILING = "store refuses"
    STORE_CORRUPT = "store gives wrong bytes"
    REORG = "reorganisation"


KIND_OF: Final = {
    What.AGENTS: Kind.KILL, What.CHILDREN: Kind.KILL, What.EVERYBODY: Kind.KILL, What.FOR_EVER: Kind.KILL,
    What.FREEZE: Kind.RPC, What.RESTART: Kind.RPC, What.CUT: Kind.RPC, What.SLOW: Kind.RPC, What.FAILING: Kind.RPC,
    What.HALF: Kind.RPC,
    What.STORE_DEAD: Kind.STORE, What.STORE_SLOW: Kind.STORE, What.STORE_FAILING: Kind.STORE,
    What.STORE_CORRUPT: Kind.STORE, What.REORG: Kind.REORG,
}
OFTEN: Final = {   # how often, among the faults of its kind
    What.AGENTS: 6, What.CHILDREN: 3, What.EVERYBODY: 1,
    What.FREEZE: 2, What.RESTART: 2, What.CUT: 3, What.SLOW: 1, What.FAILING: 1, What.HALF: 1,
    What.STORE_DEAD: 2, What.STORE_SLOW: 1, What.STORE_FAILING: 1, What.STORE_CORRUPT: 2, What.REORG: 1,
}
LASTS_S: Final = {   # shortest and longest
    What.FREEZE: (1.0, 6.0), What.CUT: (2.0, 8.0), What.SLOW: (3.0, 8.0), What.FAILING: (2.0, 6.0),
    What.HALF: (2.0, 6.0), What.STORE_DEAD: (2.0, 6.0), What.STORE_SLOW: (3.0, 8.0), What.STORE_FAILING: (2.0, 6.0),
    What.STORE_CORRUPT: (2.0, 6.0),
}
ALL_AT_ONCE: Final = frozenset({What.EVERYBODY, What.FREEZE, What.RESTART, What.REORG})


@dataclass(frozen=True, slots=True)
class Fault:
    """`who`: names of participants, all for what concerns the chain. `blocks`: how deep, or how many are lost."""

    at: float
    what: What
    who: tuple[str, ...]
    seconds: float = 0.0
    blocks: int = 0

    @property
    def kind(self) -> Kind:
        return KIND_OF[self.what]

    def document(self) -> dict[str, Any]:
        return {"at": self.at, "kind": self.kind.value, "what": self.what.value, "who": list(self.who),
                "seconds": self.seconds, "blocks": self.blocks}


@dataclass(frozen=True, slots=True)
class Chaos:
    """What the operator asked for. `minutes`: no fault begins, and no task, after them. `every`: each sort of fault has
    to happen, or the soak proves nothing."""

    kinds: frozenset[Kind]
    seed: int
    minutes: float
    every: bool = False

    @property
    def sorts(self) -> list[What]:
        """What can happen."""
        return [what for what in What if KIND_OF[what] in self.kinds]

    @property
    def moves_the_chain(self) -> bool:
        """Whether blocks may be lost, so that agents must wait for confirmations."""
        return bool(self.kinds & {Kind.RPC, Kind.REORG})


def faults(chaos: Chaos, task: int, requester: str, workers: Sequence[str]) -> Iterator[Fault]:
    """The faults of the `task`-th task (from 0) in the order of time, without an end."""
    dice = random.Random(f"{chaos.seed}:{task}")     # noqa: S311 - a replay is wanted, not a secret
    for_ever = _for_ever(chaos, task, dice, requester)
    alive, at = [requester, *workers], QUIET_S
    while True:
        at += dice.uniform(*GAPS_S)
        if for_ever is not None and at >= for_ever.at:
            yield for_ever
            alive.remove(requester)
            for_ever = None
        yield _fault(round(at, 2), chaos, dice, alive, workers)


def _for_ever(chaos: Chaos, task: int, dice: random.Random, requester: str) -> Fault | None:
    """In every other task the requester dies and is not started again: nobody needs it after round 1 began."""
    at, dies = round(dice.uniform(QUIET_S, 30.0), 2), (chaos.seed + task) % 2 == 1
    return Fault(at, What.FOR_EVER, (requester,)) if dies and Kind.KILL in chaos.kinds else None


def _fault(at: float, chaos: Chaos, dice: random.Random, alive: Sequence[str], workers: Sequence[str]) -> Fault:
    kind = dice.choice(sorted(chaos.kinds))
    possible = [what for what in OFTEN if KIND_OF[what] == kind]
    (what,) = dice.choices(possible, [OFTEN[one] for one in possible])
    among = workers if what is What.CHILDREN else alive
    often_all = what in (What.STORE_DEAD, What.STORE_SLOW)
    who = tuple(among) if what in ALL_AT_ONCE else _some(dice, among, everybody=often_all)
    seconds = round(dice.uniform(*LASTS_S[what]), 2) if what in LASTS_S else 0.0
    blocks = {What.REORG: dice.randint(1, DEEPEST_REORG), What.RESTART: dice.randint(0, MOST_BLOCKS_LOST)}.get(what, 0)
    return Fault(at, what, who, seconds, blocks)


def _some(dice: random.Random, among: Sequence[str], *, everybody: bool) -> tuple[str, ...]:
    """Mostly one, sometimes several, in their usual order."""
    if everybody and dice.random() < 0.5:
        return tuple(among)
    count = 1 if dice.random() < 0.7 else dice.randint(1, len(among))
    return tuple(sorted(dice.sample(list(among), count)))
