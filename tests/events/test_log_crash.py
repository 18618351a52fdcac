"""kill -9 while the log is written: what is left is always a complete prefix, and writing goes on from there."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from bfl_events.lineage import Ref
from bfl_events.log import EventLog
from tests.events.log_writer import content

ROOT = Path(__file__).resolve().parents[2]


def test_a_log_survives_kill_9_at_any_point(tmp_path: Path) -> None:
    path, dice, ends = tmp_path / "events.sqlite", random.Random(5), []
    for _ in range(8):
        writer = subprocess.Popen([sys.executable, "-m", "tests.events.log_writer", str(path)], cwd=ROOT,
                                  stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        try:
            writer.wait(dice.uniform(0.01, 0.15))
        except subprocess.TimeoutExpired:
            writer.kill()
        assert writer.wait() == -9, "the writer failed by itself"
        writer.stdout.close()
        with EventLog(path) as log:
            cursor, records = log.cursor(), list(log.records())
        if cursor is not None:
            assert cursor == Ref(cursor.number, cursor.number.to_bytes(32, "big"))
            assert records == [one for block in range(cursor.number + 1) for one in content(block)]
            ends.append(cursor.number)
    assert len(set(ends)) > 3, "the writer was killed too early to prove anything"
