"""How an agent ends: asked once it drains, asked during its start it breaks off, and says so meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from agents.health import Health
from agents.shutdown import Shutdown
from agents.telemetry import open_log


class Bench:
    def __init__(self, folder: Path) -> None:
        self.health, self.file = Health(), folder / "agent.log"
        self.telemetry = open_log(self.file, console=None)
        self.drained: list[float] = []
        self.shutdown = Shutdown(7.0, self.health, self.telemetry.log)

    def said(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.file.read_text().splitlines()]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_the_first_signal_drains_once_and_shows_in_health(bench: Bench) -> None:
    bench.health.beat()
    with bench.shutdown.signals():
        bench.shutdown.started(bench.drained.append)
        os.kill(os.getpid(), signal.SIGTERM)
        while not bench.shutdown.asked:
            await asyncio.sleep(0)
        bench.shutdown.ask()
    assert bench.drained == [7.0]
    assert bench.said() == ["agent.draining"]
    report = bench.health.report()
    assert (report["ready"], report["alive"]) == (False, True)
    assert "within 7 s" in report["troubles"]["agent"]


async def test_a_signal_during_the_start_breaks_it_off(bench: Bench) -> None:
    cleaned = False
    with bench.shutdown.signals(), bench.shutdown.starting():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            cleaned = True
    assert cleaned
    assert bench.shutdown.asked
    await asyncio.sleep(0)                   # nothing of the cancellation is left


async def test_a_cancellation_by_somebody_else_is_not_swallowed(bench: Bench) -> None:
    async def start() -> None:
        with bench.shutdown.starting():
            bench.shutdown.started(bench.drained.append)
            bench.shutdown.ask()
            await asyncio.Event().wait()

    task = asyncio.create_task(start())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.drained == [7.0]


def test_what_is_lost_is_reported_until_the_process_ends_and_keeps_nobody_from_working() -> None:
    health = Health()
    health.beat()
    health.lost("journal", "journal.sqlite is gone")
    assert health.ready
    assert health.report()["lost"] == [{"what": "journal", "sentence": "journal.sqlite is gone", "repaired": False}]
    health.repaired.add("journal")
    assert health.report()["lost"][0]["repaired"]
