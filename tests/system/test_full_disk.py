"""Out of disk while a task runs: real file systems, really full. It is said, nothing is lost, and it goes on."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.anvil import deploy, start_anvil

ROOT = Path(__file__).resolve().parents[2]
FULL = re.compile(r"The disk is full: .* Free some|is full; free disk space|no space left on the disk; free some")
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")


@pytest.fixture
def own_mounts(tmp_path: Path) -> None:
    """Only root of a mount namespace can mount; most systems let everybody be that in a user namespace of their own."""
    try:
        subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", tmp_path], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no mount namespaces for this user here, so no small disk: {error}")


def test_disks_that_fill_up_one_after_the_other_cost_time_only(own_mounts: None, tmp_path: Path) -> None:
    (tmp_path / "anvil").mkdir()
    with start_anvil(tmp_path / "anvil", chain_id=31337) as anvil:
        scenario = (sys.executable, "-m", "tests.system.cramped", tmp_path, anvil.url, deploy(anvil.url).factory)
        command = (*NAMESPACE, *scenario)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert list(said) == ["blob store", "outbox", "event log, journal, models", "export"]
    assert "no space left on the disk; free some" in said["blob store"]
    assert "full; free disk space" in said["outbox"]
    assert FULL.search(said["event log, journal, models"]), "whichever of the three wrote first"
    assert "No space left on device" in said["export"]
    assert "the free space" in said["export"]
