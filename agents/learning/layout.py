"""Where every tensor lies in a model's canonical bytes (PROTOCOL 8): `u64le(len H) | H | data`, as
safetensors 0.8 writes it.

Owns names, types, order, offsets and the strict reading of a header. Standard library only; holds no values.
"""

import json
import math
import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.learning.failure import Failure

ITEM_BYTES: Mapping[str, int] = {"I64": 8, "F32": 4, "U8": 1, "BOOL": 1}
"""Allowed types in file order. F16, BF16 and F64 would be rounded twice on their way through an average."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,256}")
_MAX_HEADER = 16 << 20


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor's place: `start` and `stop` are byte offsets from the start of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything about a model's file but its values. `head` = length prefix and header, `size` = bytes of
    the whole file."""

    tensors: tuple[Tensor, ...]
    head: bytes
    size: int

    @property
    def parameters(self) -> int:
        """Number of float32 values."""
        start, stop = self.section("F32")
        return (stop - start) // 4

    def section(self, dtype: str) -> tuple[int, int]:
        """Byte range of all tensors of one type, which canonical order makes contiguous: the concatenation
        that norms run over."""
        spans = [(t.start, t.stop) for t in self.tensors if t.dtype == dtype]
        return (spans[0][0], spans[-1][1]) if spans else (len(self.head), len(self.head))

    def tensor_at(self, offset: int) -> str:
        """Name of the tensor that holds the byte at `offset`."""
        return next(t.name for t in self.tensors if t.start <= offset < t.stop)


def layout_of(specs: Mapping[str, tuple[str, tuple[int, ...]]]) -> Layout:
    """The canonical layout of tensors given as name -> (type, shape). Raises ValueError for a name or type
    that is not allowed."""
    for name, (dtype, _) in specs.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"tensor name {name[:80]!r} is not of the form [A-Za-z0-9._-]{{1,256}}")
        if dtype not in ITEM_BYTES:
            raise ValueError(f"tensor {name!r} has type {dtype}; allowed are {', '.join(ITEM_BYTES)}")
    order = sorted(specs, key=lambda name: (list(ITEM_BYTES).index(specs[name][0]), name.encode()))
    places: list[tuple[str, str, tuple[int, ...], int, int]] = []
    offset = 0
    for name in order:
        dtype, shape = specs[name]
        places.append((name, dtype, shape, offset, offset + math.prod(shape) * ITEM_BYTES[dtype]))
        offset = places[-1][4]
    header = json.dumps(
        {name: {"dtype": d, "shape": list(s), "data_offsets": [a, b]} for name, d, s, a, b in places},
        separators=(",", ":"),
    ).encode()
    header += b" " * (-len(header) % 8)
    head = struct.pack("<Q", len(header)) + header
    return Layout(
        tuple(Tensor(n, d, s, a + len(head), b + len(head)) for n, d, s, a, b in places),
        head,
        len(head) + offset,
    )


def read_layout(path: Path) -> Layout:
    """The layout of a file that should be canonical. Raises `Failure("model")` if a single byte of its header
    is not."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 2 <= length <= min(_MAX_HEADER, size - 8):
            raise not_canonical(path, f"its {size} bytes hold no header of a possible length")
        header = file.read(length)
    try:
        layout = layout_of(_specs(json.loads(header)))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise not_canonical(path, f"its header is not one of safetensors: {str(error)[:200]}") from error
    if layout.head != prefix + header:
        raise not_canonical(path, "its header is not in canonical form (order, offsets, padding or metadata differ)")
    if layout.size != size:
        raise not_canonical(path, f"it has {size} bytes where its header describes {layout.size}")
    return layout


def _specs(header: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    specs: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, entry in header.items():
        shape = tuple(entry["shape"])
        if (
            not all(type(n) is int and 0 <= n < 1 << 48 for n in shape)
            or len(shape) > 32
            or type(entry["dtype"]) is not str
        ):
            raise ValueError(f"tensor {name[:80]!r} has an impossible shape or type")
        specs[name] = (entry["dtype"], shape)
    return specs


def not_canonical(path: Path, why: str) -> Failure:
    return Failure(
        "model",
        f"{path.name} is not a model in canonical safetensors form: {why}",
        "get the file again from another member",
    )
