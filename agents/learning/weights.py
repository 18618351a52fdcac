"""A model's values: read through a memory map, judged by validity V4, written by rename, hashed on the way.

Numpy only. Bytes of peers are hostile: their header is compared with the expected one and never interpreted.
"""

import hashlib
import math
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.learning.exact import CHUNK, F32
from agents.learning.failure import Failure
from agents.learning.layout import Layout, layout_of, not_canonical
from bfl_events.boundaries import Boundary, passing

DTYPES: Mapping[str, np.dtype[Any]] = {
    "I64": np.dtype("<i8"),
    "F32": np.dtype("<f4"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("u1"),
}

_PAGE = mmap.PAGESIZE


class Mapped:
    """A model's file, mapped read-only. The caller has checked it with `defect`; the mapping ends with the
    last array taken from it."""

    __slots__ = ("_map", "layout")

    def __init__(self, path: Path, layout: Layout) -> None:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != layout.size:
                raise not_canonical(path, f"it does not have the {layout.size} bytes of this task's models")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.layout = layout
        if self._map[: len(layout.head)] != layout.head:
            raise not_canonical(path, "its header is not that of this task's models")

    def values(self, dtype: str) -> NDArray[Any]:
        """All values of one type, concatenated in file order; a view into the map."""
        start, stop = self.layout.section(dtype)
        return np.frombuffer(
            self._map,
            dtype=DTYPES[dtype],
            count=(stop - start) // DTYPES[dtype].itemsize,
            offset=start if stop > start else 0,
        )

    @property
    def floats(self) -> F32:
        return self.values("F32")

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Name -> read-only view in the tensor's shape; BOOL as numpy bool."""
        views: dict[str, NDArray[Any]] = {}
        for t in self.layout.tensors:
            view = np.frombuffer(
                self._map,
                dtype=DTYPES[t.dtype],
                count=math.prod(t.shape),
                offset=min(t.start, self.layout.size - 1),
            )
            views[t.name] = (view.view(np.bool_) if t.dtype == "BOOL" else view).reshape(t.shape)
        return views

    def release(self, start: int, stop: int) -> None:
        """Float values `start` to `stop` are done with for now: their pages leave this process, so that
        memory does not grow with the model."""
        if hasattr(self._map, "madvise") and hasattr(mmap, "MADV_DONTNEED"):
            origin = self.layout.section("F32")[0]
            first = (origin + 4 * start) // _PAGE * _PAGE
            self._map.madvise(mmap.MADV_DONTNEED, first, origin + 4 * stop - first)


def releasing(*models: Mapped) -> Callable[[int, int], None]:
    """What a streamed computation calls after each chunk of these models."""

    def release(start: int, stop: int) -> None:
        for model in models:
            model.release(start, stop)

    return release


def defect(path: Path, layout: Layout) -> str | None:
    """V4: why the file is not a model of this layout with finite values, or None. Never raises for what the
    bytes say."""
    size = path.stat().st_size
    if size != layout.size:
        return f"V4: {size} bytes instead of {layout.size}"
    with path.open("rb") as file:
        head = file.read(len(layout.head))
    if head != layout.head:
        return "V4: the header is not that of this task's models"
    model = Mapped(path, layout)
    floats, origin = model.floats, layout.section("F32")[0]
    for start in range(0, floats.size, CHUNK):
        finite = np.isfinite(floats[start : start + CHUNK])
        if not finite.all():
            name = layout.tensor_at(origin + 4 * (start + int(np.argmin(finite))))
            return f"V4: {name} holds a value that is not finite"
        model.release(start, min(start + CHUNK, floats.size))
    if (model.values("BOOL") > 1).any():
        return "V4: a BOOL is neither 0 nor 1"
    return None


def demand(path: Path, layout: Layout) -> Mapped:
    """The file as a model of this layout; raises `Failure("model")` if V4 does not hold."""
    reason = defect(path, layout)
    if reason is not None:
        raise Failure(
            "model",
            f"{path.name} is no model of this task ({reason})",
            "check that task and base model belong together",
        )
    return Mapped(path, layout)


class Writer:
    """Writes a file in order and hashes it on the way; `digest` and `size` are of what was written so far."""

    __slots__ = ("_file", "_hash", "size")

    def __init__(self, file: Any) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | NDArray[Any]) -> None:
        view = memoryview(data) if isinstance(data, bytes) else data.reshape(-1).view(np.uint8).data
        self._file.write(view)
        self._hash.update(view)
        self.size += view.nbytes

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Writer]:
    """A writer whose file appears under `path` whole and durable, or not at all."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb", buffering=0) as raw:
            yield Writer(_Whole(raw))
            os.fsync(raw.fileno())
        with passing(Boundary.CHILD_MODEL):
            part.replace(path)
            _sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Whole:
    """An unbuffered file may write less than it is given, a full disk above all: go on until it is all there
    or an error says why."""

    __slots__ = ("_raw",)

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def write(self, view: memoryview) -> None:
        while view.nbytes:
            view = view[self._raw.write(view) :]


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> tuple[str, int]:
    """Writes name -> array (int64, float32, uint8, bool) in canonical form; returns (SHA-256 as hex, bytes).
    Raises ValueError as `layout_of`."""
    names = {np.dtype("<i8"): "I64", np.dtype("<f4"): "F32", np.dtype("u1"): "U8", np.dtype("?"): "BOOL"}
    layout = layout_of({k: (names.get(a.dtype, str(a.dtype)), a.shape) for k, a in arrays.items()})
    return write(path, layout, (np.ascontiguousarray(arrays[t.name]) for t in layout.tensors))


def write(path: Path, layout: Layout, pieces: Iterable[NDArray[Any]]) -> tuple[str, int]:
    """Head, then the pieces, which together are the data in file order; returns (SHA-256 as hex, bytes)."""
    with replacing(path) as out:
        out.write(layout.head)
        for piece in pieces:
            out.write(piece)
        if out.size != layout.size:
            raise ValueError(f"{out.size} bytes written where the layout has {layout.size}")
    return out.digest, out.size


def model_hash(path: Path) -> str:
    """`modelHash`: SHA-256 of the file's bytes, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
