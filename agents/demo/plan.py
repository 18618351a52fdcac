"""What one demo is to do: how many workers, which task, where. Owns its terms and limits; starts nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from agents.cli.configfile import Value, with_values
from agents.home import Home
from agents.notation import ether
from bfl_events.schema import Address

REQUESTER: Final = "requester"
TASKS: Final = ("digits", "mnist")
ACCURACY: Final = {"digits": 0.95, "mnist": 0.97}      # what the final model must reach on data nobody trained on
SETTLED_ROUNDS: Final = 3                              # below so many, training has not come far enough to ask for that
REWARD_PER_ROUND_WEI: Final = 6 * 10**17
FUNDS_WEI: Final = 1_000 * 10**18
MOST_WORKERS: Final = 62
DRAIN_S: Final = 1                 # the supervisor kills after 3 s: Ctrl-C is to be quick
LONG: Final = 6                    # times as many local epochs: about five seconds on two cores
SCORED_ON_OWN_DATA: Final = 5      # with more workers, the digits' validation sets get too small to judge by


@dataclass(frozen=True, slots=True)
class Plan:
    """`directory` takes everything the demo writes. The last `malicious` workers play the `attacks` in turn.

    `long_rounds`: digits are looked at so often that training is a good part of a round, for faults to fall into.
    """

    directory: Path
    workers: int = 3
    rounds: int = 5
    task: str = "digits"
    data_dir: Path | None = None
    malicious: int = 0
    attacks: tuple[str, ...] = ("label-flip",)
    seed: int = 0
    long_rounds: bool = False

    @property
    def worker_names(self) -> tuple[str, ...]:
        return tuple(f"worker-{number}" for number in range(1, self.workers + 1))

    @property
    def reward_wei(self) -> int:
        return REWARD_PER_ROUND_WEI * self.rounds

    @property
    def collateral_wei(self) -> int:
        """Above the conservative bound of PROTOCOL 4.3, below what agents with default policies refuse."""
        return min(9 * REWARD_PER_ROUND_WEI // 4, 5 * self.reward_wei // self.workers)

    def role(self, name: str) -> str:
        return "worker" if name in self.worker_names else REQUESTER

    def attack_of(self, name: str) -> str | None:
        """The attack that a worker plays; None for the honest."""
        cheats = self.worker_names[self.workers - self.malicious:]
        return self.attacks[cheats.index(name) % len(self.attacks)] if name in cheats else None

    def home(self, name: str) -> Home:
        return Home(self.directory / name)

    @property
    def accuracy(self) -> float:
        """The least accuracy that the proof asks for; 0 where a few rounds cannot reach it."""
        return ACCURACY[self.task] if self.rounds >= SETTLED_ROUNDS else 0.0

    def specification(self, allowed: tuple[Address, ...]) -> str:
        """The text of SPEC.toml: the template of the task with this demo's numbers."""
        text = (resources.files("agents.cli") / "templates" / f"{self.task}.toml").read_text("utf-8")
        terms: dict[str, Value] = {
            "rounds": self.rounds, "reward": f"{ether(self.reward_wei)} ether",
            "collateral": str(self.collateral_wei), "allow": allowed, "min_active": 2, "workers": self.workers,
            "min_workers": self.workers, "max_workers": self.workers,
        }
        if self.long_rounds:
            terms["train_window"] = LONG * 120      # agents decline what they would not finish in a third of it
        text = with_values(text, "terms", terms)
        if self.task == "digits":
            # The fewer digits a worker has, the more often it looks at them: a round is as many steps for any number.
            often = LONG if self.long_rounds else 1
            text = with_values(text, "training", {"local_epochs": 2 * self.workers * often})
            if self.workers > SCORED_ON_OWN_DATA:
                text = with_values(text, "scoring", {"data": "test"})
        return text

    def configuration(self, name: str, rpc: str, chain_id: int, peers: dict[str, Address]) -> str:
        """The text of a participant's config.toml; `peers`: every participant's address by name."""
        text = f'role = "{self.role(name)}"\nname = "{name}"\nprofile = "development"\n'
        text = with_values(text, "chain", {"rpc": [rpc], "chain_id": chain_id})
        text = with_values(text, "run", {"drain_s": DRAIN_S})
        text = with_values(text, "account", {"address": peers[name]})
        # The proof looks at every round's envelopes afterwards, so none is cleared.
        text = with_values(text, "store", {"address": "local:../blobs", "retain_rounds": max(3, self.rounds + 1)})
        learning: dict[str, Value] = {"threads": max(1, (os.cpu_count() or 1) // self.workers)}
        if self.data_dir is not None:
            learning["data_dir"] = str(self.data_dir.resolve())
        text = with_values(text, "learning", learning)
        text = with_values(text, "policy", {"requesters": [peers[REQUESTER]]})
        if name in self.worker_names:
            index = self.worker_names.index(name)
            text = with_values(text, "learning.partition",
                               {"kind": "iid", "index": index, "of": self.workers, "seed": self.seed})
        return text
