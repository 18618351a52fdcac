"""Aggregation: the protocol's words recomputed, golden bytes, and every rule against hostile members."""

import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from safetensors.numpy import load_file

from agents.learning import aggregate as module, weights
from agents.learning.aggregate import Rule, aggregate, clip_factors
from agents.learning.exact import Inexact
from agents.learning.failure import Failure

RULES: tuple[Rule, ...] = ("clipped-mean", "mean", "trimmed-mean", "median", "multi-krum")

GOLDEN = {
    "clipped-mean": "96b573de3de49d05b4d8987ac4e981e7ee41e1adcb7c6534480b171e1b2f7aee",
    "mean": "cb9a27fa113f7fe6fc306e02fd34c19b2c92f7e54e2e1672041304fe5ea5609c",
    "trimmed-mean": "220258c51b6fbe4cdfe504c3f5ce22611cf4321b916e02090af3affd6fe7b66b",
    "median": "51d265ef113d0add7e82ac0df03b6e29c5be2e2156ac085da7775a98a757ae14",
    "multi-krum": "f431217e1c7c1165e6088765dd8c6b23efb7b76dc94b959670aaa77d22c9aa6b",
}


@pytest.fixture
def five(make_model: Callable[..., Path]) -> tuple[Path, dict[int, Path]]:
    """A base and five members; the last goes ten times as far as the others."""
    base = make_model("base", 1, 0.3)
    around = dict(load_file(base))
    return base, {i: make_model(f"m{i}", 10 + i, 0.1 if i < 4 else 1.0, around) for i in range(5)}


def flat(path: Path) -> np.ndarray:
    made = load_file(path)
    return np.concatenate([made[name].reshape(-1) for name in sorted(made) if made[name].dtype == np.float32])


def test_the_default_is_the_clipped_mean_in_the_protocols_words(
    five: tuple[Path, dict[int, Path]], tmp_path: Path
) -> None:
    base, models = five
    done = aggregate(base, models, tmp_path / "out", "clipped-mean")
    ground = flat(base).astype(np.float64)
    steps = [flat(models[i]).astype(np.float64) - ground for i in range(5)]
    norms = [float(np.sqrt((step * step).sum())) for step in steps]
    tau = 2.0 * sorted(norms)[2]
    acc = np.zeros_like(ground)
    for step, norm, exact_norm in zip(steps, norms, done.norms, strict=True):
        assert exact_norm == pytest.approx(norm, rel=1e-14)
        acc = acc + (step if norm <= tau else step * (2.0 * sorted(done.norms)[2] / exact_norm))
    assert np.array_equal(flat(tmp_path / "out"), (ground + acc / 5.0).astype(np.float32))
    assert done.clipped == (4,)
    assert int(load_file(tmp_path / "out")["steps"]) == 120


@pytest.mark.parametrize("rule", RULES)
def test_golden_hashes(rule: Rule, five: tuple[Path, dict[int, Path]], tmp_path: Path) -> None:
    base, models = five
    done = aggregate(base, models, tmp_path / "out", rule, 1)
    assert done.hash == weights.model_hash(tmp_path / "out") == GOLDEN[rule]
    assert done.bytes == base.stat().st_size


@pytest.mark.parametrize("rule", RULES)
def test_neither_order_of_arrival_nor_tiles_change_a_bit(
    rule: Rule, five: tuple[Path, dict[int, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, models = five
    monkeypatch.setattr(module, "_TILE", 7)
    monkeypatch.setattr(module, "_SORT_BUDGET", 11)
    monkeypatch.setattr(module, "_BLOCK", 40)
    assert aggregate(base, dict(reversed(models.items())), tmp_path / "out", rule, 1).hash == GOLDEN[rule]


@pytest.mark.parametrize("rule", RULES)
def test_nobody_accepted_changes_nothing(rule: Rule, five: tuple[Path, dict[int, Path]], tmp_path: Path) -> None:
    done = aggregate(five[0], {}, tmp_path / "out", rule)
    assert (tmp_path / "out").read_bytes() == five[0].read_bytes()
    assert done.hash == weights.model_hash(five[0])


@pytest.mark.parametrize("rule", RULES)
def test_equal_models_average_to_themselves(rule: Rule, five: tuple[Path, dict[int, Path]], tmp_path: Path) -> None:
    base, models = five
    aggregate(base, dict.fromkeys(range(4), models[0]), tmp_path / "out", rule)
    assert np.allclose(flat(tmp_path / "out"), flat(models[0]), rtol=1e-6)


@pytest.mark.parametrize("rule", ["trimmed-mean", "median", "multi-krum"])
def test_one_that_goes_far_away_does_not_move_a_robust_average(
    rule: Rule, five: tuple[Path, dict[int, Path]], make_model: Callable[..., Path], tmp_path: Path
) -> None:
    base, models = five
    far = make_model("far", 99, 1e6)
    done = aggregate(base, {**models, 4: far}, tmp_path / "out", rule, 1)
    assert np.abs(flat(tmp_path / "out") - flat(base)).max() < 0.1
    assert done.left_out == ((4,) if rule == "multi-krum" else ())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_models_lower_the_trim_instead_of_failing(
    rule: Rule, count: int, five: tuple[Path, dict[int, Path]], tmp_path: Path
) -> None:
    done = aggregate(five[0], {i: five[1][i] for i in range(count)}, tmp_path / "out", rule, 5)
    assert done.left_out == ()
    assert np.isfinite(flat(tmp_path / "out")).all()


values = st.floats(allow_nan=False, allow_infinity=False, width=32)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(values, min_size=3, max_size=3), min_size=1, max_size=6),
    st.lists(values, min_size=3, max_size=3),
    st.sampled_from(RULES),
)
def test_any_finite_models_average_to_a_finite_one_between_them(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[float]], ground: list[float], rule: Rule
) -> None:
    folder = tmp_path_factory.mktemp("extreme")
    weights.write_arrays(folder / "base", {"w": np.array(ground, dtype=np.float32)})
    for i, row in enumerate(rows):
        weights.write_arrays(folder / str(i), {"w": np.array(row, dtype=np.float32)})
    aggregate(folder / "base", {i: folder / str(i) for i in range(len(rows))}, folder / "out", rule)
    out = flat(folder / "out")
    assert np.isfinite(out).all()
    for k, value in enumerate(out):
        column = [Fraction(row[k]) for row in rows] + [Fraction(ground[k])]
        span = max(abs(c) for c in column) * Fraction(1, 10**6) + Fraction(1, 10**44)
        assert min(column) - span <= Fraction(float(value)) <= max(column) + span


def test_trimmed_mean_and_median_sort_each_element(tmp_path: Path) -> None:
    weights.write_arrays(tmp_path / "base", {"w": np.zeros(2, dtype=np.float32)})
    for i, row in enumerate([[1, 50], [2, 40], [3, 30], [4, 20], [100, -1000]]):
        weights.write_arrays(tmp_path / str(i), {"w": np.array(row, dtype=np.float32)})
    models = {i: tmp_path / str(i) for i in range(5)}
    aggregate(tmp_path / "base", models, tmp_path / "out", "trimmed-mean", 1)
    assert flat(tmp_path / "out").tolist() == [3.0, 30.0]
    aggregate(tmp_path / "base", models, tmp_path / "out", "median")
    assert flat(tmp_path / "out").tolist() == [3.0, 30.0]
    aggregate(tmp_path / "base", {i: models[i] for i in range(4)}, tmp_path / "out", "median")
    assert flat(tmp_path / "out").tolist() == [2.5, 35.0]


def test_integer_and_boolean_buffers_take_the_lower_median(tmp_path: Path) -> None:
    for name, n, flag in [("base", 0, False), ("0", 7, True), ("1", -3, True), ("2", 2**62, False), ("3", 8, True)]:
        made = {
            "w": np.zeros(1, dtype=np.float32),
            "n": np.array([n]),
            "u": np.array([n % 256], dtype=np.uint8),
            "f": np.array([flag]),
        }
        weights.write_arrays(tmp_path / name, made)
    aggregate(tmp_path / "base", {i: tmp_path / str(i) for i in range(4)}, tmp_path / "out", "clipped-mean")
    out = load_file(tmp_path / "out")
    assert (int(out["n"][0]), int(out["u"][0]), bool(out["f"][0])) == (7, 7, True)


def test_clipping_leaves_twice_the_lower_median_alone() -> None:
    assert clip_factors([1.0, 1.0, 2.0]) == [1.0, 1.0, 1.0]
    assert clip_factors([1.0, 1.0, 4.0]) == [1.0, 1.0, 0.5]
    assert clip_factors([0.0, 0.0, 4.0]) == [1.0, 1.0, 0.0]
    assert clip_factors([]) == []


def test_denormals_survive_averaging(tmp_path: Path) -> None:
    tiny = np.array([2.0**-149, -(2.0**-149), 2.0**-140], dtype=np.float32)
    weights.write_arrays(tmp_path / "base", {"w": np.zeros(3, dtype=np.float32)})
    weights.write_arrays(tmp_path / "m", {"w": tiny})
    aggregate(tmp_path / "base", {0: tmp_path / "m", 1: tmp_path / "m"}, tmp_path / "out", "clipped-mean")
    assert np.array_equal(flat(tmp_path / "out"), tiny)


def test_a_thread_that_flushes_denormals_refuses_to_average(five: tuple[Path, dict[int, Path]], tmp_path: Path) -> None:
    script = (
        "import sys, torch; from pathlib import Path; from agents.learning.aggregate import aggregate\n"
        "torch.set_flush_denormal(True)\n"
        "aggregate(Path(sys.argv[1]), {}, Path(sys.argv[2]), 'mean')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, five[0], tmp_path / "out"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert Inexact.__name__ in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rule", RULES)
def test_a_file_that_is_no_model_never_enters_the_average(
    rule: Rule, five: tuple[Path, dict[int, Path]], tmp_path: Path
) -> None:
    base, models = five
    data = bytearray(models[2].read_bytes())
    data[-4:] = np.float32("nan").tobytes()
    (tmp_path / "bad").write_bytes(data)
    with pytest.raises(Failure, match="bad is no model of this task"):
        aggregate(base, {**models, 2: tmp_path / "bad"}, tmp_path / "out", rule)
    assert not (tmp_path / "out").exists()


def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    """Four files of 48 MB each go through less than 40 MB, all rules' passes included."""
    size = 12_000_000
    for name in ("base", "0", "1", "2"):
        weights.write_arrays(tmp_path / name, {"w": np.full(size, float(len(name)), dtype=np.float32)})
    script = (
        "import sys; from pathlib import Path; from agents.learning.aggregate import aggregate\n"
        "def kib(key): return int(next(l for l in open('/proc/self/status') if l.startswith(key)).split()[1])\n"
        "d = Path(sys.argv[1]); before = kib('VmRSS')\n"
        "aggregate(d / 'base', {i: d / str(i) for i in range(3)}, d / 'out', 'clipped-mean')\n"
        "print((kib('VmHWM') - before) / 1024)"
    )
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from /proc")
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 40
