"""V4 to V6 of PROTOCOL 3.4: what is thrown out, and that honest models are not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from agents.learning import validity, weights
from agents.learning.validity import Candidate, judge


@pytest.fixture
def base(make_model: Callable[..., Path]) -> Path:
    return make_model("base", 1, 0.3)


@pytest.fixture
def step(base: Path, make_model: Callable[..., Path]) -> Callable[..., Path]:
    around = dict(load_file(base))
    return lambda name, seed, scale=0.1: make_model(name, seed, scale, around)


def test_honest_models_pass(base: Path, step: Callable[..., Path]) -> None:
    paths = [step(f"m{i}", 10 + i) for i in range(4)]
    candidates = [Candidate(i, path, tuple(paths[:i])) for i, path in enumerate(paths)]
    assert judge(base, base, candidates) == dict.fromkeys(range(4))


def test_what_could_not_be_opened_scores_nothing(base: Path, step: Callable[..., Path]) -> None:
    reasons = judge(base, base, [Candidate(0, step("m", 2)), Candidate(5, None)])
    assert reasons == {0: None, 5: "V1-V3: no model could be opened"}


def test_bytes_that_are_no_model_are_named_and_count_for_no_median(
    base: Path, step: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "pickle").write_bytes(b"\x80\x04N.")
    reasons = judge(base, base, [Candidate(0, tmp_path / "pickle"), Candidate(1, step("m", 2))])
    assert reasons[1] is None
    assert str(reasons[0]).startswith("V4: 4 bytes instead of ")


@pytest.mark.parametrize(
    ("scale", "fine"), [(0.1, True), (60.0, True), (150.0, False), (0.00015, True), (0.00005, False)]
)
def test_a_step_a_thousand_times_off_the_median_is_invalid(
    scale: float, fine: bool, base: Path, step: Callable[..., Path]
) -> None:
    candidates = [Candidate(i, step(f"m{i}", 10 + i)) for i in range(3)] + [Candidate(3, step("odd", 20, scale))]
    reasons = judge(base, base, candidates)
    assert [reasons[i] for i in range(3)] == [None] * 3
    assert (reasons[3] is None) is fine
    assert fine or str(reasons[3]).startswith("V5: ")


def test_handing_back_the_base_is_invalid(base: Path, step: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "lazy").write_bytes(base.read_bytes())
    reasons = judge(
        base, base, [Candidate(0, step("a", 2)), Candidate(1, step("b", 3)), Candidate(2, tmp_path / "lazy")]
    )
    assert str(reasons[2]).startswith("V5: ")


@pytest.mark.parametrize(("noise", "copied"), [(0.0, True), (0.0005, True), (0.005, False)])
def test_a_copy_is_invalid_even_with_a_little_noise(
    noise: float, copied: bool, base: Path, step: Callable[..., Path], make_model: Callable[..., Path]
) -> None:
    original = step("original", 2)
    thief = make_model("thief", 77, noise, dict(load_file(original)))
    reasons = judge(base, base, [Candidate(0, original), Candidate(1, thief, (original,))])
    assert reasons[0] is None
    assert (reasons[1] is not None) is copied
    assert not copied or str(reasons[1]).startswith("V6: only ")


def test_the_shortcut_decides_as_the_whole_distance_does(
    base: Path, step: Callable[..., Path], make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = step("original", 2)
    candidates = [Candidate(0, original)]
    for k in range(1, 12):
        near = make_model(f"near{k}", 50 + k, 0.0001 * 1.7**k, dict(load_file(original)))
        candidates.append(Candidate(k, near, (original,)))
    quick = judge(base, base, candidates)
    monkeypatch.setattr(validity, "surely_apart", lambda *_: False)
    assert judge(base, base, candidates) == quick
    assert {reason is None for reason in quick.values()} == {True, False}


def test_an_earlier_file_that_is_no_model_accuses_nobody(base: Path, step: Callable[..., Path], tmp_path: Path) -> None:
    mine = step("mine", 2)
    data = bytearray(mine.read_bytes())
    data[-4:] = np.float32("nan").tobytes()
    (tmp_path / "nan").write_bytes(data)
    (tmp_path / "short").write_bytes(data[:100])
    assert judge(base, base, [Candidate(0, mine, (tmp_path / "nan", tmp_path / "short"))]) == {0: None}


def test_norms_run_over_all_float_tensors_and_no_integers(tmp_path: Path) -> None:
    for name, value, steps in [("base", 0.0, 0), ("a", 1.0, 10**9), ("b", 1.0, 5)]:
        made = {
            "w": np.full(3, value, dtype=np.float32),
            "z": np.full(1, value, dtype=np.float32),
            "n": np.array(steps),
        }
        weights.write_arrays(tmp_path / name, made)
    reasons = judge(
        tmp_path / "base",
        tmp_path / "base",
        [Candidate(0, tmp_path / "a"), Candidate(1, tmp_path / "b", (tmp_path / "a",))],
    )
    assert str(reasons[1]).startswith("V6: only 0 ")
