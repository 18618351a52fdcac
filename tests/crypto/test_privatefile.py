"""Files for their owner's eyes: whole or not at all, and nothing of a secret lies about."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.crypto.privatefile import private_file, write_private
from bfl_events.boundaries import Boundary


def test_what_a_killed_process_left_of_a_secret_goes_with_the_next_write(tmp_path: Path) -> None:
    left = tmp_path / ".0123456789abcdef.part"
    left.write_bytes(b"half a password")
    other = tmp_path / "notes.part"
    other.write_bytes(b"not ours")
    write_private(tmp_path / "password", b"secret")
    assert {path.name for path in tmp_path.iterdir()} == {"password", "notes.part"}


def test_what_another_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    with private_file(tmp_path / "first", Boundary.PRIVATE_WRITE) as file:
        write_private(tmp_path / "second", b"2")
        file.write(b"1")
    assert (tmp_path / "first").read_bytes() == b"1"
    assert {path.name for path in tmp_path.iterdir()} == {"first", "second"}


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    write_private(tmp_path / "password", b"old")
    with pytest.raises(OSError, match="full"), private_file(tmp_path / "password", Boundary.PRIVATE_WRITE) as file:
        file.write(b"new")
        raise OSError("full")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
    assert (tmp_path / "password").stat().st_mode & 0o077 == 0
