"""`result.json`: what a demo did, in numbers. Pure; wei as strings, addresses checksummed, hashes as hex."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.cli.earnings import row
from agents.demo.homes import Participant
from agents.demo.picture import Picture, Quality, RoundRow, fault_words, global_models, round_rows
from agents.demo.proof import Check, settled
from agents.demo.telltale import Line, accounts, seconds_of, spans
from agents.storage.cid import to_text
from bfl_events import schema as ev
from bfl_events.schema import Address, Record
from bfl_events.state import TaskState


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that was seen. `logs`: each participant's log lines by name; `peaks_mib`: of it and of its child."""

    picture: Picture
    task_name: str
    wall_s: float
    checks: Sequence[Check]
    records: Sequence[Record]
    logs: Mapping[str, Sequence[Line]]
    peaks_mib: Mapping[str, tuple[float, float]]
    balance_wei: int
    gas: Mapping[str, Mapping[str, int]]


def document(run: Run) -> dict[str, Any]:
    """The whole result. Works for any task that has started."""
    task = run.picture.task
    assert task is not None
    quality = run.picture.qualities()
    return {
        "ok": all(check.holds for check in run.checks),
        "task": run.task_name,
        "wall_s": round(run.wall_s, 2),
        "restarts": sum(run.picture.restarts.values()),
        "rounds": [_round(run, task, one, quality.get(one.number)) for one in round_rows(task)],
        "final": _final(task, quality.get(task.params.rounds)),
        "contract": {"address": task.address, "balance_wei_after": str(run.balance_wei)},
        "participants": [_participant(run, task, one) for one in run.picture.participants],
        "gas": run.gas,
        "proof": [{"claim": check.claim, "holds": check.holds, "seen": check.seen} for check in run.checks],
    }


def _round(run: Run, task: TaskState, one: RoundRow, quality: Quality | None) -> dict[str, Any]:
    name = [member.account if member is not None else None for member in task.members]
    base = global_models(task).get(one.number - 1)
    return {
        "round": one.number,
        "attempts": one.attempts,
        **_numbers(quality),
        "base_hash": None if base is None else base.hex(),
        "accepted": [name[index] for index in one.accepted],
        "top": [name[index] for index in one.top],
        "penalties": [_penalty(event) for event in _events(run, task)
                      if isinstance(event, ev.WorkerPenalized) and event.round == one.number],
        "seconds": {member.address: _seconds(run.logs.get(member.name, ()), one.number)
                    for member in run.picture.participants if member.role == "worker"},
    }


def _final(task: TaskState, quality: Quality | None) -> dict[str, Any]:
    cids = [one.cid for one in task.attestations.values() if one.final_hash == task.final_hash]
    known = any(task.final_hash)
    cid = to_text(cids[0]) if cids else None
    return {"model_hash": task.final_hash.hex() if known else None, "cid": cid, **_numbers(quality)}


def _participant(run: Run, task: TaskState, one: Participant) -> dict[str, Any]:
    money = row(task, run.records, one.address)
    peak, child_peak = run.peaks_mib.get(one.name, (0.0, 0.0))
    return {
        "address": one.address,
        "name": one.name,
        "role": one.role,
        "malicious": one.attack,
        "earned_wei": str(money.earned if money else 0),
        "slashed_wei": str(money.penalised if money else 0),
        "base_hashes": _bases(task, one.address),
        "restarts": run.picture.restarts.get(one.name, 0),
        "peak_rss_mib": round(peak, 1),
        "child_peak_rss_mib": round(child_peak, 1),
    }


def _bases(task: TaskState, account: Address) -> list[str | None]:
    """What a worker reported, one for each settled round; None for a round without its commitment."""
    index = task.index_of(account)
    commits = [attempt.commits.get(index) if index is not None else None for attempt in settled(task)]
    return [None if commit is None else commit.base_hash.hex() for commit in commits] if index is not None else []


def _penalty(event: ev.WorkerPenalized) -> dict[str, str]:
    return {"worker": event.worker, "reason": fault_words(event.reason), "wei": str(event.amount)}


def _seconds(lines: Sequence[Line], number: int) -> dict[str, float]:
    """How one worker spent one round, by its own log: from this round's beginning to the next one's, or to Attest."""
    begins = [(int(line["round"]), seconds_of(line)) for line in lines if line["event"] == "round.opened"]
    began = min((at for found, at in begins if found == number), default=None)
    if began is None:
        return {}
    later = [at for found, at in begins if found > number]
    closing = [seconds_of(line) for line in lines if line["event"] == "round.closed" and line.get("round") == number]
    ended = min(later, default=max(closing, default=began))
    return {name: round(value, 3) for name, value in accounts(spans(lines), began, ended).items()}


def _numbers(quality: Quality | None) -> dict[str, float | None]:
    if quality is None:
        return {"accuracy": None, "precision": None, "recall": None}
    return {name: round(getattr(quality, name), 5) for name in ("accuracy", "precision", "recall")}


def _events(run: Run, task: TaskState) -> list[ev.Event]:
    return [record.event for record in run.records if record.emitter == task.address]
