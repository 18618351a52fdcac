"""Have a process born, hear who was born and who died. The nursery's other end."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

ROOT = Path(__file__).resolve().parents[2]


class Births(Protocol):
    """`argv` begins with the program's name, bfl-agent or bfl-events. `hear`: what has happened since, {name, pid} or
    {name, status}; waits for at most so long if nothing has."""

    def bear(self, name: str, argv: Sequence[str], environment: Mapping[str, str], output: Path) -> None: ...
    def hear(self, wait_s: float) -> list[dict[str, Any]]: ...


class Nursery:
    """Lives that are forked. `with Nursery(directory) as nursery:`; whoever still lives at the end dies with it."""

    def __init__(self, directory: Path) -> None:
        self._stderr = directory / "nursery.stderr"
        self._pending = b""
        self._process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("BFL_")}
        environment = {**ours, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with self._stderr.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.crash.nursery"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=stderr, cwd=ROOT, env=environment)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        with self._process:
            self._process.wait(20)

    def bear(self, name: str, argv: Sequence[str], environment: Mapping[str, str], output: Path) -> None:
        wish = {"name": name, "argv": list(argv), "environment": dict(environment), "output": str(output)}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(wish).encode() + b"\n")
        self._process.stdin.flush()

    def hear(self, wait_s: float) -> list[dict[str, Any]]:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], wait_s)
        if not ready:
            return []
        data = os.read(self._process.stdout.fileno(), 65536)
        assert data, f"the nursery died: {self._stderr.read_text()}"
        *lines, self._pending = (self._pending + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def command(self, argv: Sequence[str], output: Path, environment: Mapping[str, str], seconds: float = 120.0) -> int:
        """Run one command to its end; its exit status, negative for a signal."""
        self.bear(str(output), argv, environment, output)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for message in self.hear(0.2):
                if "status" in message and message["name"] == str(output):
                    status: int = message["status"]
                    return status
        raise TimeoutError(f"{argv} did not end: {output.read_text(errors='replace')[-2000:]}")
