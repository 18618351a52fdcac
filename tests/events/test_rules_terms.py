"""Limits of a task's terms, presets, and how much collateral deters (PROTOCOL 4.3, 4.4, 8)."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from bfl_events.rules import (
    CollateralQuestion,
    check_contents,
    check_params,
    collateral_bounds,
    default_collateral,
    default_top_k,
    earliest_hard_stop,
    presets,
)
from bfl_events.schema import Params
from tests.events.ballots import terms

NOW = 1_700_000_000
REWARD = 30
DAY = 86_400

LIMITS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("rounds", {"rounds": 1}, {"rounds": 0}),
    ("minActive", {"min_active": 2}, {"min_active": 1}),
    ("minActive", {"min_active": 3}, {"min_active": 4}),
    ("maxWorkers", {"max_workers": 126}, {"max_workers": 127}),
    ("maxWorkers", {"max_workers": 3}, {"max_workers": 2}),
    ("topK", {"top_k": 1}, {"top_k": 0}),
    ("topShareBps", {"top_share_bps": 5000}, {"top_share_bps": 4999}),
    ("topShareBps", {"top_share_bps": 10_000}, {"top_share_bps": 10_001}),
    ("tieBand", {"tie_band": 10_000}, {"tie_band": 10_001}),
    ("acceptBps", {"accept_bps": 10_000}, {"accept_bps": 10_001}),
    ("devTol", {"dev_tol": 1}, {"dev_tol": 0}),
    ("devTol", {"dev_tol": 10_000}, {"dev_tol": 10_001}),
    ("slashBps", {"slash_bps": 10_000}, {"slash_bps": 10_001}),
    ("slashBps", {"fee_bps": 5000}, {"fee_bps": 5001}),
    ("missBps", {"miss_bps": 1000}, {"miss_bps": 1001}),
    ("burnBps", {"burn_bps": 10_000}, {"burn_bps": 10_001}),
    ("maxMiss", {"max_miss": 1}, {"max_miss": 0}),
    ("maxVoid", {"max_void": 3}, {"max_void": 2}),
    ("maxVoid", {"max_void": 254}, {"max_void": 255}),
    ("joinWindow", {"join_window": 1}, {"join_window": 0}),
    *((name, {field: 1}, {field: 0}) for name, field in (
        ("trainWindow", "train_window"), ("openWindow", "open_window"), ("scoreWindow", "score_window"),
        ("revealWindow", "reveal_window"), ("attestWindow", "attest_window"))),
    ("attestWindow", {"attest_window": 60 * DAY}, {"attest_window": 60 * DAY + 1}),
    ("hardStop", {"hard_stop": NOW + 100 + 3 * 400}, {"hard_stop": NOW + 100 + 3 * 400 - 1}),
    ("hardStop", {"hard_stop": NOW + 3650 * DAY}, {"hard_stop": NOW + 3650 * DAY + 1}),
    ("collateral", {"collateral": 2**120}, {"collateral": 2**120 + 1}),
]


@pytest.mark.parametrize(("name", "good", "bad"), LIMITS)
def test_each_limit_holds_on_both_sides_and_names_the_term(
    name: str, good: dict[str, Any], bad: dict[str, Any]
) -> None:
    assert check_params(terms(**good), NOW, REWARD) == []
    reasons = check_params(terms(**bad), NOW, REWARD)
    assert len(reasons) == 1
    assert name in reasons[0]


@pytest.mark.parametrize(("reward", "fits"), [(2, False), (3, True), (2**120, True), (2**120 + 1, False)])
def test_the_reward_is_at_least_one_wei_a_round(reward: int, *, fits: bool) -> None:
    assert (check_params(terms(), NOW, reward) == []) is fits


def test_every_reason_is_given_at_once() -> None:
    assert len(check_params(terms(dev_tol=0, top_k=0, burn_bps=-1), NOW, 0)) == 4


def test_the_earliest_hard_stop_is_just_accepted() -> None:
    stop = earliest_hard_stop(terms(), NOW)
    assert check_params(terms(hard_stop=stop), NOW, REWARD) == []
    assert check_params(terms(hard_stop=stop - 1), NOW, REWARD) != []


def test_contents_have_limits_too() -> None:
    assert check_contents(bytes(64), bytes(64), bytes(1024)) == []
    assert len(check_contents(bytes(65), bytes(65), b"")) == 3
    assert len(check_contents(b"", b"", bytes(1025))) == 1


@pytest.mark.parametrize("name", ["iid", "non-iid", "open"])
def test_every_preset_makes_terms_that_the_contract_takes(name: str) -> None:
    preset = presets()[name]
    shared = {f.name: getattr(preset, f.name) for f in fields(preset) if f.name in {p.name for p in fields(Params)}}
    assert check_params(replace(terms(), **shared, top_k=preset.top_k), NOW, REWARD) == []


def test_the_presets_are_the_table_of_the_protocol() -> None:
    table = presets()
    assert [(p.min_workers, p.min_active, p.max_workers) for p in table.values()] == [
        (3, 2, 30), (5, 3, 30), (7, 4, 62)]
    assert [(p.top_k, p.top_share_bps, p.tie_band) for p in table.values()] == [
        (10, 7000, 500), (10, 5000, 1000), (21, 5000, 500)]
    assert [(p.accept_bps, p.dev_tol, p.common_dev_tol) for p in table.values()] == [
        (8000, 1500, 750), (7000, 2500, 1000), (8000, 1500, 1500)]
    assert [p.burn_bps for p in table.values()] == [0, 0, 10_000]
    assert [p.max_low for p in table.values()] == [3, 0, 3]
    assert all(asdict(p)["slash_bps"] == 5000 and (p.fee_bps, p.miss_bps, p.max_miss, p.max_void) == (1000, 500, 3, 5)
               for p in table.values())


@pytest.mark.parametrize(("workers", "top"), [(3, 1), (4, 2), (30, 10), (126, 42)])
def test_a_third_of_the_workers_can_win(workers: int, top: int) -> None:
    assert default_top_k(workers) == top


def question(workers: int, top_k: int, **changes: Any) -> CollateralQuestion:
    asked = CollateralQuestion(
        reward=10**9, rounds=1, workers=workers, max_workers=workers, top_k=top_k, top_share_bps=5000, slash_bps=5000,
        fee_bps=1000, burn_bps=0, cost=10**9 // workers, seats=(workers - 1) // 2)
    return replace(asked, **changes)


@pytest.mark.parametrize(("workers", "top_k", "detection", "slashed", "skipped"), [
    (3, 1, 5000, 2.333, 11.667), (3, 1, 9500, 0.754, 3.772), (5, 2, 5000, 1.733, 8.667), (30, 10, 9500, 0.1367, 0.6836),
])
def test_the_conservative_bound_is_the_simulations(
    workers: int, top_k: int, detection: int, slashed: float, skipped: float
) -> None:
    """In units of a round's reward: sim_bound.py of the prototype, for one that always opens or skips if caught."""
    opens = collateral_bounds(question(workers, top_k, detection_bps=detection, may_skip=False))
    skips = collateral_bounds(question(workers, top_k, detection_bps=detection))
    assert opens.conservative / 1e9 == pytest.approx(slashed, rel=2e-3)
    assert skips.conservative / 1e9 == pytest.approx(skipped, rel=2e-3)


def test_burning_forfeits_takes_the_cartels_discount_away() -> None:
    burned, returned = (collateral_bounds(question(5, 2, burn_bps=bps, seats=2)) for bps in (10_000, 0))
    alone = collateral_bounds(question(5, 2, seats=1))
    assert burned.conservative == alone.conservative
    assert returned.conservative == pytest.approx(burned.conservative * 4 / 3, rel=1e-9)


@given(st.integers(3, 126), st.integers(100, 10_000), st.integers(1, 10**24))
def test_more_detection_needs_less_collateral(workers: int, detection: int, reward: int) -> None:
    worse, better = (
        collateral_bounds(question(workers, default_top_k(workers), reward=reward, detection_bps=bps, cost=None))
        for bps in (detection, min(10_000, detection + 500)))
    assert better.conservative <= worse.conservative
    assert better.attacker_gain <= worse.attacker_gain


def test_certain_detection_at_the_default_leaves_nothing_to_win() -> None:
    bounds = collateral_bounds(question(5, 2, detection_bps=10_000, cost=0))
    assert bounds.default == 10**9
    assert bounds.attacker_gain < 0
    assert bounds.average == 0


def test_the_default_collateral_is_the_smaller_of_two_rewards_and_five_shares() -> None:
    assert default_collateral(100, 10, 30) == 16
    assert default_collateral(100, 10, 10) == 20


@pytest.mark.parametrize("changes", [
    {"detection_bps": 0}, {"workers": 1}, {"seats": 0}, {"seats": 5}, {"fee_bps": 0}, {"detection_bps": 10_001},
])
def test_a_question_without_an_answer_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        collateral_bounds(replace(question(5, 2), **changes))
