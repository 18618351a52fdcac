"""The proof that a demo owes before it may say that it worked. Pure: facts in, checks out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set as AbstractSet
from dataclasses import dataclass

from bfl_events.bitmap import members_of
from bfl_events.schema import Address, Phase
from bfl_events.state import Attempt, TaskState


@dataclass(frozen=True, slots=True)
class Facts:
    """What was seen after the end. `delivered`: SHA-256 of the requester's file. `accuracy`: the child's measurement.

    `differences`: what `bfl_events.verify` objects to. `left`: command lines of processes that did not end.
    """

    task: TaskState
    honest: AbstractSet[Address]
    delivered: bytes | None
    accuracy: float | None
    wanted_accuracy: float
    balance_wei: int
    differences: Sequence[str]
    left: Sequence[str]


@dataclass(frozen=True, slots=True)
class Check:
    """One claim, whether it holds, and what was seen."""

    claim: str
    holds: bool
    seen: str


def settled(task: TaskState) -> list[Attempt]:
    """The attempt of each round that was scored, in the order of rounds."""
    return [attempt for attempt in task.attempts if attempt.scored is not None]


def prove(facts: Facts) -> list[Check]:
    """Every claim of the demo, in the order a reader would doubt them."""
    task, final = facts.task, facts.task.final_hash
    rounds, wrong = len(settled(task)), list(_odd_bases(task, facts.honest))
    attesters = [i for i, one in task.attestations.items() if one.final_hash == final]
    wanted = f"at least {facts.wanted_accuracy:.0%}" if facts.wanted_accuracy else "some share"
    seen_file = "there is none" if facts.delivered is None else f"SHA-256 {facts.delivered.hex()[:16]}…"
    return [
        Check("the task completed all its rounds", task.phase == Phase.COMPLETED and rounds == task.params.rounds,
              f"{task.phase.name.lower()}, {rounds} of {task.params.rounds} rounds settled"),
        Check("every honest worker started every round from the same model", not wrong and rounds > 0,
              "; ".join(wrong) or f"{rounds} rounds"),
        Check("the final model is attested", any(final) and len(attesters) * 2 > len(members_of(task.active)),
              f"{len(attesters)} attested {final.hex()[:16]}…"),
        Check("the requester's file is the attested model", facts.delivered == final, seen_file),
        Check(f"it is right on {wanted} of data that nobody trained on",
              facts.accuracy is not None and facts.accuracy >= facts.wanted_accuracy,
              "it could not be loaded" if facts.accuracy is None else f"{facts.accuracy:.2%}"),
        Check("the contract holds nothing any more", facts.balance_wei == 0, f"{facts.balance_wei} wei"),
        Check("the log alone gives the same medians, payouts and penalties", not facts.differences,
              "; ".join(facts.differences) or "verified"),
        Check("no process is left", not facts.left, ", ".join(facts.left) or "none"),
    ]


def _odd_bases(task: TaskState, honest: AbstractSet[Address]) -> Iterator[str]:
    for attempt in settled(task):
        expected = [i for i in members_of(attempt.roster) if task.member(i).account in honest]
        bases = {attempt.commits[i].base_hash for i in expected if i in attempt.commits}
        absent = [task.member(i).account for i in expected if i not in attempt.commits]
        if absent:
            yield f"round {attempt.round}: nothing from {', '.join(absent)}"
        if len(bases) > 1:
            yield f"round {attempt.round}: {len(bases)} different models"
