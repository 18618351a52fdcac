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

    `differences`: what `bfl_events.verify` objects to. `left`: command lines of processes that did not end. Under
    `chaos`, a worker may have been absent; `losses` and `contradictions` are what must not have come of it, and
    `fetched` says that a fresh command brought the file, since the requester was gone for ever.
    """

    task: TaskState
    honest: AbstractSet[Address]
    delivered: bytes | None
    accuracy: float | None
    wanted_accuracy: float
    balance_wei: int
    differences: Sequence[str]
    left: Sequence[str]
    chaos: bool = False
    fetched: bool = False
    losses: Sequence[str] = ()
    contradictions: Sequence[str] = ()


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
    rounds, wrong = len(settled(task)), list(_odd_bases(task, facts.honest, absence_allowed=facts.chaos))
    attesters = [i for i, one in task.attestations.items() if one.final_hash == final]
    wanted = f"at least {facts.wanted_accuracy:.0%}" if facts.wanted_accuracy else "some share"
    seen_file = "there is none" if facts.delivered is None else f"SHA-256 {facts.delivered.hex()[:16]}…"
    whose = "a fresh `models get final` brings" if facts.fetched else "the requester's file is"
    return [
        Check("the task completed all its rounds", task.phase == Phase.COMPLETED and rounds == task.params.rounds,
              f"{task.phase.name.lower()}, {rounds} of {task.params.rounds} rounds settled"),
        Check("every honest worker started every round from the same model", not wrong and rounds > 0,
              "; ".join(wrong) or f"{rounds} rounds"),
        Check("the final model is attested", any(final) and len(attesters) * 2 > len(members_of(task.active)),
              f"{len(attesters)} attested {final.hex()[:16]}…"),
        Check(f"{whose} the attested model", facts.delivered == final, seen_file),
        Check(f"it is right on {wanted} of data that nobody trained on",
              facts.accuracy is not None and facts.accuracy >= facts.wanted_accuracy,
              "it could not be loaded" if facts.accuracy is None else f"{facts.accuracy:.2%}"),
        Check("the contract holds nothing any more", facts.balance_wei == 0, f"{facts.balance_wei} wei"),
        Check("the log alone gives the same medians, payouts and penalties", not facts.differences,
              "; ".join(facts.differences) or "verified"),
        Check("no process is left", not facts.left, ", ".join(facts.left) or "none"),
        *(_unharmed(facts) if facts.chaos else ()),
    ]


def _unharmed(facts: Facts) -> list[Check]:
    return [
        Check("an honest worker lost at most liveness fees for its own absences", not facts.losses,
              "; ".join(facts.losses) or "nothing else"),
        Check("nobody submitted twice, or anything but what it had committed to", not facts.contradictions,
              "; ".join(facts.contradictions) or "once each"),
    ]


def _odd_bases(task: TaskState, honest: AbstractSet[Address], *, absence_allowed: bool) -> Iterator[str]:
    for attempt in settled(task):
        expected = [i for i in members_of(attempt.roster) if task.member(i).account in honest]
        bases = {attempt.commits[i].base_hash for i in expected if i in attempt.commits}
        absent = [task.member(i).account for i in expected if i not in attempt.commits]
        if absent and not absence_allowed:
            yield f"round {attempt.round}: nothing from {', '.join(absent)}"
        if len(bases) > 1:
            yield f"round {attempt.round}: {len(bases)} different models"
