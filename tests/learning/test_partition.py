"""Who gets what: disjoint, complete, reproducible, and refused where somebody would get nothing."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from agents.learning.failure import Failure
from agents.learning.partition import (
    HoldOut,
    Partition,
    from_settings,
    hold_out,
    part,
    parts,
    test_part as common_test_part,
)

KINDS = ("iid", "dirichlet", "shards", "size")
labels_of = st.integers(200, 600).map(lambda n: np.random.RandomState(n).randint(0, 10, n))


@settings(max_examples=60, deadline=None)
@given(labels_of, st.sampled_from(KINDS), st.integers(1, 8), st.integers(0, 2**40))
def test_parts_are_disjoint_and_leave_nothing_out(labels: np.ndarray, kind: Any, of: int, seed: int) -> None:
    drawn = parts(labels, Partition(kind, 0, of, seed, alpha=1.0, labels_per_worker=-(-10 // of)))
    joined = np.concatenate(drawn)
    assert len(drawn) == of
    assert sorted(joined.tolist()) == list(range(len(labels)))


@settings(max_examples=30, deadline=None)
@given(labels_of, st.sampled_from(KINDS), st.integers(0, 2**40))
def test_everybody_draws_the_same_parts(labels: np.ndarray, kind: Any, seed: int) -> None:
    everything = parts(labels, Partition(kind, 0, 3, seed, alpha=1.0, labels_per_worker=4))
    for index in range(3):
        mine = part(labels, Partition(kind, index, 3, seed, alpha=1.0, labels_per_worker=4))
        assert np.array_equal(mine, everything[index])


def test_another_seed_draws_other_parts() -> None:
    labels = np.arange(100) % 10
    assert not np.array_equal(part(labels, Partition("iid", 0, 2, 1)), part(labels, Partition("iid", 0, 2, 2)))


@given(st.integers(60, 9000), st.floats(0.01, 0.9), st.integers(0, 99))
def test_train_and_validation_are_disjoint_and_complete(count: int, share: float, seed: int) -> None:
    own = np.arange(0, 3 * count, 3)
    train, validation = hold_out(own, HoldOut(share), seed)
    assert not set(train.tolist()) & set(validation.tolist())
    assert sorted([*train, *validation]) == own.tolist()
    assert len(validation) == min(max(round(count * share), 50), 2000)


def test_a_quarter_at_least_fifty_at_most_two_thousand_are_held_out() -> None:
    assert [len(hold_out(np.arange(n), HoldOut(), 0)[1]) for n in (100, 480, 20_000)] == [50, 120, 2000]
    with pytest.raises(Failure, match="50 samples are too few to hold out 50"):
        hold_out(np.arange(50), HoldOut(), 0)


def test_the_common_test_part_is_the_same_for_all() -> None:
    pool, test = common_test_part(1797, 0.2)
    assert (len(pool), len(test)) == (1438, 359)
    assert sorted([*pool, *test]) == list(range(1797))
    assert np.array_equal(test, common_test_part(1797, 0.2)[1])


def test_shards_show_each_worker_its_number_of_labels() -> None:
    labels = np.arange(1000) % 10
    for share in parts(labels, Partition("shards", 0, 5, 3, labels_per_worker=2)):
        assert len(np.unique(labels[share])) == 2


def test_unequal_sizes_follow_the_shares() -> None:
    labels = np.zeros(1000, dtype=np.int64)
    plan = Partition("size", 0, 5, 3, shares=(60, 20, 10, 5, 5))
    assert [len(p) for p in parts(labels, plan)] == [600, 200, 100, 50, 50]


def test_a_small_alpha_is_more_skewed_than_a_large_one() -> None:
    labels = np.arange(5000) % 10

    def skew(alpha: float) -> float:
        drawn = parts(labels, Partition("dirichlet", 0, 5, 3, alpha=alpha))
        return float(np.mean([np.bincount(labels[p], minlength=10).max() / len(p) for p in drawn]))

    assert skew(0.1) > 2 * skew(100.0)


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        (Partition("iid", 0, 11, 0), "without any"),
        (Partition("size", 0, 2, 0, shares=(1e9, 1)), "without any"),
        (Partition("dirichlet", 0, 10, 0, alpha=0.001), "next to nothing"),
    ],
)
def test_a_partition_that_leaves_somebody_empty_is_refused(plan: Partition, why: str) -> None:
    with pytest.raises(Failure, match=why):
        parts(np.arange(10) % 2, plan)


@pytest.mark.parametrize(
    ("given_settings", "why"),
    [
        ({"kind": "round-robin", "index": 0, "of": 2}, "round-robin"),
        ({"kind": "iid", "index": 2, "of": 2}, "part 2 of 2"),
        ({"kind": "iid", "index": 0}, "of"),
        ({"kind": "iid", "index": "x", "of": 2}, "ValueError"),
        ({"kind": "iid", "index": 0, "of": 2, "alhpa": 1}, "unknown keys alhpa"),
        ({"kind": "size", "index": 0, "of": 2, "shares": [1]}, "shares must be 2"),
        ({"kind": "size", "index": 0, "of": 2, "shares": [1, -1]}, "shares must be 2"),
        ({"kind": "dirichlet", "index": 0, "of": 2, "alpha": -1}, "positive"),
    ],
)
def test_senseless_settings_are_refused(given_settings: dict[str, Any], why: str) -> None:
    with pytest.raises(Failure, match=why):
        from_settings(given_settings)


def test_settings_without_a_partition_mean_all_samples() -> None:
    assert from_settings(None) is None
    assert len(part(np.zeros(7), None)) == 7
    assert from_settings({"kind": "dirichlet", "index": 1, "of": 2, "seed": 3, "alpha": "0.3"}) == Partition(
        "dirichlet", 1, 2, 3, 0.3
    )
