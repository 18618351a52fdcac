"""The relay in front of a server: everything passes, until there is trouble, and again afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from agents.demo import relay as relaying
from agents.demo.relay import Relay, Trouble
from agents.storage import open_store
from agents.storage.store import BlobCorrupt, StoreUnavailable
from bfl_events.rpc import Rpc, Unavailable
from tests.storage.kubo_double import KuboDouble

BODY = bytes(range(256)) * 1000


async def answer(request: web.Request) -> web.Response:
    return web.Response(body=await request.read() or BODY)


@asynccontextmanager
async def relayed() -> AsyncIterator[tuple[Relay, str]]:
    app = web.Application(client_max_size=1 << 22)
    app.router.add_route("*", "/", answer)
    async with TestServer(app, host="127.0.0.1") as server:
        assert server.port is not None
        async with Relay(server.port) as relay:
            yield relay, f"http://127.0.0.1:{relay.port}/"


async def fetched(url: str, sent: bytes = b"") -> bytes:
    async with aiohttp.ClientSession() as session, session.post(url, data=sent) as reply:
        if reply.status != 200:
            raise aiohttp.ClientError(f"HTTP {reply.status}, Retry-After {reply.headers.get('Retry-After')}")
        return await reply.read()


async def test_everything_passes_both_ways() -> None:
    async with relayed() as (_, url):
        assert await fetched(url) == BODY
        assert await fetched(url, BODY * 3) == BODY * 3
        assert await asyncio.gather(*(fetched(url, bytes([n]) * 70_000) for n in range(8))) \
            == [bytes([n]) * 70_000 for n in range(8)]


@pytest.mark.parametrize(("trouble", "why"), [
    (Trouble.CUT, None), (Trouble.FAILING, "HTTP 429, Retry-After 1"), (Trouble.HALF, None),
])
async def test_trouble_ends_requests_and_its_end_heals_them(trouble: Trouble, why: str | None) -> None:
    async with relayed() as (relay, url):
        relay.trouble = trouble
        with pytest.raises((aiohttp.ClientError, ConnectionError), match=why):
            await fetched(url)
        relay.trouble = Trouble.NONE
        assert await fetched(url) == BODY


async def test_a_cut_also_ends_the_connections_that_exist() -> None:
    async with relayed() as (relay, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        relay.trouble = Trouble.CUT
        with pytest.raises(ConnectionError):
            while await reader.read(1 << 20):
                pass
            raise ConnectionResetError     # an end of file is an end as well
        writer.close()


async def test_a_slow_relay_passes_everything_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaying, "SLOW_S", 0.05)
    async with relayed() as (relay, url):
        relay.trouble = Trouble.SLOW
        began = asyncio.get_running_loop().time()
        assert await fetched(url) == BODY
        assert asyncio.get_running_loop().time() - began >= 0.1, "once on the way there, once on the way back"


async def test_a_corrupting_relay_leaves_the_length_and_changes_the_content() -> None:
    async with relayed() as (relay, url):
        relay.trouble = Trouble.CORRUPT
        got = await fetched(url)
        assert len(got) == len(BODY)
        assert got != BODY


async def test_an_agent_notices_every_trouble_on_its_way_to_a_chain() -> None:
    async with relayed() as (relay, url), Rpc([url], chain_id=1, deadline_s=1) as rpc:
        for trouble in (Trouble.CUT, Trouble.FAILING, Trouble.HALF):
            relay.trouble = trouble
            with pytest.raises(Unavailable):
                await rpc.call("eth_blockNumber")


async def test_an_agent_notices_every_trouble_on_its_way_to_a_store(tmp_path: Path) -> None:
    double = KuboDouble()
    await double.start()
    (tmp_path / "blob").write_bytes(BODY)
    try:
        async with Relay(int(double.url.rpartition(":")[2])) as relay:
            store = open_store(f"http://127.0.0.1:{relay.port}", owner="a", deadline=5)
            cid = await store.put(tmp_path / "blob")
            relay.trouble = Trouble.CORRUPT
            with pytest.raises(BlobCorrupt):
                await store.get(cid, tmp_path / "out", max_bytes=len(BODY))
            for trouble in (Trouble.CUT, Trouble.FAILING, Trouble.HALF):
                relay.trouble = trouble
                with pytest.raises(StoreUnavailable):
                    await store.get(cid, tmp_path / "out", max_bytes=len(BODY))
            relay.trouble = Trouble.NONE
            assert await store.get(cid, tmp_path / "out", max_bytes=len(BODY)) == len(BODY)
            await store.close()
    finally:
        await double.stop()
