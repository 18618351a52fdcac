"""What an agent says about itself: lines that machines and people can read, with nothing private in them."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from agents.health import Health, serve_http
from agents.metrics import Metrics
from agents.redaction import Redactor, redact_url
from agents.telemetry import Marker, Telemetry, open_log


@pytest.fixture
def telemetry(tmp_path: Path) -> Iterator[Telemetry]:
    redactor = Redactor(["correct horse"], [PurePosixPath("/mnt/imaging/2026q3")])
    opened = open_log(
        tmp_path / "logs" / "agent.log", console=None, redactor=redactor, bound={"agent": "a", "role": "worker"}
    )
    yield opened
    opened.close()


def lines(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "logs" / "agent.log").read_text().splitlines()]


def test_a_line_has_time_level_marker_and_the_bound_fields(telemetry: Telemetry, tmp_path: Path) -> None:
    telemetry.log.bind(task="0xT", round=3).info(Marker.TRAIN_COMPLETED, duration_s=1.5)
    (line,) = lines(tmp_path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("ts"))
    assert line == {
        "level": "info",
        "event": "train.completed",
        "agent": "a",
        "role": "worker",
        "task": "0xT",
        "round": 3,
        "duration_s": 1.5,
    }


def test_amounts_are_strings_and_hashes_hex(telemetry: Telemetry, tmp_path: Path) -> None:
    telemetry.log.info(Marker.LEDGER_WITHDRAWN, amount_wei=10**19, tx=b"\x01\x02", key=b"x" * 400)
    (line,) = lines(tmp_path)
    assert (line["amount_wei"], line["tx"], line["key"]) == ("10000000000000000000", "0x0102", "<400 bytes>")


@pytest.mark.parametrize(
    "private",
    [
        {"password": "hunter2"},
        {"private_key": b"\x01" * 32},
        {"note": "the correct horse ran"},
        {"error": "cannot reach https://user:hunter2@rpc.example/v3/SECRETKEY?token=1"},
        {"where": "/mnt/imaging/2026q3/patient.csv"},
        {"nested": [{"url": "wss://rpc.example/SECRETKEY"}]},
        {"text": "-----BEGIN RSA PRIVATE KEY-----\nSECRETKEY\n-----END RSA PRIVATE KEY-----"},
    ],
)
def test_nothing_private_reaches_the_log(telemetry: Telemetry, tmp_path: Path, private: dict[str, Any]) -> None:
    telemetry.log.warning(Marker.CHAIN_ENDPOINT_FAILED, **private)
    text = (tmp_path / "logs" / "agent.log").read_text()
    for secret in ("hunter2", "0x0101", "correct horse", "SECRETKEY", "/mnt/imaging"):
        assert secret not in text


def test_an_exception_is_redacted_too(telemetry: Telemetry, tmp_path: Path) -> None:
    try:
        raise OSError("POST https://rpc.example/SECRETKEY failed")
    except OSError:
        telemetry.log.exception(Marker.CHAIN_UNREACHABLE)
    (line,) = lines(tmp_path)
    assert "OSError" in line["exception"]
    assert "SECRETKEY" not in line["exception"]


def test_the_level_changes_while_the_agent_runs(telemetry: Telemetry, tmp_path: Path) -> None:
    bound = telemetry.log.bind(task="t")
    bound.debug(Marker.LOOP_TICKED)
    telemetry.threshold.set("debug")
    bound.debug(Marker.LOOP_TICKED)
    assert len(lines(tmp_path)) == 1
    with pytest.raises(ValueError, match="no log level"):
        telemetry.threshold.set("loud")


def test_warnings_of_libraries_join_the_log(telemetry: Telemetry, tmp_path: Path) -> None:
    logging.getLogger("asyncio").warning("Task exception was never retrieved")
    logging.getLogger("asyncio").info("chatter")
    (line,) = lines(tmp_path)
    assert (line["event"], line["logger"]) == ("foreign.logged", "asyncio")


def test_a_caller_cannot_forge_time_or_level(telemetry: Telemetry, tmp_path: Path) -> None:
    telemetry.log.info(Marker.AGENT_STARTED, level="critical", ts="yesterday")
    (line,) = lines(tmp_path)
    assert line["level"] == "info"
    assert line["ts"] != "yesterday"


def test_the_console_is_for_people_or_for_machines(tmp_path: Path) -> None:
    for form, expected in (("console", "train.started"), ("json", '"event": "train.started"')):
        stream = io.StringIO()
        opened = open_log(None, console=form, stream=stream)
        opened.log.info(Marker.TRAIN_STARTED)
        opened.close()
        assert expected in stream.getvalue()


def test_the_log_file_is_private_and_rotates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.telemetry._LOG_BYTES", 2_000)
    opened = open_log(tmp_path / "agent.log", console=None)
    for number in range(400):
        opened.log.info(Marker.LOOP_TICKED, number=number)
    opened.close()
    assert (tmp_path / "agent.log").stat().st_mode & 0o077 == 0
    assert len(list(tmp_path.glob("agent.log*"))) == 6
    assert json.loads((tmp_path / "agent.log").read_text().splitlines()[-1])["number"] == 399


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example", "https://a.example"),
        ("https://a.example/", "https://a.example"),
        ("http://u:p@127.0.0.1:8545", "http://127.0.0.1:8545/…"),
        ("wss://[::1]:8546/x", "wss://[::1]:8546/…"),
        ("http://a:bad/x", "http://••••"),
    ],
)
def test_urls_are_shown_without_their_private_parts(url: str, shown: str) -> None:
    assert redact_url(url) == shown


def test_a_url_in_a_sentence_is_still_read(telemetry: Telemetry, tmp_path: Path) -> None:
    telemetry.log.info(Marker.STORE_UNREACHABLE, reason="at http://127.0.0.1:5001: refused by https://a.example/key.")
    (line,) = lines(tmp_path)
    assert line["reason"] == "at http://127.0.0.1:5001: refused by https://a.example/…."


def test_a_full_disk_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    """/dev/full refuses like a disk without space. On the console every line is still seen, and closing is quiet."""
    (tmp_path / "logs").mkdir()
    place = tmp_path / "logs" / "agent.log"
    place.symlink_to("/dev/full")
    console = io.StringIO()
    telemetry = open_log(place, console="json", stream=console)
    telemetry.log.info(Marker.AGENT_STARTED)
    telemetry.log.info(Marker.AGENT_DRAINING)
    place.unlink()
    telemetry.log.info(Marker.AGENT_STOPPED)
    telemetry.close()
    assert len(console.getvalue().splitlines()) == 3
    assert [line["event"] for line in lines(tmp_path)] == ["agent.stopped"]


async def test_health_and_metrics_answer_over_http() -> None:
    now = [100.0]
    health = Health(stall_s=10, clock=lambda: now[0])
    registry = CollectorRegistry()
    Metrics(registry).round.set(7)
    async with (
        serve_http("127.0.0.1:0", health, registry) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http,
    ):

        async def get(path: str) -> tuple[int, str]:
            async with http.get(path) as response:
                return response.status, await response.text()

        assert (await get("/readyz"))[0] == 503
        health.beat()
        assert (await get("/readyz"))[0] == 200
        assert health.trouble("store", "Kubo does not answer")
        assert not health.trouble("store", "Kubo does not answer")
        status, text = await get("/readyz")
        assert (status, json.loads(text)["troubles"]) == (503, {"store": "Kubo does not answer"})
        assert health.well("store")
        now[0] += 11
        assert (await get("/livez"))[0] == 503
        assert "bfl_agent_task_round 7.0" in (await get("/metrics"))[1]


def test_marker_names_are_unique_dotted_and_lower_case() -> None:
    assert all(re.fullmatch(r"[a-z]+(\.[a-z_]+){1,2}", marker) for marker in Marker)
    assert len(set(Marker)) == len(list(Marker))
