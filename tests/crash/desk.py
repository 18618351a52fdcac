"""Where commands are given to one home, some of them to die: what fired is on record, and a test says what should have.

Owns the running of a command with failpoints. A life that ends otherwise than it should fails the test.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable, Sequence
from pathlib import Path

from agents.cli.configfile import Value, with_values
from agents.home import Home
from agents.identity import choose
from bfl_events.boundaries import VARIABLE
from tests.anvil import Anvil
from tests.crash import witness
from tests.crash.births import Nursery
from tests.crash.stage import CHAIN_ID, FUNDS

KILLED = -signal.SIGKILL


class Desk:
    """`fired`: the failpoints of which something died, over all commands given here."""

    def __init__(self, directory: Path, nursery: Nursery, name: str = "home") -> None:
        self.directory, self._nursery, self._number, self._name = directory, nursery, 0, name
        self.home = Home(directory / name)
        self.fired: set[str] = set()

    def run(self, *argv: str, failpoint: str = "", told: Path | None = None) -> int:
        """`told`: where its durable steps are written down."""
        self._number += 1
        self._output = self.directory / f"{self._name}-{self._number}.output"
        environment = {VARIABLE: failpoint} if failpoint else {}
        if told is not None:
            environment[witness.VARIABLE] = str(told)
        return self._nursery.command(argv, self._output, environment)

    def dies(self, failpoint: str, *argv: str) -> None:
        self.dies_of_each([failpoint], *argv)

    def dies_of_each(self, failpoints: Iterable[str], *argv: str) -> None:
        """All are armed at once; each life dies of the one it comes to first, and the next is armed with the rest."""
        armed = list(failpoints)
        while armed:
            code = self.run(*argv, failpoint=",".join(armed))
            fired = next((one for one in armed if f"failpoint {one.partition(':')[0]}\n" in self._words()), "")
            assert fired, f"ended with {code}, armed with {armed}: {self._output.read_text()}"
            assert (code == KILLED) != fired.startswith("child."), self._output.read_text()
            assert code != 0, "what its child died of"
            armed.remove(fired)
            self.fired.add(fired.partition(":")[0])

    def does(self, *argv: str, told: Path | None = None) -> str:
        assert self.run(*argv, told=told) == 0, self._output.read_text()
        return self._output.read_text()

    def passes(self, *argv: str) -> set[str]:
        """Do it undisturbed; every durable step that it passes, its learning child's included."""
        told = self.directory / f"{self._name}.told"
        self.does(*argv, told=told)
        return {line["passed"] for line in map(json.loads, told.read_text().splitlines()) if "passed" in line}

    def _words(self) -> str:
        """Of the last command and, if it is not swept yet, of its learning child."""
        logs = self.home.root.glob("networks/*/work/**/learner.log*")
        return "".join(path.read_text(errors="replace") for path in (self._output, *logs))

    # ---- the home

    def agent(self, *argv: str) -> Sequence[str]:
        return ("bfl-agent", *argv, "--home", str(self.home.root))

    def init(self) -> Sequence[str]:
        return self.agent("init", "--new-account", "--light-kdf")

    @property
    def address(self) -> str:
        return choose(self.home, None).address

    def settle_in(self, chain: Anvil, **more: Value) -> None:
        """A home with an account that has ether on this chain, and with `tiny` to learn. `more`: of the chain."""
        self.does(*self.init())
        text = with_values(self.home.config.read_text(), "chain", {"rpc": [chain.url], "chain_id": CHAIN_ID, **more})
        text = with_values(text, "learning.plugins", {"tiny": "tests.crash.workbench"})
        self.home.config.write_text(text)
        chain.rpc("anvil_setBalance", self.address, hex(FUNDS))

    def files(self) -> set[str]:
        """Below the home, by names without the time and the address in them; a database is one file."""
        found = (path.relative_to(self.home.root) for path in self.home.root.rglob("*")
                 if path.is_file() and not path.name.endswith(("-wal", "-shm")))
        own = self.address.lower()
        return {str(path.parent / path.name.partition("--")[0]).replace(own, "me") for path in found}
