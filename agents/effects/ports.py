"""What the hands need from the outside, as protocols, so that a simulation can pass its own.

Owns the port signatures and the three kinds of failure (STYLE 8). Must not import an implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bfl_events.schema import Address


class Transient(Exception):
    """The world did not answer: the same act may succeed later. Retried with back-off.

    `part` names what does not work ("store", "read-back", "learning", "disk"), for health; empty where nothing is
    broken.
    """

    def __init__(self, message: str, *, part: str = "") -> None:
        super().__init__(message)
        self.part = part


class Rejected(Exception):
    """The chain said no. `error` is the contract's error name, or what the node said; look at the state again."""

    def __init__(self, error: str, arguments: Sequence[object] = ()) -> None:
        super().__init__(f"{error}({', '.join(map(str, arguments))})" if arguments else error)
        self.error = error
        self.arguments = tuple(arguments)


class Fatal(Exception):
    """Only a person can mend it: the process ends with this message and `exit_code` (documented in the README)."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Call:
    """One contract call. `gas` set: no estimate is asked for (PROTOCOL 2.6, calls that a deadline makes possible)."""

    to: Address
    function: str
    arguments: tuple[Any, ...] = ()
    value: int = 0
    gas: int | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    tx: bytes
    block: int
    gas_used: int
    gas_price: int


class Chain(Protocol):
    """Sends calls exactly once per key, and reads."""

    async def send(self, key: str, call: Call) -> Receipt:
        """Sign once, persist, send, resend until mined. Raises Rejected (reverted, or would), Transient, Fatal."""
        ...

    async def abandon(self, key: str) -> None:
        """Nobody wants this any more: if it stays unmined, its nonce is used up by a self-transfer."""
        ...

    def afloat(self, key: str) -> bool:
        """Signed, and given to a node: it goes on without this process."""
        ...

    async def balance(self, account: Address) -> int:
        """Wei at the latest block."""
        ...


class Blobs(Protocol):
    """A content-addressed store; `agents.storage.store.BlobStore` fits."""

    async def put(self, path: Path) -> bytes: ...
    async def get(self, cid: bytes, out: Path, *, max_bytes: int) -> int: ...
    async def pin(self, cid: bytes) -> None: ...
    async def unpin(self, cid: bytes) -> None: ...
    async def has(self, cid: bytes) -> bool: ...
    async def provide(self, cid: bytes) -> None: ...


class Source(Protocol):
    """Somewhere else to read blobs from; `agents.storage.store.BlobSource` fits."""

    async def get(self, cid: bytes, out: Path, *, max_bytes: int) -> int: ...


Progress = Callable[[Mapping[str, Any]], None]


class Learner(Protocol):
    """The learning child: one request at a time, restarted when it dies; fields as in `agents.learning.child`."""

    async def request(
        self, operation: str, fields: Mapping[str, Any], progress: Progress | None = None
    ) -> Mapping[str, Any]:
        """Raises LearnerFailed for an error the child reports, Transient if it died."""
        ...

    async def restart(self) -> None:
        """Kill the child: its running request is no longer wanted."""
        ...


class LearnerFailed(Exception):
    """The child answered with an error.

    `kind`: task | data | model | disk | stopped | internal; `advice` says what to do.
    """

    def __init__(self, kind: str, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.advice = advice


class Timer(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    """Wall clock in seconds since the epoch, and timers; the simulation's is virtual."""

    def time(self) -> float: ...
    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer: ...
