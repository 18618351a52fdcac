"""Lives that are executed, as an operator or systemd would: the installed program, its own start, torch in its child.

Slower than the nursery by all that a program does before it is itself, and without any of a test's hands in it.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from agents.demo import tether


class Programs:
    """`with Programs() as programs:`; whoever still lives at the end dies with it, or with the test process."""

    def __init__(self) -> None:
        self._lives: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}       # by a descriptor that tells of its end
        self._news: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for _name, process in self._lives.values():
            process.kill()
        while self._lives:
            self.hear(20)

    def bear(self, name: str, argv: Sequence[str], environment: Mapping[str, str], output: Path) -> None:
        ours = {key: value for key, value in os.environ.items() if not key.startswith("BFL_")}
        installed = str(Path(sys.executable).with_name(argv[0]))
        command = (sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), installed, *argv[1:])
        with output.open("ab") as file:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd="/",
                                       env={**ours, **environment}, start_new_session=True)
        self._lives[os.pidfd_open(process.pid)] = name, process
        self._news.append({"name": name, "pid": process.pid})

    def hear(self, wait_s: float) -> list[dict[str, Any]]:
        ended, _, _ = select.select([*self._lives], [], [], 0 if self._news else wait_s)
        for descriptor in ended:
            name, process = self._lives.pop(descriptor)
            os.close(descriptor)
            self._news.append({"name": name, "status": process.wait()})
        news, self._news = self._news, []
        return news
