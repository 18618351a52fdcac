"""`doctor` looks through each route of store.read_back for what it just put into the own store."""

from __future__ import annotations

from typing import Any

import pytest

from agents.cli.exits import Exit
from tests.cli.command import Operator


@pytest.fixture
def mirrored(operator: Operator) -> Operator:
    """The store's directory is also reached by another name."""
    (operator.home / "blobs").mkdir()
    (operator.home / "mirror").symlink_to("blobs")
    return operator


def routes(operator: Operator, *addresses: str) -> list[dict[str, Any]]:
    config = operator.home / "config.toml"
    lines = [line for line in config.read_text().splitlines() if not line.startswith(("# read_back", "read_back"))]
    lines.insert(lines.index("[store]") + 1, f"read_back = {list(addresses)!r}")
    config.write_text("\n".join(lines))
    return [check for check in operator("doctor", "--json").json["checks"] if check["part"] == "read-back"]


def test_a_route_that_shows_the_stores_blobs_is_well(mirrored: Operator) -> None:
    (found,) = routes(mirrored, "local:mirror")
    assert (found["state"], found["result"]) == ("ok", "shows what the own store holds")
    assert not list((mirrored.home / "blobs" / "pins" / "doctor").iterdir())


def test_a_route_that_shows_nothing_and_one_that_is_dead_are_told_apart(mirrored: Operator) -> None:
    empty, well, dead = routes(mirrored, "local:elsewhere", "local:mirror", "gateway:http://me:s3cret@127.0.0.1:1")
    assert (empty["state"], well["state"], dead["state"]) == ("WARN", "ok", "FAIL")
    assert "does not show a new blob within 2 s" in empty["result"]
    assert "store.read_back" in dead["fix"]
    assert "s3cret" not in str(dead)
    assert mirrored("doctor").code == Exit.PREFLIGHT


def test_without_routes_nothing_is_asked(mirrored: Operator) -> None:
    assert routes(mirrored) == []
