"""What an agent knows when it decides: the folded tasks, its own memory, itself, and the time.

Owns shapes only. Everything a decision depends on is in here, so that a decision can be replayed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence, Set as AbstractSet
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from agents.core.intents import SEALED, Intent, ModelReady, Outcome, Published, RowReady, TermsReady
from agents.core.specification import Specification, from_document
from bfl_events.fold import Created
from bfl_events.schema import Address, Word
from bfl_events.state import TaskState

ZERO_ADDRESS: Address = "0x" + "00" * 20
ZERO_HASH = bytes(32)
LEAVE = "wish:leave:"      # the journal's key of the operator's wish to leave a task, before its address


@dataclass(frozen=True, slots=True)
class World:
    """All tasks of the factory, and those created whose `TaskInitialized` was not folded yet."""

    tasks: Mapping[Address, TaskState] = field(default_factory=dict)
    created: Mapping[Address, Created] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Now:
    """`time`: seconds by the chain's own clock, by which deadlines pass. `head`: its newest block. `block_s`: usual
    seconds a block. `base_fee`: wei per gas in that block; 0 where there is none, or nobody knows it any more."""

    time: float
    head: int
    block_s: float = 0.0
    base_fee: int = 0


class Seals(Protocol):
    """Commitments under this agent's key: pure functions, since salts are derived (PROTOCOL 8)."""

    def model(self, task: Address, round: int, attempt: int, model_hash: bytes) -> bytes: ...
    def scores(self, task: Address, round: int, attempt: int, row: Sequence[Word]) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What an operator does not bond for (PROTOCOL 7.7). Wei, basis points, seconds; named as in settings' policy."""

    requesters: frozenset[Address] = frozenset()
    own_accounts: frozenset[Address] = frozenset()
    max_collateral_wei: int = 3 * 10**18 // 2
    max_open_collateral_wei: int = 10**16
    max_collateral_factor: int = 5
    max_fee_bps: int = 2000
    max_miss_bps: int = 1000
    max_slash_bps: int = 5000
    max_accept_bps: int = 9500
    min_max_miss: int = 2
    min_window_blocks: int = 10
    min_reward_per_round_wei: int = 0
    min_reward_to_gas: float = 1.0


@dataclass(frozen=True, slots=True)
class Me:
    """The deciding agent. `confirmations` as in PROTOCOL 2.6; `task`: serve this one only."""

    address: Address
    seals: Seals
    limits: Limits = Limits()
    confirmations: int = 0
    retain_rounds: int = 3
    task: Address | None = None
    leaving: frozenset[Address] = frozenset()


@dataclass(frozen=True, slots=True)
class Memory:
    """The journal's outcomes by intent key, and the hashes of the model files at hand."""

    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    models: AbstractSet[bytes] = frozenset()

    def model(self, key: str) -> bytes | None:
        """The model that this intent made or brought, if its file is still there."""
        outcome = self.outcomes.get(key)
        held = isinstance(outcome, ModelReady) and outcome.model_hash in self.models
        return outcome.model_hash if isinstance(outcome, ModelReady) and held else None

    def terms(self, key: str) -> Specification | None:
        outcome = self.outcomes.get(key)
        return _specification(outcome.document) if isinstance(outcome, TermsReady) else None

    def models_under(self, prefix: str) -> Iterator[bytes]:
        """Hashes of the model files whose intent key begins with `prefix`."""
        for key, outcome in self.outcomes.items():
            if key.startswith(prefix) and isinstance(outcome, ModelReady) and outcome.model_hash in self.models:
                yield outcome.model_hash

    def made(self, prefix: str, commitment: bytes, seal: Callable[[bytes], bytes]) -> bool:
        """Whether a model behind this commitment was journalled under `prefix`, also if its file is gone."""
        under = (outcome for key, outcome in self.outcomes.items() if key.startswith(prefix))
        return any(isinstance(one, ModelReady) and seal(one.model_hash) == commitment for one in under)

    def forgot(self, task: Address, attempt: int, commitment: bytes) -> bool:
        """Whether this own commitment is from a time that the journal does not know (agents.core.losses)."""
        return forgot_key(task, attempt, commitment) in self.outcomes

    def envelopes(self, task: Address, round: int) -> frozenset[bytes]:
        """CIDs of everything this agent put into the store for a round, or was about to put when it was killed."""
        found = set()
        for key, outcome in self.outcomes.items():
            match key.removeprefix(SEALED).split(":"):
                case ["publish", of, when, *_] | ["copy", of, _, when, *_] if (of, when) == (task, str(round)):
                    found |= {outcome.cid} if isinstance(outcome, Published) else set()
        return frozenset(found)

    def rows_under(self, prefix: str) -> Iterator[tuple[str, RowReady]]:
        for key, outcome in self.outcomes.items():
            if key.startswith(prefix) and isinstance(outcome, RowReady):
                yield key, outcome


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the loop knows after a turn: for status, health and metrics. `folded` counts records."""

    world: World
    memory: Memory
    me: Me
    now: Now
    wanted: tuple[Intent, ...]
    folded: int


def forgot_key(task: Address, attempt: int, commitment: bytes) -> str:
    """The journal's key of the mark that an own commitment is from a forgotten time."""
    return f"forgot:{task}:{attempt}:{commitment.hex()}"


@lru_cache(maxsize=16)
def _specification(document: str) -> Specification:
    return from_document(json.loads(document))
