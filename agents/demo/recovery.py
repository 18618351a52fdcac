"""How soon a killed agent works again, from its own log lines. Pure; times in seconds from its start by the supervisor.

*Resumed*: the log is folded up to the chain's head and the first decision is made. *Useful*: the first work that begins
or transaction that is sent; with nothing due, an agent is as useful as it can be when it has resumed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agents.demo.supervisor import Started
from agents.demo.telltale import KINDS, Line, seconds_of

RESUMED = "agent.resumed"
WORK = frozenset({"train.started", "score.started"})


@dataclass(frozen=True, slots=True)
class Recovery:
    """One life after a kill. None: it ended before that. Until it had resumed: `cpu_s` of processor time, `queued_s` of
    waiting for a processor that others had. `idle`: nothing was due."""

    name: str
    at: float
    resumed_s: float | None = None
    useful_s: float | None = None
    cpu_s: float | None = None
    queued_s: float | None = None
    idle: bool = False

    @property
    def quiet_s(self) -> float | None:
        """`useful_s` as it would be on a machine with nothing else to do."""
        if self.useful_s is None or self.queued_s is None:
            return None
        return round(max(0.0, self.useful_s - self.queued_s), 3)

    def document(self) -> dict[str, Any]:
        return {"name": self.name, "at": round(self.at, 3), "resumed_s": self.resumed_s, "useful_s": self.useful_s,
                "quiet_s": self.quiet_s, "cpu_s": self.cpu_s, "queued_s": self.queued_s, "idle": self.idle}


def recoveries(starts: Sequence[Started], logs: Mapping[str, Sequence[Line]]) -> list[Recovery]:
    """One for every start that followed a kill, in the order of time."""
    found = []
    for name, lines in logs.items():
        own = [one for one in starts if one.name == name]
        moments = [(seconds_of(line), line) for line in lines]
        for start, until in zip(own, [*(one.at for one in own[1:]), float("inf")], strict=True):
            if start.after is not None and start.after < 0:
                life = ((at - start.at, line) for at, line in moments if start.at <= at < until)
                found.append(_recovery(start, life))
    return sorted(found, key=lambda one: one.at)


def useful(line: Line) -> bool:
    """Whether a line shows work that began or a transaction on its way."""
    if line["event"] == "intent.started":
        return line.get("intent") in KINDS
    return line["event"] in WORK or line.get("step") == "sent"


def repeated_epochs(lines: Iterable[Line]) -> int:
    """The most epochs that one training repeated after an interruption; 0 if none did."""
    last: dict[tuple[object, object], int] = {}
    most = 0
    for line in lines:
        if line["event"] == "train.epoch.completed" and line.get("step") == line.get("steps"):
            training, epoch = (line["task"], line["round"]), int(line["epoch"])
            most = max(most, last.get(training, 0) - epoch + 1)
            last[training] = epoch
    return most


def percentiles(seconds: Iterable[float | None], shares: Sequence[int] = (50, 99)) -> dict[str, float | None]:
    """Nearest-rank percentiles of what is known, as `p50` and so on; None if nothing is."""
    known = sorted(value for value in seconds if value is not None)
    rank = {share: -(-len(known) * share // 100) for share in shares}
    return {f"p{share}": round(known[max(rank[share], 1) - 1], 3) if known else None for share in shares}


def _recovery(start: Started, life: Iterator[tuple[float, Line]]) -> Recovery:
    found, resumed, act, idle = Recovery(start.name, start.at), None, None, False
    for seconds, line in life:
        if line["event"] == RESUMED and resumed is None:
            resumed, idle = round(seconds, 3), not line["due"]
            found = replace(found, resumed_s=resumed, cpu_s=line["cpu_s"], queued_s=line["queued_s"], idle=idle)
        if act is None and (useful(line) or (idle and resumed is not None)):
            act = round(seconds, 3)
    return replace(found, useful_s=act)
