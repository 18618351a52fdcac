"""Recomputes everything that the contract computed, from its logs alone, and names the lines that contradict.

Every median, acceptance, theta, top K, deviant, payout, penalty, removal, deadline, phase, quorum, commitment and
payment follows from the lines before it or is proved by a line after it. Nothing in the logs pins these fields, only
the hash chain of an export does: keys, CIDs and sizes of envelopes; the contents of a notice, and which member sent it
or rotated a key; the base hash of a commitment; commitments that were never opened, and minority attestations; a payout
address to which nothing was paid; the audit seed, which holds the block's randomness; a record's block, hash, time and
transaction beyond their order. The terms of a task are pinned by its address, which takes the `implementation` behind
the factory to compute.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from bfl_events import schema as ev
from bfl_events.fold import begin
from bfl_events.schema import Address, Record
from bfl_events.verifying.blocks import check_places
from bfl_events.verifying.evidence import gather
from bfl_events.verifying.finding import Finding, sentence
from bfl_events.verifying.shape import misshapen
from bfl_events.verifying.task import TaskVerifier

__all__ = ["Finding", "verify"]


def verify(records: Sequence[Record], *, chain_id: int, implementation: Address | None = None) -> list[Finding]:
    """All contradictions in a log of one or more tasks, in the order of their lines; empty if there is none.

    The log starts with each task's `TaskCreated`; it may end anywhere between two calls. Without `implementation` the
    terms are only checked against what happened.
    """
    findings = list(check_places(records))
    by_task: defaultdict[Address, list[tuple[int, Record]]] = defaultdict(list)
    created: dict[Address, tuple[int, Record]] = {}
    for number, record in enumerate(records, start=1):
        if impossible := misshapen(record):
            findings.append(Finding(number, sentence(record.event, impossible)))
            continue
        match record.event:
            case ev.TaskCreated(task):
                findings += _announced_twice(created, task, number)
                created.setdefault(task, (number, record))
            case _:
                by_task[record.emitter].append((number, record))
    findings += _adopt_orphans(created, by_task)
    for task, (line, announcement) in created.items():
        numbered = by_task.get(task, [])
        verifier = TaskVerifier(
            begin(replace(announcement, block=line, log_index=0)), line, gather(chain_id, task, numbered), chain_id,
            implementation)
        for number, record in numbered:
            verifier.take(number, record)
        verifier.finish()
        findings += verifier.findings
    return sorted(findings)


def _announced_twice(
    created: dict[Address, tuple[int, Record]], task: Address, number: int
) -> list[Finding]:
    if task not in created:
        return []
    line = created[task][0]
    return [Finding(number, f"TaskCreated: {task} was created before", (line,))]


def _adopt_orphans(
    created: dict[Address, tuple[int, Record]], by_task: dict[Address, list[tuple[int, Record]]]
) -> list[Finding]:
    """Contracts that log without having been created: a wrong name in `TaskCreated`, or wrong emitters."""
    findings = []
    for task in [emitter for emitter in by_task if emitter not in created]:
        number, record = by_task[task][0]
        named = next((name for name, (line, announcement) in created.items()
                      if line == number - 1 and announcement.tx == record.tx and name not in by_task), None)
        if named is not None and isinstance(record.event, ev.TaskInitialized):
            findings.append(Finding(number - 1, f"TaskCreated: task is {named}, expected {task}", (number,)))
            created[task] = _renamed(*created.pop(named), task)
            continue
        findings += [Finding(line, f"{type(stray.event).__name__}: emitter {task} is no task of this log")
                     for line, stray in by_task[task]]
    return findings


def _renamed(line: int, announcement: Record, task: Address) -> tuple[int, Record]:
    event = announcement.event
    assert isinstance(event, ev.TaskCreated)
    return line, replace(announcement, event=replace(event, task=task))
