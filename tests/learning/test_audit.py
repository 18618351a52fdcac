"""The audit model of PROTOCOL 3.1."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from agents.learning import weights
from agents.learning.audit import write_audit_model
from agents.learning.failure import Failure


@pytest.mark.parametrize("thousandths", [0, 1, 137, 400])
def test_it_lies_between_the_first_and_the_last_model(
    thousandths: int, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    first, last = make_model("first", 1), make_model("last", 2)
    beta = float(f"0.{thousandths:03d}")
    assert beta == np.float64(thousandths) / 1000
    digest, size = write_audit_model(first, last, beta, tmp_path / "out")
    g0, g, out = load_file(first), load_file(last), load_file(tmp_path / "out")
    for name in ("conv.weight", "fc.bias", "fc.weight"):
        ground = g0[name].astype(np.float64)
        assert np.array_equal(out[name], (ground + beta * (g[name].astype(np.float64) - ground)).astype(np.float32))
    assert out["steps"] == g["steps"]
    assert (digest, size) == (weights.model_hash(tmp_path / "out"), last.stat().st_size)


def test_golden_hash(make_model: Callable[..., Path], tmp_path: Path) -> None:
    digest, _ = write_audit_model(make_model("first", 1), make_model("last", 2), 0.137, tmp_path / "out")
    assert digest == "e2f112d63fa2a8108181f845af335a6834146cd78ad45ee75e0fc9056ee65dc1"


def test_without_a_step_it_is_the_first_model(make_model: Callable[..., Path], tmp_path: Path) -> None:
    first = make_model("first", 1)
    write_audit_model(first, first, 0.3, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == first.read_bytes()


def test_models_of_different_tasks_have_nothing_between_them(make_model: Callable[..., Path], tmp_path: Path) -> None:
    weights.write_arrays(tmp_path / "other", {"w": np.zeros(3, dtype=np.float32)})
    with pytest.raises(Failure, match="other is no model of this task"):
        write_audit_model(make_model("first", 1), tmp_path / "other", 0.1, tmp_path / "out")
