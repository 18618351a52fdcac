"""What several tests with real agents in this process stand on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.anvil import deploy, start_anvil
from tests.system.company import Company


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    """Nobody in it yet, on a chain of its own."""
    (tmp_path / "anvil").mkdir()
    with start_anvil(tmp_path / "anvil", chain_id=31337) as anvil:
        yield Company(anvil, deploy(anvil.url).factory, tmp_path)
