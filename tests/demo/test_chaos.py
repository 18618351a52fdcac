"""The plan of faults is a pure function of its seed, and keeps within what the protocol promises to bear."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice, pairwise

import pytest
from hypothesis import given, strategies as st

from agents.demo.chaos import CONFIRMATIONS, GAPS_S, KIND_OF, LASTS_S, OFTEN, QUIET_S, Chaos, Fault, Kind, What, faults
from agents.effects.settling import Timing

REQUESTER = "requester"
some_kinds = st.frozensets(st.sampled_from(Kind), min_size=1)
some_workers = st.integers(2, 6).map(lambda count: [f"worker-{number}" for number in range(1, count + 1)])


def plan(kinds: frozenset[Kind], seed: int, task: int, workers: list[str], length: int = 120) -> list[Fault]:
    return list(islice(faults(Chaos(kinds, seed, 1.0), task, REQUESTER, workers), length))


@given(some_kinds, st.integers(0), st.integers(0, 50), some_workers)
def test_a_seed_always_gives_the_same_plan(kinds: frozenset[Kind], seed: int, task: int, workers: list[str]) -> None:
    assert plan(kinds, seed, task, workers) == plan(frozenset(sorted(kinds)), seed, task, list(workers))


@given(some_kinds, st.integers(0), st.integers(0, 50), some_workers)
def test_faults_come_in_order_and_only_of_the_kinds_that_were_asked_for(
    kinds: frozenset[Kind], seed: int, task: int, workers: list[str]
) -> None:
    found = plan(kinds, seed, task, workers)
    assert {fault.kind for fault in found} <= kinds
    ordinary = [fault.at for fault in found if fault.what is not What.FOR_EVER]
    assert ordinary[0] >= QUIET_S
    assert all(GAPS_S[0] - 0.02 <= later - earlier <= GAPS_S[1] + 0.02 for earlier, later in pairwise(ordinary))


@given(some_kinds, st.integers(0), st.integers(0, 50), some_workers)
def test_every_fault_has_victims_and_stays_within_its_bounds(
    kinds: frozenset[Kind], seed: int, task: int, workers: list[str]
) -> None:
    everybody, gone = {REQUESTER, *workers}, False
    for fault in plan(kinds, seed, task, workers):
        assert fault.who
        assert set(fault.who) <= everybody - ({REQUESTER} if gone else set())
        assert len(set(fault.who)) == len(fault.who)
        gone = gone or fault.what is What.FOR_EVER
        if fault.what is What.CHILDREN:
            assert REQUESTER not in fault.who, "a requester has none"
        if fault.what in LASTS_S:
            shortest, longest = LASTS_S[fault.what]
            assert shortest <= fault.seconds <= longest
        else:
            assert fault.seconds == 0
        assert 0 <= fault.blocks <= CONFIRMATIONS
        assert fault.what is not What.REORG or fault.blocks >= 1


def test_no_fault_reaches_what_agents_act_on_or_take_for_buried() -> None:
    assert Timing().bury > CONFIRMATIONS


def test_over_some_tasks_everything_happens_and_the_requester_dies_in_every_other_one() -> None:
    tasks = [plan(frozenset(Kind), 7, task, ["worker-1", "worker-2", "worker-3"], 60) for task in range(40)]
    counts = Counter(fault.what for one in tasks for fault in one)
    assert counts.keys() == set(What)
    assert [sum(fault.what is What.FOR_EVER for fault in task) for task in tasks] == [1, 0] * 20
    depths = {fault.blocks for one in tasks for fault in one if fault.what is What.REORG}
    assert depths == {1, 2, 3, 4, 5, 6}
    assert any(len(fault.who) > 1 for one in tasks for fault in one if fault.what is What.AGENTS), "several at once"


def test_every_sort_of_fault_has_a_kind_and_a_weight() -> None:
    assert KIND_OF.keys() == set(What)
    assert OFTEN.keys() == set(What) - {What.FOR_EVER}


@pytest.mark.parametrize(("kinds", "moves"), [
    ({Kind.KILL}, False), ({Kind.KILL, Kind.STORE}, False), ({Kind.RPC}, True), ({Kind.REORG, Kind.KILL}, True),
])
def test_only_faults_that_take_blocks_back_ask_for_confirmations(kinds: set[Kind], moves: bool) -> None:
    assert Chaos(frozenset(kinds), 0, 1.0).moves_the_chain is moves


def test_a_plan_can_be_printed() -> None:
    document = [fault.document() for fault in plan(frozenset(Kind), 1, 0, ["worker-1", "worker-2"])]
    assert json.loads(json.dumps(document)) == document
    assert document[0].keys() == {"at", "kind", "what", "who", "seconds", "blocks"}
