"""Runs `bfl-agent` in this process, as the console script does, and keeps what it printed."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agents.cli.app import invoke
from tests.anvil import rpc


@dataclass(frozen=True)
class Answer:
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        return json.loads(self.err.splitlines()[-1])["error"]


@dataclass(frozen=True)
class Operator:
    """Somebody at a terminal that is none, with a home directory."""

    home: Path

    def __call__(self, *arguments: str, stdin: str = "") -> Answer:
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            code = invoke([*arguments, "--home", str(self.home)])
        return Answer(code, out.getvalue(), err.getvalue())

    def ok(self, *arguments: str, stdin: str = "") -> Any:
        """The JSON result of a command that must succeed."""
        answer = self(*arguments, "--json", stdin=stdin)
        assert answer.code == 0, answer.err
        return answer.json

    def files(self) -> dict[str, bytes]:
        """Everything in the home, to see that a refused command changed nothing."""
        return {
            str(path.relative_to(self.home)): path.read_bytes()
            for path in sorted(self.home.rglob("*"))
            if path.is_file()
        }


@contextmanager
def nothing_changed(operator: Operator, url: str, account: str) -> Iterator[None]:
    """The account sends and pays nothing meanwhile, and the home keeps its files as they are. New ones may only be the
    program's own: below networks/, the store's stamp, a first encryption key."""

    def state() -> dict[str, Any]:
        own = ("networks/", "keystore/encryption/", "blobs/format")
        read = {name: content for name, content in operator.files().items() if not name.startswith(own)}
        asked = ("eth_getBalance", "eth_getTransactionCount")
        return {**read, **{method: rpc(url, method, account, "pending") for method in asked}}

    before = state()
    yield
    after = state()
    changed = sorted(name for name in before | after if before.get(name) != after.get(name))
    assert not changed, changed
