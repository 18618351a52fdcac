"""The README's section "The same by hand", played as it is written: its commands, its order, one process a terminal.

Owns what a reader does with their own head: fill in addresses, use another third of the data, wait for nothing.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.anvil import BINARY, _die_with_parent

ROOT = Path(__file__).resolve().parents[2]
BASH = ("bash", "-euo", "pipefail", "-c")
ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
LONGEST_S = 240


def blocks() -> list[list[str]]:
    """The section's command blocks, comments cut off: terminals, chain, requester, worker, result."""
    section = (ROOT / "README.md").read_text().split("## The same by hand", 1)[1].split("\n## ", 1)[0]
    return [[shlex.join(shlex.split(line, comments=True)) if "#" in line else line for line in block.splitlines()]
            for block in re.findall(r"```\n(.*?)```", section, re.DOTALL)]


@dataclass
class Terminals:
    """A directory, an RPC endpoint, and what runs in the background. `fund(address)` gives ether."""

    directory: Path
    rpc: str
    fund: Callable[[str], None] | None = None
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        tools = f"{Path(sys.prefix) / 'bin'}{os.pathsep}{BINARY.parent}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BFL_")}
        return {**kept, "PATH": f"{tools}{os.pathsep}{kept['PATH']}", "PWD": str(self.directory),
                "ETH_RPC_URL": self.rpc, "BFL_CHAIN__RPC": self.rpc,
                "BFL_PROFILE": "development", "BFL_STORE__ADDRESS": f"local:{self.directory}/demo-blobs"}

    def type(self, line: str) -> str:
        """Run one line to its end and return what it printed; it must succeed."""
        done = subprocess.run((*BASH, line), cwd=self.directory, env=self.environment, capture_output=True, text=True,
                              timeout=LONGEST_S, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def leave_running(self, line: str, log: str) -> None:
        """Start one line and go to the next terminal."""
        with (self.directory / log).open("wb") as output:
            self.running.append(subprocess.Popen(
                shlex.split(line), cwd=self.directory, env=self.environment, stdout=output, stderr=output,
                preexec_fn=_die_with_parent))  # noqa: PLW1509  # no other thread forks here

    def play(self, lines: list[str], log: str, known: dict[str, str]) -> None:
        """A participant's terminal. ADDRESS and FACTORY are filled in by `known`, as earlier lines printed them."""
        for line in lines:
            filled = re.sub(r"\b(ADDRESS|FACTORY)\b", lambda found: known[found[1]], line)
            if "--role" in filled:
                self.leave_running(filled, log)
            elif "anvil_setBalance" in filled and self.fund is not None:
                self.fund(known["ADDRESS"])
            else:
                printed = self.type(filled)
                name = {"init": "ADDRESS", "contracts": "FACTORY"}.get(filled.split()[1])
                if name is not None:
                    known[name] = ADDRESS.findall(printed)[0]


@contextmanager
def terminals(directory: Path, rpc: str, fund: Callable[[str], None] | None = None) -> Iterator[Terminals]:
    """Everything that was left running is ended with the block."""
    opened = Terminals(directory, rpc, fund)
    try:
        yield opened
    finally:
        for process in opened.running:
            process.send_signal(signal.SIGTERM)
        for process in opened.running:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def play_by_hand(hand: Terminals, rounds: int) -> str:
    """The whole section, with fewer rounds than the template's five; returns the factory's address."""
    _, _, requester, worker, result = blocks()
    known: dict[str, str] = {}
    first, *rest = requester
    hand.play([first], "requester.log", known)
    template = hand.directory / "demo-requester" / "digits.toml"
    template.write_text(template.read_text().replace("\nrounds = 5", f"\nrounds = {rounds}"))
    hand.play(rest, "requester.log", known)
    for number in (1, 2, 3):
        own = [line.replace("demo-worker-1", f"demo-worker-{number}").replace("0/3", f"{number - 1}/3")
               for line in worker]
        hand.play(own, f"worker-{number}.log", known)
    for line in result:
        hand.type(line)
    return known["FACTORY"]
