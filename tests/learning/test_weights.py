"""Canonical bytes: what safetensors writes, and nothing else is taken."""

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from safetensors.numpy import load_file, save

from agents.learning import weights
from agents.learning.failure import Failure
from agents.learning.layout import layout_of, read_layout

names = st.text("abcXYZ019._-", min_size=1, max_size=12)
dtypes = st.sampled_from([np.float32, np.int64, np.uint8, np.bool_])
shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)
models = st.dictionaries(names, st.tuples(dtypes, shapes), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(models, st.integers(0, 2**32 - 1))
def test_bytes_are_those_that_safetensors_writes(tmp_path_factory: Any, specs: Any, seed: int) -> None:
    rng = np.random.RandomState(seed)
    made = {name: np.asarray(rng.standard_normal(shape) * 9).astype(dtype) for name, (dtype, shape) in specs.items()}
    path = tmp_path_factory.mktemp("golden") / "model"
    digest, size = weights.write_arrays(path, made)
    assert path.read_bytes() == save(made)
    assert (digest, size) == (weights.model_hash(path), path.stat().st_size)
    layout = read_layout(path)
    assert weights.defect(path, layout) is None
    back = weights.Mapped(path, layout).arrays()
    assert all(np.array_equal(back[k], v) and back[k].dtype == v.dtype for k, v in made.items())


def test_golden_file(tmp_path: Path) -> None:
    made = {
        "b": np.array([1.5, -2.0], dtype=np.float32),
        "a": np.array([True]),
        "n": np.array(3, dtype=np.int64),
        "A": np.zeros((1, 2), dtype=np.float32),
    }
    weights.write_arrays(tmp_path / "m", made)
    header = (
        b'{"n":{"dtype":"I64","shape":[],"data_offsets":[0,8]},"A":{"dtype":"F32","shape":[1,2],"data_offsets":[8,16]},'
        b'"b":{"dtype":"F32","shape":[2],"data_offsets":[16,24]},"a":{"dtype":"BOOL","shape":[1],"data_offsets":[24,25]}}'
    )
    header += b" " * (-len(header) % 8)
    data = struct.pack("<q4f?", 3, 0.0, 0.0, 1.5, -2.0, True)
    assert (tmp_path / "m").read_bytes() == struct.pack("<Q", len(header)) + header + data
    assert set(load_file(tmp_path / "m")) == set(made)


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 257, "a/b", 'q"'])
def test_a_name_outside_the_alphabet_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not of the form"):
        layout_of({name: ("F32", (1,))})


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F64", "I32"])
def test_a_type_that_would_be_rounded_twice_is_refused(dtype: str) -> None:
    with pytest.raises(ValueError, match="allowed are I64, F32, U8, BOOL"):
        layout_of({"w": (dtype, (1,))})


def spoiled(good: bytes, how: str) -> bytes:
    length = struct.unpack("<Q", good[:8])[0]
    header, data = good[8 : 8 + length], good[8 + length :]
    match how:
        case "pickle":
            return pickle.dumps({"conv.weight": [0.0] * 400})
        case "empty":
            return b""
        case "truncated":
            return good[:-1]
        case "trailing byte":
            return good + b"\0"
        case "absurd header length":
            return struct.pack("<Q", 2**63) + good[8:]
        case "not a number":
            return good[:-4] + struct.pack("<f", float("nan"))
        case "infinite":
            return good[:-8] + struct.pack("<f", float("-inf")) + good[-4:]
        case "other shape of the same size":
            return good[:8] + header.replace(b"[7,36]", b"[36,7]") + data
        case "other name of the same length":
            return good[:8] + header.replace(b"fc.bias", b"fc.bia5") + data
        case "other type of the same size":
            return good[:8] + header.replace(b'"F32","shape":[7]', b'"I32","shape":[7]') + data
        case "metadata":
            return packed(header.replace(b"{", b'{"__metadata__":{"a":"b"},', 1), data)
        case "doubled key":
            return packed(header.replace(b'"fc.bias":{', b'"fc.bias":{},"fc.bias":{', 1), data)
        case "nested without end":
            return packed(b"[" * 100_000, data)
        case "a list":
            return packed(b"[1, 2]", data)
        case "a huge number":
            return packed(b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,4]}}', data)
        case "spaces in front":
            return packed(b"        " + header, data)
        case "utf-16":
            return packed(header.decode().encode("utf-16"), data)
    raise AssertionError(how)


def packed(header: bytes, data: bytes) -> bytes:
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + data


HOSTILE = [
    "pickle",
    "empty",
    "truncated",
    "trailing byte",
    "absurd header length",
    "not a number",
    "infinite",
    "other shape of the same size",
    "other name of the same length",
    "other type of the same size",
    "metadata",
    "doubled key",
    "nested without end",
    "a list",
    "a huge number",
    "spaces in front",
    "utf-16",
]


@pytest.mark.parametrize("how", HOSTILE)
def test_hostile_bytes_are_no_model(how: str, make_model: Callable[..., Path], tmp_path: Path) -> None:
    genesis = make_model("genesis", 1)
    bad = tmp_path / "bad"
    bad.write_bytes(spoiled(genesis.read_bytes(), how))
    layout = read_layout(genesis)
    reason = weights.defect(bad, layout)
    assert reason is not None
    assert reason.startswith("V4: ")
    with pytest.raises(Failure) as caught:
        weights.demand(bad, layout)
    assert caught.value.kind == "model"


@pytest.mark.parametrize(
    "how",
    [
        h
        for h in HOSTILE
        if h not in {"not a number", "infinite", "other shape of the same size", "other name of the same length"}
    ],
)
def test_hostile_bytes_give_no_layout_either(how: str, make_model: Callable[..., Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_bytes(spoiled(make_model("genesis", 1).read_bytes(), how))
    with pytest.raises(Failure, match="canonical safetensors form"):
        read_layout(bad)


def test_the_reason_names_the_tensor(make_model: Callable[..., Path], tmp_path: Path) -> None:
    good = make_model("genesis", 1)
    layout = read_layout(good)
    spot = next(t.start for t in layout.tensors if t.name == "fc.bias")
    data = bytearray(good.read_bytes())
    data[spot + 4 : spot + 8] = struct.pack("<f", float("inf"))
    (tmp_path / "bad").write_bytes(data)
    assert weights.defect(tmp_path / "bad", layout) == "V4: fc.bias holds a value that is not finite"


def test_a_bool_is_a_bit(tmp_path: Path) -> None:
    weights.write_arrays(tmp_path / "m", {"mask": np.array([True, False]), "w": np.zeros(1, dtype=np.float32)})
    layout = read_layout(tmp_path / "m")
    data = (tmp_path / "m").read_bytes()
    (tmp_path / "bad").write_bytes(data[:-1] + b"\x07")
    assert weights.defect(tmp_path / "bad", layout) == "V4: a BOOL is neither 0 nor 1"


def test_a_write_that_fails_leaves_the_old_file_and_no_other(make_model: Callable[..., Path]) -> None:
    path = make_model("m", 1)
    before = path.read_bytes()

    def breaks() -> Any:
        yield np.zeros(3, dtype=np.float32)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        weights.write(path, read_layout(path), breaks())
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["m"]


def test_too_few_bytes_are_never_published(make_model: Callable[..., Path], tmp_path: Path) -> None:
    layout = read_layout(make_model("m", 1))
    with pytest.raises(ValueError, match="bytes written where the layout has"):
        weights.write(tmp_path / "out", layout, [np.zeros(1, dtype=np.float32)])
    assert not (tmp_path / "out").exists()


def test_a_header_is_json_that_a_stranger_can_read(make_model: Callable[..., Path]) -> None:
    data = make_model("m", 1).read_bytes()
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    assert list(header) == ["steps", "conv.weight", "fc.bias", "fc.weight"]
