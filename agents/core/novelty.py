"""Which models an opened one must differ from, so that copies and old work score 0 (PROTOCOL 3.4, V6)."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from bfl_events.state import Attempt, TaskState


def compared_with(task: TaskState, attempt: Attempt, index: int, held: AbstractSet[bytes]) -> tuple[bytes, ...]:
    """Hashes, among those held, of the models that worker `index` may not have copied. Sorted.

    Those committed earlier in this attempt; all others published in the last two rounds or in an earlier attempt of
    this round; its own of earlier rounds, and of an earlier attempt if a row of that attempt was revealed.
    """
    known: set[bytes] = set()
    place = attempt.commits[index].at
    for other, opened in attempt.opened.items():
        if other != index and attempt.commits[other].at < place:
            known.add(opened.model_hash)
    for past in task.attempts:
        if past.number >= attempt.number:
            continue
        same_round = past.round == attempt.round
        for other, opened in past.opened.items():
            own = other == index
            of_others = not own and past.round >= attempt.round - 2
            of_itself = own and (not same_round or bool(past.revealed))
            if of_others or of_itself:
                known.add(opened.model_hash)
    return tuple(sorted(known & set(held)))
