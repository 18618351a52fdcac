"""web3's provider over our session: how an answer can break off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import pytest
from web3.types import RPCEndpoint

from bfl_events.provider import BadAnswer, BoundedProvider


class Breaking:
    """A session whose answers end with this error after their first piece."""

    status, headers = 200, cast("dict[str, str]", {})

    def __init__(self, error: Exception) -> None:
        self._error = error

    @asynccontextmanager
    async def post(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        yield self

    @property
    def content(self) -> Any:
        return self

    async def iter_chunked(self, _: int) -> AsyncIterator[bytes]:
        yield b'{"jsonrpc"'
        raise self._error


def provider(error: Exception) -> BoundedProvider:
    return BoundedProvider("http://node", cast("aiohttp.ClientSession", Breaking(error)), 1 << 20)


async def test_a_connection_that_is_lost_between_two_reads_is_a_bad_answer() -> None:
    """aiohttp says so by a RuntimeError, not by a ClientError."""
    with pytest.raises(BadAnswer, match="broke off"):
        await provider(RuntimeError("Connection closed.")).make_request(RPCEndpoint("eth_chainId"), [])


async def test_a_mistake_of_ours_is_not_taken_for_a_bad_answer() -> None:
    with pytest.raises(RuntimeError, match="Session is closed"):
        await provider(RuntimeError("Session is closed")).make_request(RPCEndpoint("eth_chainId"), [])
