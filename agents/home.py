"""Where an agent keeps its things: paths only.

Owns the layout of the home directory. Must not read a file; `create` makes directories that only their owner can enter.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bfl_events.schema import Address


@dataclass(frozen=True, slots=True)
class NetworkHome:
    """What belongs to one (chain, factory): a development chain never mixes with a real one."""

    root: Path

    @property
    def chain(self) -> Path:
        """What belongs to the account on this chain, whatever the factory: one agent, one outbox (DESIGN 3.9)."""
        return self.root.with_name(self.root.name.partition("-")[0])

    @property
    def lock(self) -> Path:
        return self.chain / "agent.lock"

    @property
    def journal(self) -> Path:
        return self.root / "journal.sqlite"

    @property
    def outbox(self) -> Path:
        return self.chain / "outbox.sqlite"

    @property
    def events(self) -> Path:
        return self.root / "events.sqlite"

    @property
    def view(self) -> Path:
        """The CLI's own event log, for when no agent runs: reading must never stand in an agent's way."""
        return self.root / "view.sqlite"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def envelopes(self) -> Path:
        return self.root / "envelopes"

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    def create(self) -> NetworkHome:
        """Make the directories, 0700. Raises OSError."""
        for path in (self.chain, self.root, self.models, self.envelopes, self.work, self.checkpoints):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self


@dataclass(frozen=True, slots=True)
class Home:
    """The home directory of one agent."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.toml"

    @property
    def keystore(self) -> Path:
        return self.root / "keystore"

    @property
    def encryption_keys(self) -> Path:
        return self.keystore / "encryption"

    @property
    def password(self) -> Path:
        return self.root / "secrets" / "password"

    @property
    def log(self) -> Path:
        return self.root / "logs" / "agent.log"

    @property
    def control_socket(self) -> Path:
        return self.root / "run" / "control.sock"

    @property
    def results(self) -> Path:
        return self.root / "results"

    def result(self, task: Address) -> Path:
        """Where the requester keeps the attested model of a task."""
        return self.results / f"{task}.safetensors"

    def network(self, chain_id: int, factory: Address) -> NetworkHome:
        """`networks/<chain id>-<first 8 hex digits of the factory>`."""
        return NetworkHome(self.root / "networks" / f"{chain_id}-{factory[2:10].lower()}")

    def create(self) -> Home:
        """Make the directories, 0700. Raises OSError."""
        private = (
            self.root,
            self.keystore,
            self.encryption_keys,
            self.password.parent,
            self.log.parent,
            self.control_socket.parent,
            self.results,
        )
        for path in private:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self


def find_home(flag: Path | None = None) -> Home:
    """The home directory: the flag, else BFL_HOME, else the platform's place for user data."""
    named = flag or os.environ.get("BFL_HOME")
    if not named:
        from platformdirs import user_data_path

        return Home(user_data_path("bfl-agent", appauthor=False))
    return Home(Path(named).expanduser().absolute())
