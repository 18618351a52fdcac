"""The arithmetic of PROTOCOL 5 against its own words, and a thread that would not keep to it."""

import math
import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from agents.learning import exact
from agents.learning.exact import ExactThread, Inexact, Workspace, check_arithmetic

floats32 = st.floats(allow_nan=False, allow_infinity=False, width=32)


def fold_in_words(v: list[float]) -> float:
    """while len > 1: append 0.0 if odd; v = v[:h] + v[h:], h = len/2"""
    while len(v) > 1:
        if len(v) % 2:
            v = [*v, 0.0]
        h = len(v) // 2
        v = [a + b for a, b in zip(v[:h], v[h:], strict=True)]
    return v[0] if v else 0.0


@given(st.lists(st.floats(0, 1e300), max_size=200))
def test_fold_is_the_one_of_the_protocol(values: list[float]) -> None:
    assert exact.fold(np.array(values)) == fold_in_words(values)


@given(hnp.arrays(np.float32, st.integers(0, 70), elements=floats32), st.integers(0, 2**32 - 1))
def test_distance_is_a_fold_of_folds_of_chunks(a: np.ndarray, seed: int) -> None:
    b = np.random.RandomState(seed).standard_normal(a.size).astype(np.float32)
    steps = [float(x) - float(y) for x, y in zip(a, b, strict=True)]
    squares = [step * step for step in steps]
    chunks = [squares[i : i + 16] for i in range(0, len(squares), 16)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "CHUNK", 16)
        assert exact.distance(a, b, Workspace()) == math.sqrt(fold_in_words([fold_in_words(c) for c in chunks]))


def test_chunks_are_a_million_elements_and_each_is_reported() -> None:
    a = np.ones(exact.CHUNK + 3, dtype=np.float32)
    seen: list[tuple[int, int]] = []
    assert exact.squared_distance(a, np.zeros_like(a), Workspace(), lambda *span: seen.append(span)) == a.size
    assert exact.CHUNK == 2**20
    assert seen == [(0, 2**20), (2**20, 2**20 + 3)]


@settings(max_examples=200)
@given(
    hnp.arrays(np.float32, st.integers(1, 50), elements=st.floats(-9, 9, width=32)),
    st.floats(0, 100),
    st.integers(0, 9),
)
def test_what_is_surely_apart_is_apart(a: np.ndarray, least: float, seed: int) -> None:
    b = np.random.RandomState(seed).standard_normal(a.size).astype(np.float32)
    if exact.surely_apart(a, b, least):
        assert exact.distance(a, b, Workspace()) >= least


@pytest.mark.parametrize(
    ("values", "middle"), [([3.0], 3.0), ([2.0, 1.0], 1.0), ([5.0, 1.0, 3.0], 3.0), ([4.0, 1.0, 3.0, 2.0], 2.0)]
)
def test_lower_median(values: list[float], middle: float) -> None:
    assert exact.lower_median(values) == middle


def on_a_flushing_thread(work: Callable[[], None]) -> list[BaseException]:
    """Runs `work` where denormals are flushed; the setting dies with the thread. Returns what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        assert torch.set_flush_denormal(True)
        try:
            work()
        except (Inexact, AssertionError) as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised


def test_a_thread_that_flushes_denormals_is_noticed() -> None:
    check_arithmetic()
    raised = on_a_flushing_thread(check_arithmetic)
    assert [type(error) for error in raised] == [Inexact]
    check_arithmetic()


def test_an_exact_thread_keeps_denormals_whatever_others_do() -> None:
    thread = ExactThread()

    def work() -> None:
        assert np.full(4, 2.0**-1060).sum() == 0.0  # the flushing is real here
        assert thread.run(lambda: float(np.full(4, 2.0**-1060).sum()).hex()) == "0x0.0000000010000p-1022"
        thread.run(check_arithmetic)

    assert not on_a_flushing_thread(work)


def test_what_fails_on_the_exact_thread_fails_here() -> None:
    with pytest.raises(ZeroDivisionError):
        ExactThread().run(lambda: 1 // 0)
