"""The last screen: what it says of deaths and of claims that do not hold, and commands that can be copied."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from agents.cli.arguments import arrange
from agents.demo import summary
from tests.cli.test_pages import PROGRAMS, understood


def result(**changes: Any) -> dict[str, Any]:
    """A run of one round and one worker."""
    worker = {"address": "0x" + "01" * 20, "name": "worker-1", "role": "worker", "malicious": None, "restarts": 0,
              "earned_wei": str(15 * 10**17), "slashed_wei": "0", "peak_rss_mib": 110.4, "child_peak_rss_mib": 512.0}
    settled = {"round": 1, "accuracy": 0.9, "precision": 0.8, "recall": None, "accepted": [worker["address"]],
               "top": [worker["address"]], "seconds": {worker["address"]: {"train": 2.0, "score": 1.0, "wait": 0.5}}}
    return {"ok": True, "rounds": [settled], "wall_s": 12.34, "restarts": 0, "participants": [worker],
            "gas": {"commitModel": {"calls": 3, "mean": 55_286, "max": 75_012}},
            "proof": [{"claim": "no process is left", "holds": True, "seen": "none"}], **changes}


def test_a_run_is_told_in_numbers() -> None:
    told = "\n".join(summary.lines(result(), None))
    assert re.search(r"^1 +0\.9000 +0\.8000 +1 +1 +2\.0 s +1\.0 s +0\.5 s$", told, re.MULTILINE)
    assert re.search(r"^worker-1 +0x0101…0101 +1\.5 +0 +110 MiB +512 MiB$", told, re.MULTILINE)
    assert re.search(r"^commitModel +3 +55,286 +75,012$", told, re.MULTILINE)
    assert "✓ no process is left: none" in told
    assert "Proven: 1 rounds in 12.3 s, nobody died." in told


@pytest.mark.parametrize(("restarts", "words"), [(0, ", nobody died."), (1, ", 1 restart."), (6, ", 6 restarts.")])
def test_restarts_are_counted(restarts: int, words: str) -> None:
    assert any(line.endswith(words) for line in summary.lines(result(restarts=restarts), None))


def test_a_claim_that_does_not_hold_is_marked_and_nothing_is_called_proven() -> None:
    broken = [{"claim": "the contract holds nothing any more", "holds": False, "seen": "5 wei"}]
    told = "\n".join(summary.lines(result(ok=False, proof=broken), Path("demo-1")))
    assert "✗ the contract holds nothing any more: 5 wei" in told
    assert "NOT proven: 1 rounds in " in told
    assert "Everything is in demo-1 " in told


@pytest.mark.parametrize("kept", [None, Path("demo-1"), Path("/home/ann/my demo's results")])
def test_the_commands_to_try_next_can_be_copied(kept: Path | None) -> None:
    commands = [shlex.split(re.split(" {3,}", line.removeprefix("Next:").strip())[0])
                for line in summary.following(kept)]
    assert len(commands) == 3
    for program, *words in commands:
        understood(PROGRAMS[program], arrange(words) if program == "bfl-agent" else words)
    first = ["bfl-agent", "demo", "--keep", "demo-1"] if kept is None else ["bfl-events", "verify",
                                                                             f"{kept}/events.jsonl"]
    assert commands[0] == first
