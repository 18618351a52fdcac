"""Sees every write that a process makes and every boundary that it passes: what escapes them is told.

`CRASH_WITNESS=FILE` makes a process of the matrix append JSON lines there: {"who", "passed": boundary}, once each, and
{"who", "escaped": event, "what": path or statement, "where": stack} for a durable write outside all boundaries. Uses
Python's audit events (PEP 578), SQLite's statement trace and aiohttp's requests.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import sys
import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from bfl_events import boundaries
from bfl_events.boundaries import Boundary

VARIABLE, WHO = "CRASH_WITNESS", "CRASH_WITNESS_WHO"
NOT_DURABLE = {
    r"^(/dev/|/proc/|<)": "devices",
    r"/__pycache__/": "the interpreter's",
    r"/(agent|learner)\.log(\.\d+)?$|\.output$": "logs: losing the end of one loses nothing else",
    r"/agent\.lock$|/run/control\.sock$": "held while a process lives, and taken over from a dead one",
    r"\.part(ial)?$": "on its way: seen by nobody before the rename, which is the boundary",
    r"/scratch-[0-9a-f]{32}/|/envelopes/[0-9a-f]{32}$": "scratch, swept at the next start",
    r"/\.bfl-trial-\w+/": "the learning child's own, swept when the next one starts",
    r"^/tmp/[a-z0-9_]{8}$": "tempfile asks whether it can write there",
    r"/(view\.sqlite|creating)\b": "the commands' own reading log",
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_STATEMENT = re.compile(r"\s*(INSERT|UPDATE|DELETE|CREATE|DROP|REPLACE|ALTER|PRAGMA\s+user_version\s*=)", re.IGNORECASE)
_REQUEST = re.compile(r"eth_sendRawTransaction|/api/v0/(add|pin/add|pin/rm|files/cp|files/rm)\b")
_really_connect = sqlite3.connect
_inside: ContextVar[int] = ContextVar("inside", default=0)


def watch_if_asked(environment: Mapping[str, str], *, requests: bool = True) -> None:
    """Placed before the process does anything. Without `requests`, for who sends none, it starts twice as fast."""
    if VARIABLE not in environment:
        return
    descriptor = os.open(environment[VARIABLE], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    witness = _Witness(descriptor, environment.get(WHO, ""))
    boundaries.watch(witness)
    boundaries.watch = witness.let_in       # for the failpoints, which are armed later
    sys.addaudithook(witness.audit)
    sqlite3.connect = witness.connect       # its audit event comes before a trace can be set
    if requests:
        _watch_requests(witness)


class _Witness:
    def __init__(self, descriptor: int, who: str) -> None:
        self._descriptor, self._who, self._passed = descriptor, who, set[Boundary]()
        self._next: boundaries.Watcher | None = None

    # ---- as the boundaries' watcher

    def let_in(self, watcher: boundaries.Watcher | None) -> None:
        """Whoever else would watch does so behind this one."""
        self._next = watcher

    def before(self, boundary: Boundary) -> None:
        _inside.set(_inside.get() + 1)
        if self._next is not None:
            self._next.before(boundary)

    def after(self, boundary: Boundary, *, done: bool) -> None:
        if done and boundary not in self._passed:
            self._passed.add(boundary)
            self._tell({"passed": boundary})
        if self._next is not None:
            self._next.after(boundary, done=done)
        _inside.set(_inside.get() - 1)

    # ---- as an audit hook

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        match event:
            case "open" if arguments[2] & _WRITING:
                self.look(event, arguments[0])
            case "os.remove" if arguments[1] != -1:           # a name below an open folder
                self.look(event, f"{os.readlink(f'/proc/self/fd/{arguments[1]}')}/{arguments[0]}")
            case "os.remove" | "os.truncate":
                self.look(event, arguments[0])
            case "os.rename" | "os.link" | "os.symlink":
                self.look(event, arguments[1])

    def connect(self, *arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = _really_connect(*arguments, **options)
        connection.set_trace_callback(self._statement)
        return connection

    def _statement(self, text: str) -> None:
        if _STATEMENT.match(text):
            self.look("sqlite", text[:80])

    def look(self, event: str, what: Any) -> None:
        text = os.fsdecode(what) if isinstance(what, str | bytes | os.PathLike) else str(what)
        if _inside.get() or isinstance(what, int) or any(re.search(pattern, text) for pattern in NOT_DURABLE):
            return
        stack = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_stack()[:-2]]
        self._tell({"escaped": event, "what": text, "where": stack[-8:]})

    def _tell(self, message: dict[str, Any]) -> None:
        os.write(self._descriptor, json.dumps({"who": self._who, **message}).encode() + b"\n")


def _watch_requests(witness: _Witness) -> None:
    import aiohttp

    really = aiohttp.ClientSession._request

    async def request(self: aiohttp.ClientSession, method: str, url: Any, **options: Any) -> aiohttp.ClientResponse:
        if found := _REQUEST.search(f"{url} {options.get('json')} {options.get('data')!r}"):
            witness.look("request", found[0])
        return await really(self, method, url, **options)

    aiohttp.ClientSession._request = request  # type: ignore[method-assign]
