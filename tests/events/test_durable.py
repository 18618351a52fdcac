"""Parts: what nobody writes is dead, what somebody is about to write is not taken away under their hands."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from bfl_events import durable
from bfl_events.durable import dead_parts, open_part


def test_a_part_that_is_being_written_is_alive_and_dead_when_its_writer_is(tmp_path: Path) -> None:
    path, descriptor = open_part(tmp_path)
    assert list(dead_parts(tmp_path)) == []
    os.close(descriptor)
    assert list(dead_parts(tmp_path)) == [path]


def test_only_what_is_named_like_a_part_is_one(tmp_path: Path) -> None:
    for name in (".format.part", "model.part", ".0123456789abcdef", "0123456789abcdef.part"):
        (tmp_path / name).touch()
    assert list(dead_parts(tmp_path)) == []


@pytest.mark.parametrize("removed", [True, False], ids=["removed", "about-to-be-removed"])
def test_whoever_sweeps_between_making_and_locking_takes_nothing_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: bool
) -> None:
    """The first part is taken for dead; the writer goes on with another."""
    original, sweepers = durable._try_lock, list[int]()

    def late(descriptor: int) -> durable._Lock:
        if not sweepers:
            (path,) = tmp_path.iterdir()
            sweepers.append(os.open(path, os.O_RDONLY))
            fcntl.flock(sweepers[0], fcntl.LOCK_EX)
            if removed:
                path.unlink()
                os.close(sweepers[0])
        return original(descriptor)

    monkeypatch.setattr(durable, "_try_lock", late)
    path, descriptor = open_part(tmp_path, 0o600)
    assert path.exists()
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.fstat(descriptor).st_ino == path.stat().st_ino
    os.close(descriptor)
    if not removed:
        os.close(sweepers[0])
