"""A backup of a home from each phase, put back in a later phase or round: the task comes to the same, to the wei.

Real processes, and a real chain that stands still in each phase while a home is copied or exchanged. Only torch is
replaced.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agents.core.global_model import HERE_MODEL, NEED_MODEL
from bfl_events.schema import Notice, Phase
from tests.crash import arms
from tests.crash.backups import VICTIM, Moment, Staging, moments, staging
from tests.crash.conftest import LIGHT
from tests.crash.manner import Manner
from tests.crash.rotation import check_final, check_models, rotate
from tests.crash.stage import KEYLESS, REQUESTER, Stage
from tests.crash.verdict import Outcome, faults, outcome, records

pytestmark = [pytest.mark.timeout(600), pytest.mark.parametrize("manner", [LIGHT], indirect=True)]
TRAIN, OPEN, SCORE, REVEAL, SETTLE, ATTEST = list(Phase)[Phase.TRAIN:Phase.COMPLETED]
RESTORED = {       # in which phase -> a backup of which
    (1, OPEN): (1, TRAIN), (1, SCORE): (1, OPEN), (1, REVEAL): (1, SCORE), (1, SETTLE): (1, REVEAL),
    (2, TRAIN): (1, SETTLE), (2, SCORE): (1, TRAIN), (2, REVEAL): (1, OPEN),
    (3, TRAIN): (1, SCORE), (3, OPEN): (1, REVEAL), (3, SETTLE): (2, SETTLE),
    (4, REVEAL): (3, SCORE), (5, SCORE): (1, OPEN), (5, ATTEST): (5, SETTLE),
}
AFTERWARDS = (5, ATTEST)
ROTATED_IN = (4, TRAIN)


def test_whatever_backup_of_a_worker_is_restored_when_it_repairs_itself_and_the_task_comes_to_the_same(
    undisturbed: Outcome, manner: Manner, tmp_path: Path
) -> None:
    assert {*RESTORED.values(), AFTERWARDS} >= {(1, phase) for phase in (TRAIN, OPEN, SCORE, REVEAL, SETTLE)}
    with staging(tmp_path, manner) as made:
        made.play(partial(copy_restore_and_rotate, made))
        made.restore(VICTIM, AFTERWARDS)
        made.ends()
        _, *lives, _ = made.lives(VICTIM)
        for life, (now, backup) in zip(lives, RESTORED.items(), strict=True):
            assert lost(life) == forgotten(backup, now), f"in {now}, of {backup}"
        repaired = [line for line in lives[-2] if line["event"] == "home.repaired"]
        assert len(repaired) == 1, "the last life that had lost something of its memory"
        check(made, VICTIM, undisturbed, rotated=arms.ROTATED)
        # in (5, SCORE) it knew nothing but round 1, of which nobody keeps the models any more
        assert {(5, base) for base in undisturbed.bases[5]} <= given_by_peers(made.stage, VICTIM)
        check_models(made.stage, KEYLESS, ROTATED_IN[0])
        check_final(made.stage, REQUESTER)


def test_whatever_backup_of_the_requester_is_restored_it_receives_the_final_model(
    undisturbed: Outcome, manner: Manner, tmp_path: Path
) -> None:
    restored = {(1, SCORE): (1, TRAIN), (2, OPEN): (1, OPEN), (3, SETTLE): (1, REVEAL), (5, ATTEST): (1, SCORE)}
    with staging(tmp_path, manner) as made:
        made.play(partial(copy_and_restore, made, REQUESTER, restored))
        made.restore(REQUESTER, (1, SETTLE))
        assert list(made.copies[REQUESTER, (1, SETTLE)].glob("results/*")) == [], "it delivers once more"
        made.ends()
        check(made, REQUESTER, undisturbed)


def copy_and_restore(made: Staging, name: str, restored: Mapping[Moment, Moment], moment: Moment) -> None:
    made.back_up(name, moment)
    if moment in restored:
        made.restore(name, restored[moment])


def copy_restore_and_rotate(made: Staging, moment: Moment) -> None:
    copy_and_restore(made, VICTIM, RESTORED, moment)
    if moment == ROTATED_IN:
        for name, failpoints in arms.ROTATED.items():
            rotate(made, name, failpoints)


def check(made: Staging, name: str, undisturbed: Outcome, rotated: Collection[str] = ()) -> None:
    """Each commitment, opening and reveal once (see `faults`), and the same models, rewards and penalties: none."""
    assert faults(made.stage, made.stage.pins, restored=name) == []
    found = outcome(made.stage)
    more = found.files - undisturbed.files
    assert all(one.partition("/keystore/encryption/RSA-")[0] in rotated for one in more), more
    assert found.penalties == ()
    assert found.comparable() == undisturbed.comparable()


def given_by_peers(stage: Stage, name: str) -> set[tuple[int, bytes]]:
    """(round, hash) of models that somebody asked for on the chain, and was told there where they are."""
    notices = [event for event in (record.event for record in records(stage)) if isinstance(event, Notice)]
    own = stage.addresses[name]
    asked = {(one.round, one.ref) for one in notices if one.kind == NEED_MODEL and one.sender == own}
    return asked & {(one.round, one.ref) for one in notices if one.kind == HERE_MODEL and one.to == own}


def forgotten(backup: Moment, now: Moment) -> set[str]:
    """What a worker that has acted in each phase must say it does not know any more."""
    between = [moment for moment in moments() if backup < moment <= now]
    told = {"transactions"} if any(phase != SETTLE for _, phase in between) else set()
    unknown = [f"its own {kind} of {named([round for round, one in between if one == phase])}"
               for kind, phase in (("models", TRAIN), ("scores", SCORE)) if phase in {one for _, one in between}]
    return told | ({f"the journal does not know {', '.join(unknown)} in task"} if unknown else set())


def named(rounds: list[int]) -> str:
    return f"round{'s' if len(rounds) > 1 else ''} {', '.join(map(str, rounds))}"


def lost(life: list[dict[str, Any]]) -> set[str]:
    """What the life said it had lost; of its memory, the sentence up to the task's name."""
    said = {line["what"].split()[0]: line["reason"] for line in life if line["event"] == "home.lost"}
    memory = said.pop("memory", "")
    blobs = said.pop("blobs", "")        # envelopes of rounds that were cleared since
    assert not blobs or "0 public files" in blobs
    return {*said, memory.partition(" 0x")[0]} - {""}
