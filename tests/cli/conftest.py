"""An operator with an empty home, and one whose home is ready for a development chain."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.anvil import Anvil, start_anvil
from tests.cli.command import Operator


@pytest.fixture(scope="module")
def anvil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    """A chain for one module's tests."""
    with start_anvil(tmp_path_factory.mktemp("anvil"), chain_id=31337) as running:
        assert running.process is not None
        output = running.process.stdout
        yield running
    assert output is not None
    output.close()


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BFL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def newcomer(tmp_path: Path) -> Operator:
    return Operator(tmp_path / "home")


@pytest.fixture
def operator(newcomer: Operator) -> Operator:
    """Has a configuration, a password and an account."""
    newcomer.ok("init", "--new-account", "--light-kdf", "--profile", "development", "--rpc", "http://127.0.0.1:1")
    return newcomer
