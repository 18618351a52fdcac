"""When most of the roster builds on another global model: it is noticed, said in which words, and mended."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.core import intents as i
from agents.core.divergence import BaseCheck, check_base
from agents.core.global_model import NEED_MODEL
from agents.core.intents import AggregateModels, CommitModel, ModelReady, SendNotice, TermsReady, TrainModel
from agents.core.reduce import fold
from agents.core.specification import Specification
from agents.core.state import Memory, World
from agents.core.worker import decide, terms_of
from bfl_events.schema import ModelCommitted, Phase, WorkerPenalized
from bfl_events.state import Attestation, TaskState
from tests.core.tasks import PARAMS, TASK, at, digest, me, task
from tests.core.test_global_model import AGGREGATE, G0, G1, LATER, OTHER, SETTLED, second_round
from tests.simulation.deciders import Agent, Federation

TERMS = {terms_of(task()).key: TermsReady(Specification("digits", 10).encode().decode())}
MINE = Memory({**TERMS, AGGREGATE.key: ModelReady(G1)}, frozenset({G0, G1}))
BOTH = replace(MINE, models=MINE.models | {OTHER})


def checked(state: TaskState, memory: Memory = MINE) -> tuple[bytes, bytes, bool] | None:
    found = check_base(state, memory, me(1))
    return None if found is None else (found.mine, found.theirs, found.mended)


def test_without_a_majority_there_is_nothing_to_compare() -> None:
    assert checked(second_round({0: OTHER})) is None
    assert checked(second_round({0: OTHER, 2: G1})) is None


def test_the_same_base_is_no_alarm() -> None:
    assert checked(second_round({0: G1, 2: G1})) == (G1, G1, True)


def test_another_base_than_the_majoritys_is_noticed_before_and_after_my_commitment() -> None:
    assert checked(second_round({0: OTHER, 2: OTHER})) == (G1, OTHER, False)
    assert checked(second_round({0: OTHER, 1: G1, 2: OTHER})) == (G1, OTHER, False)
    assert checked(second_round({0: OTHER, 1: G1, 2: OTHER}), BOTH) == (G1, OTHER, True)
    assert checked(second_round({0: OTHER, 1: OTHER, 2: OTHER}), BOTH) == (OTHER, OTHER, True)


def test_whoever_has_no_base_or_no_seat_compares_nothing() -> None:
    state = second_round({0: OTHER, 2: OTHER})
    assert checked(state, Memory({}, frozenset({G0}))) is None
    assert check_base(state, MINE, me(7)) is None
    assert check_base(replace(state, active=state.active & ~0b10), MINE, me(1)) is None
    assert check_base(replace(state, phase=Phase.EXPIRED), MINE, me(1)) is None


def test_a_final_model_that_most_did_not_attest_is_noticed_too() -> None:
    attested = {1: Attestation(G1, b"cid", at(90))}
    last = replace(second_round(), params=replace(PARAMS, rounds=1), phase=Phase.ATTEST, round=1, attempts=(SETTLED,),
                   final_hash=OTHER)
    found = check_base(replace(last, attestations=attested), MINE, me(1))
    assert found is not None
    assert (found.round, found.mine, found.theirs) == (2, G1, OTHER)
    assert "does not count" in found.next
    waiting = check_base(last, MINE, me(1))
    assert waiting is not None
    assert "then attested" in waiting.next


@pytest.mark.parametrize(
    ("phase", "committed", "says"),
    [
        (Phase.TRAIN, False, "nothing is trained or committed"),
        (Phase.TRAIN, True, "training begins again"),
        (Phase.OPEN, True, "scores are measured against the majority's base"),
        (Phase.REVEAL, True, "the next round starts from it"),
    ],
)
def test_the_alarm_says_what_happens_next(phase: Phase, committed: bool, says: str) -> None:
    starts = {0: OTHER, 2: OTHER} | ({1: G1} if committed else {})
    found = check_base(replace(second_round(starts), phase=phase), MINE, me(1))
    assert found is not None
    assert says in found.next


def test_nobody_trains_or_commits_on_another_base_than_the_majoritys() -> None:
    state = second_round({0: OTHER, 2: OTHER})
    trained = replace(MINE, outcomes={**MINE.outcomes, TrainModel(TASK, 2, G1).key: ModelReady(digest("trained"))},
                      models=MINE.models | {digest("trained"), *(o.model_hash for o in SETTLED.opened.values())})
    wanted = decide(World({TASK: state}), trained, me(1), LATER)
    assert SendNotice(TASK, NEED_MODEL, 2, "0x" + "00" * 20, OTHER) in wanted
    assert not [intent for intent in wanted if isinstance(intent, TrainModel | CommitModel)]
    resynced = replace(trained, models=trained.models | {OTHER})
    assert TrainModel(TASK, 2, OTHER) in decide(World({TASK: state}), resynced, me(1), LATER)


class Miscalculated(Federation):
    """One worker's first aggregate comes out wrong; every comparison that it ever makes is kept."""

    def __init__(self, seed: int) -> None:
        super().__init__(3, seed)
        self.checks: list[BaseCheck] = []

    def _work(self, agent: Agent, intent: i.Work) -> i.Outcome | None:
        victim = agent is self.workers[1]
        if victim and isinstance(intent, AggregateModels) and intent.round == 1:
            return ModelReady(digest("another G1"))
        return super()._work(agent, intent)

    def _act(self, agent: Agent) -> bool:
        if agent is self.workers[1]:
            state = fold(World(), self.chain.records).tasks[self.task.state.address]
            found = check_base(state, agent.memory, agent.me)
            if found is not None and (not self.checks or self.checks[-1] != found):
                self.checks.append(found)
        return super()._act(agent)


def test_a_worker_that_went_astray_comes_back_and_loses_nothing() -> None:
    """With seed 0 it sees the majority before it commits, with seed 3 it has committed already."""
    committed_first = 0
    for seed in (0, 3):
        federation = Miscalculated(seed)
        federation.run(60)
        records = [record.event for record in federation.chain.records]
        bases = {n: {e.base_hash for e in records if isinstance(e, ModelCommitted) and e.round == n} for n in (2, 3)}
        committed_first += len(bases[2]) == 2
        assert len(bases[3]) == 1
        assert [c.round for c in federation.checks if c.differs and not c.mended] == [2]
        assert federation.checks[-1].mended
        assert not [e for e in records if isinstance(e, WorkerPenalized)]
        assert federation.task.state.phase == Phase.COMPLETED
        assert federation.delivered == federation.task.state.final_hash
    assert committed_first == 1
