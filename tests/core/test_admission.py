"""Terms that would trap a worker are declined with the reason, before any wei is bonded (PROTOCOL 7.7)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.core.admission import ROUND_GAS, admission, decline, let_go, terms_of
from agents.core.intents import ClearRound, Done, DryRun, JoinTask, LoadTerms, Outcome, Refused, TermsReady
from agents.core.specification import Specification
from agents.core.state import Limits, Me, Memory, Now
from bfl_events.schema import Phase, Wei
from bfl_events.state import EncryptionKey, TaskState
from tests.core.tasks import BEGAN, PARAMS, TASK, account, at, me, task

NEWCOMER = 7
NOW = Now(BEGAN + 20.0, 20, 1.0)


def joining(**changes: object) -> TaskState:
    return task(2, Phase.JOINING, params=replace(PARAMS, **changes), round=0, attempt=0, attempts=())


def candidate(**limits: object) -> Me:
    return me(NEWCOMER, limits=replace(Limits(max_collateral_wei=10**18), **limits))


def knowing(state: TaskState, *outcomes: Outcome, invited: int = NEWCOMER) -> Memory:
    """A memory with the terms loaded and, if given, the dry run's outcome."""
    document = Specification("digits", 10, allowed=(account(invited).lower(),)).encode().decode()
    known: dict[str, Outcome] = {terms_of(state).key: TermsReady(document)}
    for outcome in outcomes:
        known[DryRun(TASK, PARAMS.model_hash).key] = outcome
    return Memory(known, frozenset({PARAMS.model_hash}))


def test_the_way_in_is_terms_then_dry_run_then_the_bond() -> None:
    state = joining()
    assert [type(i) for i in admission(state, Memory(), candidate(), NOW)] == [LoadTerms]
    assert [type(i) for i in admission(state, knowing(state), candidate(), NOW)] == [DryRun]
    assert list(admission(state, knowing(state, Done()), candidate(), NOW)) == [JoinTask(TASK, PARAMS.collateral)]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"collateral": 2 * 10**18}, "above policy.max_collateral_wei"),
        ({"collateral": 10**18, "max_workers": 126}, "x the reward per seat"),
        ({"allow_root": bytes(32)}, "strangers could take a majority"),
        ({"allow_root": bytes(32), "collateral": 10**15, "late_join": True}, "lateJoin without an allow-list"),
        ({"fee_bps": 2001}, "feeBps 2001"),
        ({"miss_bps": 1001}, "missBps 1001"),
        ({"slash_bps": 5001}, "slashBps 5001"),
        ({"max_miss": 1}, "maxMiss 1"),
        ({"max_low": 1}, "maxLow 1"),
        ({"max_low": 2}, "maxLow 2"),
        ({"accept_bps": 9501}, "acceptBps 9501"),
        ({"reveal_window": 9}, "shortest window is 9 s"),
        ({"hard_stop": BEGAN + 9000}, "hard stop"),
    ],
)
def test_a_trap_is_declined_with_its_reason(changes: dict[str, object], says: str) -> None:
    state = joining(**changes)
    assert says in str(decline(state, knowing(state, Done()), candidate(), NOW))
    assert list(admission(state, knowing(state, Done()), candidate(), NOW)) == []


def test_a_stranger_as_requester_is_declined() -> None:
    me_ = candidate(requesters=frozenset({account(9)}))
    assert "not among policy.requesters" in str(decline(joining(), Memory(), me_, NOW))


def test_a_second_seat_of_the_same_owner_is_declined() -> None:
    me_ = candidate(own_accounts=frozenset({account(1)}))
    assert "another account of this operator" in str(decline(joining(), Memory(), me_, NOW))


def test_a_requester_without_a_key_to_seal_the_final_model_for_is_declined() -> None:
    keyless = EncryptionKey(0, b"", at(1))
    for keys in ((), (keyless,), (EncryptionKey(0, b"k", at(1)), keyless)):
        state = replace(joining(), requester_keys=keys)
        assert "published no encryption key" in str(decline(state, knowing(state, Done()), candidate(), NOW))


def test_a_reward_below_the_gas_of_a_round_is_declined_while_gas_is_that_dear() -> None:
    """Three share 2 gwei x 300,000 gas a round each, if no more come."""
    reward = Wei(PARAMS.rounds * 3 * ROUND_GAS * 2 * 10**9)
    state = replace(joining(collateral=10**13), reward=reward)
    known = knowing(state, Done())
    for base_fee, declined in ((0, False), (2 * 10**9, False), (2 * 10**9 + 1, True), (2 * 10**9, False)):
        now = replace(NOW, base_fee=base_fee)
        assert bool(list(admission(state, known, candidate(), now))) is not declined
        assert ("x the base fee of a worker's 300000 gas" in str(decline(state, known, candidate(), now))) is declined
    dear = replace(NOW, base_fee=10**12)
    assert decline(state, known, candidate(min_reward_to_gas=0.0), dear) is None
    assert "min_reward_to_gas = 1.5" in str(
        decline(state, known, candidate(min_reward_to_gas=1.5), replace(NOW, base_fee=14 * 10**8)))


def test_a_reward_below_the_operators_own_floor_is_declined() -> None:
    state = replace(joining(collateral=10**13), reward=Wei(5 * 10**15))
    known = knowing(state, Done())
    assert decline(state, known, candidate(min_reward_per_round_wei=10**15), NOW) is None
    assert "below policy.min_reward_per_round_wei" in str(
        decline(state, known, candidate(min_reward_per_round_wei=10**15 + 1), NOW))


@pytest.mark.parametrize(
    ("state", "outcomes", "invited", "gone"),
    [
        (joining(), (Done(),), NEWCOMER, False),
        (joining(), (Refused("labels out of range"),), NEWCOMER, True),
        (joining(), (), 3, True),
        (replace(joining(max_workers=2), active=0b11), (Done(),), NEWCOMER, True),
        (task(2, Phase.TRAIN), (), NEWCOMER, True),
        (joining(slash_bps=5001), (Done(),), NEWCOMER, False),            # limits may be raised
    ],
    ids=["wanted", "the dry run failed", "not invited", "full", "under way", "beyond a limit"],
)
def test_the_first_model_of_a_task_that_is_not_joined_goes_unless_another_may_need_it(
    state: TaskState, outcomes: tuple[Outcome, ...], invited: int, *, gone: bool
) -> None:
    memory, me_ = knowing(state, *outcomes, invited=invited), candidate()
    clear = [ClearRound(TASK, 0, (PARAMS.model_hash,), ())] if gone else []
    assert list(let_go([state], memory, me_, NOW)) == clear
    assert not list(let_go([state], replace(memory, models=frozenset()), me_, NOW)), "once is enough"
    other = replace(joining(), address=account(99))
    assert not list(let_go([state, other], memory, me_, NOW))
    assert not list(let_go([state, replace(task(8), address=account(99))], memory, me_, NOW)), "a seat needs it"


def test_whoever_is_not_on_the_allow_list_does_not_try() -> None:
    state = joining()
    memory = knowing(state, Done(), invited=3)
    assert "not on its allow-list" in str(decline(state, memory, candidate(), NOW))


def test_a_failed_dry_run_is_the_last_word() -> None:
    state = joining()
    memory = knowing(state, Refused("labels out of range"))
    assert decline(state, memory, candidate(), NOW) == "labels out of range"
    assert list(admission(state, memory, candidate(), NOW)) == []


def test_a_full_or_closed_task_asks_for_nothing() -> None:
    full = task(5, Phase.JOINING)
    late = replace(joining(), deadline=BEGAN)
    for state in (full, late, task(3, Phase.TRAIN)):
        assert list(admission(state, knowing(state, Done()), candidate(), NOW)) == []
