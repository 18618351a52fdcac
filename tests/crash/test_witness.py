"""The witness itself: what is written outside of all named steps it tells, and what is written in one it lets pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.crash.witness import VARIABLE, WHO

ROOT = Path(__file__).resolve().parents[2]
LIFE = """
import asyncio, os, sqlite3, sys
from contextlib import nullcontext, suppress
from pathlib import Path
from tests.crash.witness import watch_if_asked
watch_if_asked(os.environ)
import aiohttp
from bfl_events.boundaries import Boundary, arm, passing
arm(os.environ)
place, named = Path(sys.argv[1]), sys.argv[2] == "named"
database = sqlite3.connect(place / "database", isolation_level=None)

async def send():
    async with aiohttp.ClientSession() as session:
        with suppress(aiohttp.ClientError):
            await session.post("http://127.0.0.1:1", json={"method": "eth_sendRawTransaction", "params": ["0x"]})

def step():
    return passing(Boundary.JOURNAL_RECORD) if named else nullcontext()

with step():
    (place / "file").write_text("x")
with step():
    (place / "file").rename(place / "moved")
with step():
    (place / "moved").unlink()
with step():
    database.execute("CREATE TABLE told (what)")
with step():
    asyncio.run(send())
"""
ACTS = [("open", "file"), ("os.rename", "moved"), ("os.remove", "moved"), ("sqlite", "CREATE TABLE told (what)"),
        ("request", "eth_sendRawTransaction")]


def told(place: Path, how: str, failpoint: str = "") -> list[dict[str, Any]]:
    environment = {**os.environ, VARIABLE: str(place / "told"), WHO: "somebody", "PYTHONPATH": str(ROOT),
                   "BFL_FAILPOINT": failpoint}
    command = [sys.executable, "-c", LIFE, str(place), how]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode == 0) != bool(failpoint), ended.stderr
    lines = [json.loads(line) for line in (place / "told").read_text().splitlines()]
    assert {line["who"] for line in lines} == {"somebody"}
    return lines


def test_a_file_a_statement_and_a_transaction_outside_of_all_steps_are_told(tmp_path: Path) -> None:
    lines = told(tmp_path, "nameless")
    assert [(line["escaped"], line["what"].removeprefix(f"{tmp_path}/")) for line in lines] == ACTS
    assert all(any(place.startswith("<string>:") for place in line["where"]) for line in lines), "who called"


@pytest.mark.parametrize("failpoint", ["", "journal.record.before:5"])
def test_in_a_named_step_they_are_not_and_the_step_is_told_once_also_by_who_dies_in_it(
    tmp_path: Path, failpoint: str
) -> None:
    lines = told(tmp_path, "named", failpoint)
    assert lines == [{"who": "somebody", "passed": "journal.record"}]
