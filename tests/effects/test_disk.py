"""Work on a disk that fills up: a clear sentence, nothing lost, and the same work succeeds when there is room."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agents.core.intents import AggregateModels, DeliverFinal, Done, ModelReady
from agents.effects.hands import Hands, Workshop
from agents.effects.model_files import ModelFiles
from agents.effects.ports import Transient
from tests.effects.test_exchange import DIGEST, MODEL, TASK, Site, announced

BASE = b"\1" * 32


class Averager:
    """A learner whose aggregate is always MODEL."""

    async def request(self, operation: str, fields: Mapping[str, Any], progress: object = None) -> Mapping[str, Any]:
        Path(fields["out"]).write_bytes(MODEL)
        return {"hash": DIGEST.hex()}


@contextmanager
def full(module: object, name: str) -> Iterator[None]:
    """A call of the system that finds no space left."""

    def refuse(*arguments: Any, **_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[0]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, refuse)
        yield


def hands(folder: Path) -> Hands:
    """Hands that have no more than this needs."""
    workshop = Workshop(folder / "results", folder / "checkpoints", 10**6)
    nothing: dict[str, Any] = dict.fromkeys(Hands.__slots__)
    given = {"files": ModelFiles(folder / "models"), "workshop": workshop, "learner": lambda *_: Averager(),
             "terms": lambda _: SimpleNamespace(), "progress": lambda *_: None}
    return Hands(**cast("Any", nothing | given))


@pytest.mark.parametrize("call", ["fsync", "replace"])
async def test_a_model_that_cannot_be_kept_is_made_again_later(tmp_path: Path, call: str) -> None:
    work, intent = hands(tmp_path), AggregateModels(TASK, 1, BASE, ((0, BASE),))
    with full(os, call), pytest.raises(Transient, match="No space left.*free disk space") as trouble:
        await work.perform(intent)
    assert trouble.value.part == "disk"
    assert work.files.held() == frozenset()
    assert await work.perform(intent) == ModelReady(DIGEST)
    assert work.files.path(DIGEST).read_bytes() == MODEL


async def test_a_final_model_is_delivered_whole_or_not_at_all(tmp_path: Path) -> None:
    work, intent = hands(tmp_path), DeliverFinal(TASK, DIGEST)
    work.files.path(DIGEST).write_bytes(MODEL)
    with full(Path, "replace"), pytest.raises(Transient, match="free disk space"):
        await work.perform(intent)
    assert not list((tmp_path / "results").glob("*.safetensors"))
    assert await work.perform(intent) == Done()
    assert [path.read_bytes() for path in (tmp_path / "results").iterdir()] == [MODEL]


async def test_an_envelope_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    publisher, reader = Site(tmp_path, "0x" + "11" * 20), Site(tmp_path, "0x" + "22" * 20)
    publisher.hold(MODEL)
    with full(os, "fsync"), pytest.raises((Transient, OSError), match=r"[Nn]o space left"):
        await announced(publisher, publisher, reader)
    assert list(publisher.work.iterdir()) == []
    wanted = await announced(publisher, publisher, reader)
    with full(os, "fsync"), pytest.raises(Transient, match="no space left") as trouble:
        await reader.exchange.fetch(wanted, len(MODEL))
    assert trouble.value.part == "disk"
    assert list(reader.work.iterdir()) == []
    assert await reader.exchange.fetch(wanted, len(MODEL)) == ModelReady(DIGEST)
