"""A TCP relay in front of a server, and what can go wrong on the way: cut, slow, refusing, half or wrong answers.

Owns its connections and the trouble they are in. Knows of HTTP just enough to refuse a request and to spoil a body.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from enum import Enum, auto
from typing import Final, Self

SLOW_S: Final = 0.7            # later than usual, each piece that is passed on
PIECE_BYTES: Final = 1 << 16
_REFUSED: Final = (b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\n"
                   b"Content-Type: text/plain\r\nContent-Length: 9\r\nConnection: close\r\n\r\nnot now.\n")
_END_OF_HEAD: Final = b"\r\n\r\n"


class Trouble(Enum):
    """What happens to a relay's connections, those that exist included."""

    NONE = auto()
    CUT = auto()        # refused, and those that exist are reset
    SLOW = auto()
    FAILING = auto()    # 429 to every request
    HALF = auto()       # half of the first piece of an answer, then a reset
    CORRUPT = auto()    # a byte of each piece of a body is another


class Relay:
    """`async with Relay(port) as relay:` listens on `relay.port` and passes everything on to `upstream`, both on
    loopback. Setting `trouble` takes effect at once."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.port = 0
        self._trouble = Trouble.NONE
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._talks: set[asyncio.Task[None]] = set()

    @property
    def trouble(self) -> Trouble:
        return self._trouble

    @trouble.setter
    def trouble(self, trouble: Trouble) -> None:
        self._trouble = trouble
        if trouble in (Trouble.CUT, Trouble.FAILING):
            self._reset()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self._reset()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        await self._server.wait_closed()

    def _reset(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.current_task()
        assert talk is not None
        self._talks.add(talk)
        self._open.add(writer)
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._talk(reader, writer)
        finally:
            self._talks.discard(talk)
            self._open.discard(writer)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._trouble is Trouble.CUT:
            writer.transport.abort()
            return
        if self._trouble is Trouble.FAILING:
            await reader.read(PIECE_BYTES)
            writer.write(_REFUSED)
            await writer.drain()
            return
        answers, requests = await asyncio.open_connection("127.0.0.1", self.upstream)
        self._open.add(requests)
        try:
            up = asyncio.create_task(self._pass_on(reader, requests))
            down = asyncio.create_task(self._pass_on(answers, writer, spoiled=True))
            try:
                await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
                if up.done() and not up.exception():
                    await down                          # the client has said all: what is still coming is for it
            finally:
                for half in (up, down):
                    half.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
        finally:
            self._open.discard(requests)
            requests.close()

    async def _pass_on(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, spoiled: bool = False
    ) -> None:
        while piece := await source.read(PIECE_BYTES):
            if self._trouble is Trouble.SLOW:
                await asyncio.sleep(SLOW_S)
            if spoiled and self._trouble is Trouble.HALF:
                sink.write(piece[: len(piece) // 2])
                with suppress(OSError):
                    await asyncio.wait_for(sink.drain(), SLOW_S)
                sink.transport.abort()
                return
            if spoiled and self._trouble is Trouble.CORRUPT:
                piece = _corrupted(piece)
            sink.write(piece)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()


def _corrupted(piece: bytes) -> bytes:
    """Another byte in the middle of a body; a head is left alone, so that the content alone tells."""
    head, end, body = piece.rpartition(_END_OF_HEAD) if piece.startswith(b"HTTP/") else (b"", b"", piece)
    middle = len(body) // 2
    return head + end + body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1:] if body else piece
