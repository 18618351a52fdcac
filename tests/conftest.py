"""What holds for every test."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _working_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tests run at a time, and a learning child drops from its working directory what an earlier one left there."""
    monkeypatch.chdir(tmp_path)
