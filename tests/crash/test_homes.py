"""Killed while a home is opened, stamped or mended: the next opening finds it whole and comes to the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bfl_events.boundaries import VARIABLE
from tests.crash import arms

ROOT = Path(__file__).resolve().parents[2]
OPENING = """
import asyncio, os, sys
from pathlib import Path
from agents.formats import refuse_newer, stamp
from agents.home import Home
from agents.opening import Opening
from agents.storage import open_store
from bfl_events.boundaries import arm
arm(os.environ)
home = Home(Path(sys.argv[1])).create()
refuse_newer(home, f"local:{home.root}/blobs")
stamp(home)
Opening(home.network(31337, "0x" + "ab" * 20).create(), lambda part, sentence: print(part, sentence)).mend()
store = open_store(f"local:{home.root}/blobs", owner="somebody", deadline=30)
print(asyncio.run(store.put(home.root / "blob")).hex())
"""


def opened(home: Path, failpoint: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, VARIABLE: failpoint, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", OPENING, str(home)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def spoiled(home: Path) -> Path:
    """A home with a blob to publish and a journal that is none; returns its network's folder."""
    network = home / "networks" / "31337-abababab"
    network.mkdir(parents=True)
    (network / "journal.sqlite").write_bytes(b"not a database" * 100)
    (network / "journal.sqlite-wal").write_bytes(b"nor its log")
    (home / "blob").write_bytes(b"a blob")
    return network


@pytest.mark.parametrize("failpoint", arms.OPENED)
def test_killed_at_a_step_of_its_opening_a_home_is_whole_at_the_next(tmp_path: Path, failpoint: str) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    networks = spoiled(whole), spoiled(killed)
    undisturbed = opened(whole)
    assert undisturbed.returncode == 0, undisturbed.stderr
    assert opened(killed, failpoint).returncode == -signal.SIGKILL
    again = opened(killed)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1] == undisturbed.stdout.splitlines()[-1]
    assert not list(killed.rglob(".*.part")), "the rest of a file on its way"
    for network in networks:
        assert not (network / "journal.sqlite").exists()
        kept = [path for path in network.glob("journal.sqlite.damaged-*") if not path.name.endswith("-wal")]
        assert [path.read_bytes() for path in kept] == [b"not a database" * 100]
    assert (killed / "format").read_text() == (whole / "format").read_text()
    assert (killed / "blobs" / "format").read_text() == (whole / "blobs" / "format").read_text()
