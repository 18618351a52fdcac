"""From a seed to a scenario: the terms of a task, who takes part, what kind of chain it is, and what goes wrong when.

Owns all chance that shapes a run. Pure: the same seed gives the same scenario, and a scenario can be run without some
of its faults.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

EVERYBODY: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Fault:
    """Something goes wrong at virtual second `at`, for so many `seconds` (0: it is over at once, or never ends; see
    `faults`). `who`: indices of hosts (the requester is 0) or endpoints. `amount`: depth, count or share, by `kind`."""

    at: float
    kind: str
    who: tuple[int, ...] = EVERYBODY
    seconds: float = 0.0
    amount: float = 0.0

    def __str__(self) -> str:
        return f"{self.at:7.2f}  {self.kind:<14} who={self.who} for {self.seconds:.2f} s amount {self.amount:g}"


@dataclass(frozen=True, slots=True)
class Scenario:
    """`late`: the last worker starts so many seconds after the others. `skews`: seconds that each clock is ahead, the
    requester's first. `mute`: so many of the last workers join and then never act. `whole_event_path`: with the real
    event source, not its short cut."""

    seed: int
    workers: int = 3
    rounds: int = 2
    confirmations: int = 0
    block_s: float = 0.0
    slow_txs: float = 0.05
    max_miss: int = 3
    late_s: float = 0.0
    mute: int = 0
    whole_event_path: bool = True
    skews: tuple[float, ...] = ()
    faults: tuple[Fault, ...] = field(default=())

    @property
    def hosts(self) -> int:
        return self.workers + 1


ENDPOINTS = 2
_MEMORY = ("journal", "models", "events", "outbox", "home", "backup")
_PERSONAL = ("kill", "kill", "kill", "kill-at", "kill-at", "kill-at", "cut", "slow", "child", "forget")
_ENDPOINT = ("down", "hung", "lag", "forgetful", "liar", "swallow", "mute", "stale")
_CHAIN = ("reorg", "reorg", "fork", "fork", "fork", "censor", "pool", "fee")
_STORE = ("store-down", "store-slow", "store-corrupt", "store-hidden", "store-lost")


def scenario(seed: int) -> Scenario:
    """The scenario of this seed."""
    dice = Random(f"scenario {seed}")
    workers, rounds = dice.choice((3,) * 9 + (4, 4, 5)), dice.choice((1, 1, 1, 2, 2, 2, 2, 3))
    late = dice.uniform(6, 30) if workers > 3 and dice.random() < 0.4 else 0.0
    skewed = dice.random() < 0.3
    basic = Scenario(
        seed, workers, rounds, dice.choice((0, 0, 1, 2, 3)), dice.choice((0.0, 0.0, 0.0, 1.0, 1.6)),
        dice.choice((0.0, 0.05, 0.2)), dice.choice((2, 3)), late, int(workers > 3 and not late and dice.random() < 0.2),
        seed % 4 == 0,
        tuple(dice.uniform(-1.5, 1.5) if skewed else 0.0 for _ in range(workers + 1)),
    )
    clock = Random(f"clock {seed}")
    if clock.random() < 0.03:          # the chain's is ahead of all others, or behind them, by more than any window
        ahead = clock.choice((-1, 1)) * clock.uniform(20, 60)
        basic = replace(basic, skews=tuple(skew + ahead for skew in basic.skews))
    faults = [fault for _ in range(dice.choice((0, 1, 1, 2, 2, 3, 4, 6, 8, 12))) for fault in _draw(dice, basic)]
    return Scenario(**{name: getattr(basic, name) for name in Scenario.__slots__} | {
        "faults": tuple(sorted(faults, key=lambda fault: fault.at))})


def _draw(dice: Random, basic: Scenario) -> list[Fault]:
    """One piece of bad luck, sometimes made of several faults."""
    at = dice.uniform(0.5, 5 + 10 * basic.rounds)
    match dice.choice(("personal", "personal", "personal", "endpoint", "chain", "chain", "chain", "store", "all", "for-ever",  # noqa: E501
                       "flicker")):
        case "personal":
            return [_personal(dice, basic, at)]
        case "endpoint":
            return [_endpoint(dice, at)]
        case "chain":
            return [_chain(dice, basic, at)]
        case "store":
            return [Fault(at, dice.choice(_STORE), (), dice.uniform(1, 8), dice.uniform(1, 3))]
        case "all":
            return [Fault(at, "kill", tuple(range(basic.hosts)), dice.choice((0.5, 2.0, 6.0, 25.0)))]
        case "flicker":
            most = basic.workers // 2 + 1
            return [Fault(at + 12.5 * n, "cut", tuple(dice.sample(range(1, basic.hosts), dice.randint(most - 1, most))), 12)  # noqa: E501
                    for n in range(dice.randint(2, 4))]
        case _:
            return _for_ever(dice, basic, at)


def _personal(dice: Random, basic: Scenario, at: float) -> Fault:
    kind = dice.choice(_PERSONAL)
    several = dice.sample(range(basic.hosts), dice.choice((1, 1, 1, 2)))
    seconds = dice.choice((0.3, 0.6, 1.5, 4.0, 9.0, 20.0))
    match kind:
        case "kill-at":
            return Fault(at, kind, (several[0],), min(seconds, 8.0), dice.randint(1, 30))
        case "slow":
            return Fault(at, kind, tuple(several), dice.uniform(3, 15), dice.choice((2.0, 5.0)))
        case "child":
            return Fault(at, kind, tuple(several), dice.uniform(0.5, 5))
        case "forget":
            return Fault(at, kind, (several[0],), seconds, dice.randrange(len(_MEMORY)))
        case _:
            return Fault(at, kind, tuple(several), seconds)


def _endpoint(dice: Random, at: float) -> Fault:
    kind = dice.choice(_ENDPOINT)
    who = tuple(dice.sample(range(ENDPOINTS), dice.choice((1, 1, 1, 2))))
    return Fault(at, kind, who, dice.choice((1.0, 2.0, 4.0, 8.0)), dice.randint(1, 4))


def _chain(dice: Random, basic: Scenario, at: float) -> Fault:
    match kind := dice.choice(_CHAIN):
        case "reorg":
            return Fault(at, kind, (), 0.0, dice.randint(1, 6))
        case "fork":
            who = tuple(dice.sample(range(1, basic.hosts), dice.choice((0, 0, 1, 1, 2))))
            seconds, depth = dice.uniform(8, 16), dice.randint(2, 6)
            aimed = basic.rounds > 1 and depth > 3 and len(who) == 1
            return Fault(at, "fork-base" if aimed else kind, who, seconds, depth + 2 if aimed else depth)
        case "censor":
            who = tuple(dice.sample(range(basic.hosts), dice.choice((1, 1, 2))))
            return Fault(at, kind, who, dice.uniform(1, 8))
        case "fee":
            return Fault(at, kind, (), dice.uniform(2, 8), dice.choice((2, 5, 20)))
        case _:
            return Fault(at, kind)


def _for_ever(dice: Random, basic: Scenario, at: float) -> list[Fault]:
    """The requester, or as many workers as the task can do without."""
    spare = basic.workers - 2 - basic.mute
    if dice.random() < 0.5 or spare < 1:
        return [Fault(at, "dead", (0,))]
    return [Fault(at, "dead", tuple(dice.sample(range(1, basic.hosts - basic.mute), dice.randint(1, spare))))]


def memory(fault: Fault) -> str:
    """What a "forget" fault takes from the disk."""
    return _MEMORY[int(fault.amount)]
