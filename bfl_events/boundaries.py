"""The names of all durable steps, and the failpoint that ends the process at one of them.

Whatever changes a file that outlives the process, or the chain, happens inside `with passing(Boundary.X):`, so that a
test can kill right before and right after it (tests/crash proves that none is left out). Knows no step's meaning.
`BFL_FAILPOINT=journal.record.before:2,tx.send.after` kills at the second passing of one, or the first of the other.
"""

from __future__ import annotations

import os
import signal
from collections.abc import MutableMapping
from enum import StrEnum
from types import TracebackType
from typing import Final, Protocol

VARIABLE: Final = "BFL_FAILPOINT"
_CHILDS: Final = "child."


class Boundary(StrEnum):
    """What begins with `child.` belongs to the learning child, `kubo.` to an IPFS node; the rest is this machine's."""

    LOG_CREATE = "log.create"
    LOG_ANCHOR = "log.anchor"
    LOG_APPEND = "log.append"
    LOG_REWIND = "log.rewind"
    LOG_EXPORT = "log.export"
    VIEW_DROP = "view.drop"
    JOURNAL_CREATE = "journal.create"
    JOURNAL_RECORD = "journal.record"
    JOURNAL_FORGET = "journal.forget"
    OUTBOX_CREATE = "outbox.create"
    OUTBOX_GENESIS = "outbox.genesis"
    OUTBOX_ADD = "outbox.add"
    OUTBOX_VERSION = "outbox.version"
    OUTBOX_ABANDON = "outbox.abandon"
    OUTBOX_BURY = "outbox.bury"
    OUTBOX_REOPEN = "outbox.reopen"
    TX_SIGN = "tx.sign"
    TX_SEND = "tx.send"
    TX_LANDED = "tx.landed"
    MODEL_ADOPT = "model.adopt"
    MODEL_REMOVE = "model.remove"
    CHECKPOINTS_DROP = "checkpoints.drop"
    COMMON_ADOPT = "common.adopt"
    RESULT_DELIVER = "result.deliver"
    ENVELOPE_SEAL = "envelope.seal"
    ENVELOPE_OPEN = "envelope.open"
    BLOB_PUT = "blob.put"
    BLOB_GET = "blob.get"
    BLOB_PIN = "blob.pin"
    BLOB_UNPIN = "blob.unpin"
    BLOB_QUARANTINE = "blob.quarantine"
    BLOB_SWEEP = "blob.sweep"
    KUBO_ADD = "kubo.add"
    KUBO_PIN = "kubo.pin"
    KUBO_MARK = "kubo.mark"
    KUBO_UNPIN = "kubo.unpin"
    KUBO_UNMARK = "kubo.unmark"
    ACCOUNT_WRITE = "account.write"
    KEY_WRITE = "key.write"
    PRIVATE_WRITE = "private.write"
    CONFIG_WRITE = "config.write"
    FINAL_WRITE = "final.write"
    HOME_STAMP = "home.stamp"
    STORE_STAMP = "store.stamp"
    SALVAGE_MOVE = "salvage.move"
    CHILD_MODEL = "child.model"
    CHILD_CHECKPOINT = "child.checkpoint"
    CHILD_FORGET = "child.forget"


class Watcher(Protocol):
    """Who is asked at every passing. `after` is called with `done` False when the step raised."""

    def before(self, boundary: Boundary) -> None: ...
    def after(self, boundary: Boundary, *, done: bool) -> None: ...


class Failpoints:
    """Where to end: (boundary, side) -> passings left. Without any, every passing is free."""

    def __init__(self, text: str) -> None:
        """Raises ValueError for a text that is no list of `<boundary>.<before|after>[:<passing>]`."""
        self._left: dict[tuple[Boundary, str], int] = {}
        for item in filter(None, (part.strip() for part in text.split(","))):
            name, _, number = item.partition(":")
            boundary, _, side = name.rpartition(".")
            if side not in ("before", "after") or boundary not in set(Boundary) or not (number or "1").isdecimal():
                raise ValueError(f"{VARIABLE}: {item!r} is no failpoint; write <boundary>.before or .after, and :<n> "
                                 f"for its n-th passing. Boundaries: {', '.join(Boundary)}")
            self._left[Boundary(boundary), side] = int(number or 1)

    def before(self, boundary: Boundary) -> None:
        self._pass(boundary, "before")

    def after(self, boundary: Boundary, *, done: bool) -> None:
        if done:
            self._pass(boundary, "after")

    def next_for_child(self) -> str:
        """One of the learning child's, for the child that starts now, and forgotten: else every child would die of it.
        Empty if none is left."""
        for (boundary, side), number in self._left.items():
            if boundary.startswith(_CHILDS):
                del self._left[boundary, side]
                return f"{boundary}.{side}:{number}"
        return ""

    def _pass(self, boundary: Boundary, side: str) -> None:
        left = self._left.get((boundary, side))
        if left is None:
            return
        self._left[boundary, side] = left - 1
        if left == 1:
            os.write(2, f"failpoint {boundary}.{side}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)


class _Free:
    """The way through where nobody watches."""

    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        return


class _Watched:
    __slots__ = ("_boundary", "_watcher")

    def __init__(self, boundary: Boundary, watcher: Watcher) -> None:
        self._boundary, self._watcher = boundary, watcher

    def __enter__(self) -> None:
        self._watcher.before(self._boundary)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
                 ) -> None:
        self._watcher.after(self._boundary, done=kind is None)


_FREE: Final = _Free()
_watcher: Watcher | None = None
_armed: Failpoints | None = None


def passing(boundary: Boundary) -> _Free | _Watched:
    """The block inside is the durable step: before it nothing has happened, after it everything."""
    return _FREE if _watcher is None else _Watched(boundary, _watcher)


def watch(watcher: Watcher | None) -> None:
    """Have every passing of this process watched, or no longer."""
    global _watcher  # noqa: PLW0603 - a failpoint is the process's own, like a signal handler
    _watcher = watcher


def arm(environment: MutableMapping[str, str]) -> None:
    """Take the failpoints out of the environment, so that nothing started from here inherits them. Ends the process
    if they cannot be read."""
    global _armed  # noqa: PLW0603
    if text := environment.pop(VARIABLE, ""):
        try:
            _armed = Failpoints(text)
        except ValueError as error:
            raise SystemExit(str(error)) from None
        watch(_armed)


def childs_environment() -> dict[str, str]:
    """What the learning child that starts now is to know of failpoints."""
    text = "" if _armed is None else _armed.next_for_child()
    return {VARIABLE: text} if text else {}
