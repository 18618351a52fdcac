"""A soak in numbers: the document of its last task, every task's proof, the faults, the recoveries. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from agents.demo.chaos import Chaos, Kind, What
from agents.demo.picture import Picture
from agents.demo.proof import Check, Facts, prove
from agents.demo.recovery import Recovery, percentiles, repeated_epochs
from agents.demo.result import Run, document as of_run
from agents.demo.telltale import Line
from agents.demo.turmoil import Happened
from bfl_events.schema import Record

OF_AGENTS: Final = frozenset({What.AGENTS, What.EVERYBODY, What.FOR_EVER})


@dataclass(frozen=True, slots=True)
class Lived:
    """One task of a soak, after its end."""

    directory: Path
    picture: Picture
    facts: Facts
    records: Sequence[Record]
    logs: Mapping[str, Sequence[Line]]
    peaks_mib: Mapping[str, tuple[float, float]]
    happened: Sequence[Happened]
    recoveries: Sequence[Recovery]


@dataclass(frozen=True, slots=True)
class End:
    """What is known once nothing runs any more. `left`: command lines of processes that did not end."""

    task_name: str
    wall_s: float
    gas: Mapping[str, Mapping[str, int]]
    left: Sequence[str]


def document(chaos: Chaos, lived: Sequence[Lived], end: End) -> dict[str, Any]:
    """`result.json` as of a demo without chaos, for the last task; `ok` and `restarts` speak for all of them."""
    proofs = [prove(replace(one.facts, left=end.left)) for one in lived]
    faults, last = tally(chaos, lived), lived[-1]
    enough = _enough(faults["never"]) if chaos.every else []
    run = Run(last.picture, end.task_name, end.wall_s, [*proofs[-1], *enough], last.records, last.logs, last.peaks_mib,
              last.facts.balance_wei, end.gas)
    return {
        **of_run(run),
        "ok": all(check.holds for checks in (*proofs, enough) for check in checks),
        "restarts": sum(sum(one.picture.restarts.values()) for one in lived),
        "tasks": [_task(one, checks) for one, checks in zip(lived, proofs, strict=True)],
        "faults": faults,
    }


def _enough(never: Sequence[str]) -> list[Check]:
    return [Check("every sort of fault happened", not never, "never: " + ", ".join(never) if never else "all of them")]


def tally(chaos: Chaos, lived: Sequence[Lived]) -> dict[str, Any]:
    """Counts of what really happened, and recovery times in seconds.

    `kills` counts agents, `children` learning children, the others faults. `never`: what could have happened and did
    not. `depths`: reorganisations by how many blocks they replaced. `recovery_s`: from a killed agent's start to its
    next useful act, `resumed_s`: to its first decision in the resumed round; both over the starts during which the
    agent's way to the chain was free, `all` over every start. `quiet_s`: `recovery_s` without the waiting for a
    processor that others had; `cpu_s`: processor time until it had resumed. `epochs_repeated`: the most that one
    training lost by an interruption.
    """
    happened = [one for task in lived for one in task.happened if one.count]
    back = [one for task in lived for one in task.recoveries]
    free = [one for task in lived for one in task.recoveries if not _troubled(one, task.happened)]
    kinds, sorts = Counter(one.fault.kind for one in happened), Counter(one.fault.what for one in happened)
    depths = Counter(one.count for one in happened if one.fault.what is What.REORG)
    return {
        "seed": chaos.seed,
        "kinds": sorted(chaos.kinds),
        "minutes": chaos.minutes,
        "kills": sum(one.count for one in happened if one.fault.what in OF_AGENTS),
        "children": sum(one.count for one in happened if one.fault.what is What.CHILDREN),
        "reorgs": kinds[Kind.REORG],
        "rpc": kinds[Kind.RPC],
        "store": kinds[Kind.STORE],
        "what": {what.value: count for what, count in sorted(sorts.items())},
        "never": [what.value for what in sorted(chaos.sorts) if not sorts[what]],
        "depths": {str(blocks): count for blocks, count in sorted(depths.items())},
        "recovery_s": _times([one.useful_s for one in free], [one.useful_s for one in back]),
        "resumed_s": _times([one.resumed_s for one in free], [one.resumed_s for one in back]),
        "quiet_s": percentiles(one.quiet_s for one in free),
        "cpu_s": percentiles(one.cpu_s for one in back),
        "epochs_repeated": max(repeated_epochs(lines) for task in lived for lines in [*task.logs.values(), ()]),
        "recoveries": [{"task": number, **one.document(), "troubled": _troubled(one, task.happened)}
                       for number, task in enumerate(lived, 1) for one in task.recoveries],
        "happened": [{"task": number, **one.document()} for number, task in enumerate(lived, 1)
                     for one in task.happened],
    }


def _times(free: Sequence[float | None], every: Sequence[float | None]) -> dict[str, Any]:
    """`of`: how many were seen; the others were killed again before."""
    known = sum(1 for seconds in free if seconds is not None)
    return {**percentiles(free), "of": known, "all": {**percentiles(every), "of": sum(s is not None for s in every)}}


def _troubled(one: Recovery, happened: Iterable[Happened]) -> bool:
    """Whether the chain was out of this agent's reach for a part of its recovery."""
    until = one.at + max(one.useful_s or 0.0, one.resumed_s or 0.0)
    return any(other.fault.kind is Kind.RPC and one.name in other.fault.who
               and other.began <= until and other.ended >= one.at for other in happened)


def _task(one: Lived, checks: Sequence[Check]) -> dict[str, Any]:
    task = one.facts.task
    return {
        "address": task.address, "ok": all(check.holds for check in checks), "phase": task.phase.name.lower(),
        "rounds": task.params.rounds, "attempts": len(task.attempts), "files": one.directory.name,
        "requester_for_ever": one.facts.fetched, "accuracy": one.facts.accuracy,
        "faults": sum(1 for other in one.happened if other.count),
        "proof": [{"claim": check.claim, "holds": check.holds, "seen": check.seen} for check in checks],
    }
