"""What the agents' log files tell: what each is doing now, and how each of its seconds was spent.

Owns reading those files while they grow. Must not ask the agents anything: they run whether or not somebody reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

Line = Mapping[str, Any]

KINDS: Final[Mapping[str, str]] = {     # an intent -> where its time goes; whatever is not here is a transaction
    "TrainModel": "train", "AggregateModels": "train", "DryRun": "train", "ScoreModels": "score",
    "LoadTerms": "exchange", "PublishModel": "exchange", "FetchModel": "exchange", "PublishCopy": "exchange",
    "DeliverFinal": "exchange", "ClearRound": "exchange",
}
IDLE: Final = "waiting"
ACCOUNTS: Final = ("train", "score", "exchange", "chain")
DOING: Final[Mapping[str, str]] = {
    "LoadTerms": "reading the terms", "DryRun": "trying the task out", "JoinTask": "joining",
    "StartTask": "starting the task", "TrainModel": "training", "CommitModel": "committing its model",
    "PublishModel": "sealing its model", "OpenModel": "opening its model", "FetchModel": "fetching models",
    "ScoreModels": "scoring", "CommitScores": "committing its scores", "SubmitScore": "revealing its scores",
    "AdvanceRound": "advancing the round", "AggregateModels": "averaging", "PublishCopy": "sealing a copy",
    "AttestFinal": "attesting", "Withdraw": "withdrawing", "Refund": "taking its refund", "Burn": "burning forfeits",
    "DeliverFinal": "keeping the model", "SendNotice": "asking for a model",
}


@dataclass(frozen=True, slots=True)
class Span:
    """Something an agent did from `began` to `ended` (seconds since the epoch)."""

    account: str
    began: float
    ended: float


class LogTail:
    """Follows a JSON-lines file that is rotated by renaming; a line that is still being written waits."""

    def __init__(self, path: Path) -> None:
        self._path, self._inode, self._offset = path, -1, 0

    def read(self) -> list[Line]:
        """The lines since the last call."""
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            inode = self._path.stat().st_ino
            if inode != self._inode:
                self._inode, self._offset = inode, 0
            file.seek(self._offset)
            whole, _, _ = file.read().rpartition(b"\n")
            self._offset += len(whole) + 1 if whole else 0
            return list(_parsed(whole.splitlines()))
        return []


def read_log(path: Path) -> list[Line]:
    """All lines of an agent's log, rotated files first."""
    older = sorted(path.parent.glob(f"{path.name}.*"), key=lambda one: -int(one.suffix[1:]))
    return [line for one in (*older, path) if one.exists() for line in _parsed(one.read_bytes().splitlines())]


def doing(line: Line) -> str | None:
    """What an agent does, in words for people; None if the line does not tell."""
    intent, event = line.get("intent"), line["event"]
    if event == "train.epoch.completed":
        return f"training, epoch {line.get('epoch')} of {line.get('of')}"
    if event in ("intent.started", "train.started", "score.started"):
        return DOING.get(str(intent))
    if event in ("intent.retried", "chain.unreachable", "store.unreachable"):
        return f"trying again: {line.get('error', event)}"
    if "duration_s" in line:
        return IDLE
    return {"agent.started": "starting", "agent.stopped": "ended", "agent.draining": "ending"}.get(event)


def spans(lines: Iterable[Line]) -> list[Span]:
    """One span for each finished or cancelled intent."""
    found = []
    for line in lines:
        if "intent" in line and "duration_s" in line:
            ended = seconds_of(line)
            found.append(Span(KINDS.get(str(line["intent"]), "chain"), ended - float(line["duration_s"]), ended))
    return found


def accounts(done: Iterable[Span], began: float, ended: float) -> dict[str, float]:
    """Seconds between two moments by account, and `wait`: those in which nothing of the agent's own ran.

    Spans of one account that overlap count once.
    """
    cut = (Span(span.account, max(span.began, began), min(span.ended, ended)) for span in done)
    inside = [span for span in cut if span.ended > span.began]
    totals = {name: covered(s for s in inside if s.account == name) for name in ACCOUNTS}
    return {**totals, "wait": max(0.0, ended - began - covered(inside))}


def covered(done: Iterable[Span]) -> float:
    """The length of the union of spans, in seconds."""
    total, reached = 0.0, float("-inf")
    for span in sorted(done, key=lambda one: one.began):
        total += max(0.0, span.ended - max(span.began, reached))
        reached = max(reached, span.ended)
    return total


def seconds_of(line: Line) -> float:
    """A line's time, in seconds since the epoch."""
    return datetime.fromisoformat(str(line["ts"])).timestamp()


def _parsed(lines: Iterable[bytes]) -> Iterator[Line]:
    """A line that a kill cut short is skipped."""
    for line in lines:
        with suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict) and {"ts", "event"} <= found.keys():
                yield found
