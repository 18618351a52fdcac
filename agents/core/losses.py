"""What this account did on chain and this memory knows nothing of: the journal was lost, or is an older backup's.

The chain remembers every own act, the journal how each came about: the difference is what was lost (PROTOCOL 2.3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from agents.core.admission import terms_of
from agents.core.global_model import start_of
from agents.core.intents import ModelReady, TrainModel
from agents.core.state import Me, Memory, World, forgot_key
from bfl_events.schema import Address, Phase
from bfl_events.state import TaskState


@dataclass(frozen=True, slots=True)
class Loss:
    """In one task. `models`, `rows`: rounds whose own model or score row the journal has no record of; `files`: model
    files that it names and that are gone. `terms`: it does not even know the task."""

    task: Address
    terms: bool
    models: tuple[int, ...]
    rows: tuple[int, ...]
    files: int

    @property
    def sentence(self) -> str:
        """What was lost, and what is done about it."""
        lost = [
            *(["that it has a seat at all"] if self.terms else []),
            *([f"its own models of {_rounds(self.models)}"] if self.models else []),
            *([f"its own scores of {_rounds(self.rows)}"] if self.rows else []),
        ]
        said = []
        if lost:
            said.append(f"the journal does not know {', '.join(lost)} in task {self.task}, which the chain shows: it "
                        "was lost, or an older backup was restored")
        if self.files:
            said.append(f"of the model files of task {self.task} that the journal names, {self.files} are gone")
        return "; ".join(said) + (". What the open round needs is fetched from the peers or made again; a commitment "
                                  "that cannot be made again is not opened, which costs its fee")


def losses(world: World, memory: Memory, me: Me) -> tuple[Loss, ...]:
    """Over all tasks that still count on me."""
    found = (_loss(task, memory, me, index) for task, index in _mine(world, me))
    return tuple(loss for loss in found if loss is not None)


def forgotten_commitments(world: World, memory: Memory, me: Me) -> tuple[str, ...]:
    """Keys that mark own commitments of the open attempts as made in a time this journal does not know.

    A commitment is taken for that only where the journal never did the work behind it; if it did, and with another
    result, somebody else uses the account's key.
    """
    return tuple(key for task, index in _mine(world, me) for key in _unaccounted(task, memory, me, index))


def told_marks(loss: Loss) -> tuple[str, ...]:
    """Keys that mark these rounds as told: the next start does not tell them again."""
    kinds = (("model", loss.models), ("row", loss.rows))
    return tuple(f"forgot:{loss.task}:{kind}:{round}" for kind, rounds in kinds for round in rounds)


def repaired(task: TaskState, memory: Memory, me: Me) -> bool:
    """Whether everything is there that the open round needs of me."""
    index = task.index_of(me.address)
    if index is None or task.phase.ended or not task.active >> index & 1:
        return True
    if memory.terms(terms_of(task).key) is None or task.params.model_hash not in memory.models:
        return False
    round = task.params.rounds + 1 if task.phase == Phase.ATTEST else task.round
    start = start_of(task, memory, round)
    here = (not task.phase.in_round and task.phase != Phase.ATTEST) or (start is not None and start in memory.models)
    return here and not any(True for _ in _unaccounted(task, memory, me, index))


def _mine(world: World, me: Me) -> Iterator[tuple[TaskState, int]]:
    for task in world.tasks.values():
        index = task.index_of(me.address)
        if index is not None and not task.phase.ended and me.task in (None, task.address):
            yield task, index


def _loss(task: TaskState, memory: Memory, me: Me, index: int) -> Loss | None:
    known = {tuple(key.split(":")[:3]) for key in memory.outcomes}
    models = {a.round for a in task.attempts
              if index in a.commits and ("train", task.address, str(a.round)) not in known}
    rows = {a.round for a in task.attempts
            if index in a.score_commits and ("score", task.address, str(a.number)) not in known}
    models = {round for round in models if f"forgot:{task.address}:model:{round}" not in memory.outcomes}
    rows = {round for round in rows if f"forgot:{task.address}:row:{round}" not in memory.outcomes}
    terms = memory.terms(terms_of(task).key) is None
    files = sum(1 for _ in _missing_files(task, memory, me))
    if not (models or rows or terms or files):
        return None
    return Loss(task.address, terms, tuple(sorted(models)), tuple(sorted(rows)), files)


def _missing_files(task: TaskState, memory: Memory, me: Me) -> Iterator[bytes]:
    """Model files of rounds that are still retained. What made or brought them: train, aggregate, fetch."""
    places = {"train": 2, "aggregate": 2, "fetch": 3}
    for key, outcome in memory.outcomes.items():
        parts = key.split(":")
        if not isinstance(outcome, ModelReady) or parts[0] not in places or parts[1] != task.address:
            continue
        retained = int(parts[places[parts[0]]]) >= task.round - me.retain_rounds
        if retained and outcome.model_hash not in memory.models:
            yield outcome.model_hash


def _unaccounted(task: TaskState, memory: Memory, me: Me, index: int) -> Iterator[str]:
    if not task.phase.in_round:
        return
    attempt = task.current
    commit, scores = attempt.commits.get(index), attempt.score_commits.get(index)
    seal = partial(me.seals.model, task.address, task.round, task.attempt)
    if commit is not None and not memory.made(f"train:{task.address}:{task.round}:", commit.digest, seal):
        train = TrainModel(task.address, task.round, commit.base_hash)
        if not isinstance(memory.outcomes.get(train.key), ModelReady):
            yield forgot_key(task.address, task.attempt, commit.digest)
    if scores is not None and not _row_is_known(task, memory, me, scores.digest):
        yield forgot_key(task.address, task.attempt, scores.digest)


def _row_is_known(task: TaskState, memory: Memory, me: Me, digest: bytes) -> bool:
    """Whether the row behind this commitment was journalled, or another that judges under this fork's seed."""
    prefix, here = f"score:{task.address}:{task.attempt}:", f"{task.current.seed.hex()}:"
    seal = partial(me.seals.scores, task.address, task.round, task.attempt)
    return any(key.startswith(prefix + here) or seal(one.row) == digest for key, one in memory.rows_under(prefix))


def _rounds(rounds: tuple[int, ...]) -> str:
    return f"round{'s' if len(rounds) > 1 else ''} {', '.join(map(str, rounds))}"
