"""The commands of the README and of the runbooks, played as they are written: in their order, one process a terminal.

Owns what a reader does with their own head: fill in addresses, use another third of the data, ask for fewer rounds and
for keys that are quick to open, wait for nothing.
"""

from __future__ import annotations

import itertools
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
PRINTS = {"bfl-agent init": "ADDRESS", "bfl-agent contracts deploy": "FACTORY", "bfl-agent task create": "TASK"}
LONGEST_S = 240


def blocks(section: str) -> list[list[str]]:
    """The command blocks of a section of the README."""
    return _blocks((ROOT / "README.md").read_text().split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0])


def runbook(page: str) -> list[list[str]]:
    """The command blocks of a runbook."""
    return _blocks((ROOT / "runbooks" / f"{page}.md").read_text())


def _blocks(text: str) -> list[list[str]]:
    """What is fenced and no other language, comments cut off."""
    fenced = re.findall(r"^ *```([a-z]*)\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    return [[shlex.join(shlex.split(line, comments=True)) if "#" in line else line.strip()
             for line in block.splitlines()] for language, block in fenced if not language]


@dataclass
class Terminals:
    """A directory, an RPC endpoint, and what runs in the background. `fund(address)` gives ether."""

    directory: Path
    rpc: str
    fund: Callable[[str], None] | None = None
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    played: set[str] = field(default_factory=set)

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

    def until(self, line: str) -> None:
        """Repeat one line until it succeeds."""
        self.type(f"until {line}; do sleep 0.1; done")

    def leave_running(self, line: str, log: str) -> None:
        """Start one line and go to the next terminal."""
        with (self.directory / log).open("wb") as output:
            self.running.append(subprocess.Popen(
                shlex.split(line), cwd=self.directory, env=self.environment, stdout=output, stderr=output,
                preexec_fn=_die_with_parent))  # noqa: PLW1509  # no other thread forks here

    def play(self, lines: list[str], log: str, known: dict[str, str]) -> str:
        """A participant's terminal; what it printed. `known` fills in words such as ADDRESS, as earlier lines printed
        them."""
        shown = ""
        for line in lines:
            words = "|".join(sorted(known, key=len, reverse=True)) or "(?!)"
            filled = re.sub(rf"\b(?:{words})\b", lambda found: known[found[0]], line)
            if "--role" in filled:
                self.leave_running(filled, log)
            elif "anvil_setBalance" in filled and self.fund is not None:
                self.fund(known["ADDRESS"])
            else:
                printed = self.type(filled)
                shown += printed
                for command, name in PRINTS.items():
                    if filled.startswith(command) and (found := ADDRESS.search(printed)):
                        known[name] = found[0]
        return shown


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


def play_by_hand(hand: Terminals, rounds: int, meanwhile: Callable[[dict[str, str]], None] | None = None
                 ) -> dict[str, str]:
    """The whole section "The same by hand"; what the commands printed. `meanwhile`: once the first worker runs."""
    _, _, requester, worker, result = blocks("The same by hand")
    known = _offer(hand, requester, hand.directory / "demo-requester" / "digits.toml", rounds)
    for number in (1, 2, 3):
        own = [line.replace("demo-worker-1", f"demo-worker-{number}").replace("0/3", f"{number - 1}/3")
               for line in worker]
        hand.play(_quick(own), f"worker-{number}.log", known)
        if number == 1 and meanwhile is not None:
            meanwhile(known)
    hand.play(result, "result.log", known)
    return known


def play_own_model(hand: Terminals, rounds: int) -> dict[str, str]:
    """The commands of "Bring your own model and data", the same way."""
    requester, worker, result = blocks("Bring your own model and data")
    known = _offer(hand, requester, hand.directory / "my-requester" / "task.toml", rounds)
    for number in (1, 2, 3):
        own = [line.replace("my-worker-1", f"my-worker-{number}") for line in worker]
        hand.play(_quick(own), f"my-worker-{number}.log", known)
    hand.play(result, "result.log", known)
    return known


def play_runbook(hand: Terminals, page: str, words: dict[str, str]) -> str:
    """A page's commands, with these words filled in, and what they print; of what several pages name, only the first
    time."""
    fresh = [line for line in itertools.chain(*runbook(page)) if line not in hand.played]
    hand.played |= set(fresh)
    return hand.play(fresh, f"{page}.log", words)


def _offer(hand: Terminals, requester: list[str], terms: Path, rounds: int) -> dict[str, str]:
    """The requester's terminal; its `terms` lie there after the first line."""
    log = f"{terms.parent.name}.log"
    known: dict[str, str] = {}
    first, *rest = _quick(requester)
    hand.play([first], log, known)
    written = terms.read_text()
    assert "\nrounds = 5\n" in written
    terms.write_text(written.replace("\nrounds = 5\n", f"\nrounds = {rounds}\n"))
    hand.play(rest, log, known)
    return known


def _quick(lines: list[str]) -> list[str]:
    """With an account whose key takes milliseconds to open, not most of a second of every command."""
    return [f"{line} --light-kdf" if "--new-account" in line else line for line in lines]
