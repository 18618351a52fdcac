"""Global options stand anywhere; `--role` alone means run."""

from __future__ import annotations

import pytest

from agents.cli.arguments import arrange


@pytest.mark.parametrize(
    ("given", "arranged"),
    [
        (["task", "list", "--json"], ["--json", "task", "list"]),
        (
            ["task", "show", "0x1", "--rpc", "http://a", "--rpc=http://b", "-y"],
            ["--rpc", "http://a", "--rpc=http://b", "-y", "task", "show", "0x1"],
        ),
        (["--role", "worker"], ["--role", "worker", "run"]),
        (["--role", "worker", "--task", "0x1"], ["--role", "worker", "run", "--task", "0x1"]),
        (["--role=worker", "--home", "h"], ["--role=worker", "--home", "h", "run"]),
        (["init", "--role", "requester"], ["--role", "requester", "init"]),
        (["--role", "worker", "--help"], ["--role", "worker", "--help"]),
        (["task", "show", "--", "--json"], ["task", "show", "--", "--json"]),
        (["status", "--home"], ["--home", "status"]),
        ([], []),
    ],
)
def test_the_root_command_gets_its_options_first(given: list[str], arranged: list[str]) -> None:
    assert arrange(given) == arranged
