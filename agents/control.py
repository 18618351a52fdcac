"""The Unix socket through which the CLI talks to a running agent: one JSON object a line, an answer a line.

Owns the framing, the errors and both ends. Must not know what an operation does: the daemon hands in the handlers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

_MAX_LINE: Final = 1024**2
_IDLE_S: Final = 10.0
_MAX_PATH: Final = 100
_GRACE_S: Final = 1.0
_PEER_CREDENTIALS: Final = struct.Struct("3i")

Handler = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


class Operation(StrEnum):
    """What a running agent can be asked. Fields: leave {task}; withdraw {task?}; log-level {level}."""

    STATUS = "status"
    LEAVE = "leave"
    ROTATE = "rotate"
    WITHDRAW = "withdraw"
    DRAIN = "drain"
    LOG_LEVEL = "log-level"


class ControlError(Exception):
    """What happened, why, and what to do; `exit_code` is the CLI's."""

    def __init__(self, what: str, why: str, do: str, *, exit_code: int = 1) -> None:
        super().__init__(f"{what} {why} {do}")
        self.what, self.why, self.do, self.exit_code = what, why, do, exit_code


class NotRunning(ControlError):
    """No agent listens: there is no socket, or only one that a killed agent left behind."""


class Refused(ControlError):
    """The agent understood and said no. Handlers raise it; the client raises it again on the other side."""


class NoAnswer(ControlError):
    """The agent did not answer in time, or broke off."""


# ---- server ----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def serve(path: Path, handlers: Mapping[str, Handler]) -> AsyncIterator[None]:
    """Answer on `path` (0600) until the block ends. A stale socket is replaced; a live one raises ControlError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if is_live(path):
        raise ControlError(
            f"{path} is in use.", "Another agent answers there.", "Stop it, or use another --home.", exit_code=12
        )
    path.unlink(missing_ok=True)

    open_calls: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = asyncio.create_task(_serve_one(reader, writer, handlers))
        open_calls.add(call)
        call.add_done_callback(open_calls.discard)
        await call

    with _short(path) as short:
        server = await asyncio.start_unix_server(connected, short, limit=_MAX_LINE)
    path.chmod(0o600)
    try:
        async with server:
            yield
    finally:
        path.unlink(missing_ok=True)
        if open_calls:
            _, late = await asyncio.wait(open_calls, timeout=_GRACE_S)
            for call in late:
                call.cancel()
            await asyncio.gather(*late, return_exceptions=True)


async def _serve_one(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handlers: Mapping[str, Handler]
) -> None:
    try:
        with contextlib.suppress(ConnectionError, TimeoutError, ValueError):
            if _same_user(writer.get_extra_info("socket")):
                async with asyncio.timeout(_IDLE_S):
                    line = await reader.readline()
                writer.write(await _answer(line, handlers))
                await writer.drain()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _answer(line: bytes, handlers: Mapping[str, Handler]) -> bytes:
    try:
        answer = {"ok": True, "result": dict(await _handle(line, handlers))}
    except Refused as error:
        fields = {"what": error.what, "why": error.why, "do": error.do, "exit": error.exit_code}
        answer = {"ok": False, "error": fields}
    return json.dumps(answer).encode() + b"\n"


async def _handle(line: bytes, handlers: Mapping[str, Handler]) -> Mapping[str, Any]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict) or not isinstance(operation := request.pop("op", None), str):
        raise Refused(
            "The request cannot be read.", 'It is not a JSON object with an "op".', "Use bfl-agent.", exit_code=2
        )
    if operation not in handlers:
        raise Refused(
            f"This agent does not know {operation!r}.",
            "It is of another version, or has another role.",
            f"It knows: {', '.join(sorted(handlers))}.",
            exit_code=2,
        )
    return await handlers[operation](request)


def _same_user(peer: socket.socket) -> bool:
    """The file mode keeps others out already; where the system tells who calls, look again."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    _, user, _ = _PEER_CREDENTIALS.unpack(
        peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
    )
    return user in (0, os.getuid())


# ---- client ----------------------------------------------------------------------------------------------------------


def is_live(path: Path) -> bool:
    """Whether an agent listens on the socket."""
    try:
        _connect(path, 2.0).close()
    except (OSError, NotRunning):
        return False
    return True


def ask(path: Path, operation: str, *, timeout_s: float = 30.0, **fields: Any) -> dict[str, Any]:
    """Ask the running agent. Raises NotRunning, Refused, NoAnswer."""
    request = json.dumps({"op": operation, **fields}).encode() + b"\n"
    try:
        with _connect(path, timeout_s) as connection, connection.makefile("rwb") as stream:
            stream.write(request)
            stream.flush()
            line = stream.readline(_MAX_LINE)
        answer = json.loads(line)
    except TimeoutError:
        raise NoAnswer(
            "The running agent does not answer.",
            f"{timeout_s:g} s have passed.",
            "Look at its log; it may be frozen, or busy with the chain.",
        ) from None
    except (OSError, ValueError):
        raise NoAnswer(
            "The running agent broke off.", "It ended or failed while it was asked.", "Look at its log."
        ) from None
    if answer["ok"]:
        return dict(answer["result"])
    error = answer["error"]
    raise Refused(error["what"], error["why"], error["do"], exit_code=int(error["exit"]))


def _connect(path: Path, timeout_s: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout_s)
    try:
        with _short(path) as short:
            connection.connect(short)
    except FileNotFoundError:
        connection.close()
        raise NotRunning(
            "No agent is running in this home.",
            f"{path} does not exist.",
            "Start one with bfl-agent run, or name its --home.",
        ) from None
    except ConnectionRefusedError:
        connection.close()
        raise NotRunning(
            "No agent is running in this home.",
            f"{path} was left behind by one that was killed.",
            "Start one with bfl-agent run; it clears this up.",
        ) from None
    except OSError:
        connection.close()
        raise
    return connection


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name for the socket that fits the 108 bytes of a socket address, also in a deep directory."""
    if len(os.fsencode(path)) <= _MAX_PATH:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
