"""A gateway is read, never believed: bytes count only if they hash to the CID, are not too many and come in time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from agents.storage import BlobCorrupt, BlobMissing, BlobSource, BlobTooLarge, StoreUnavailable, open_source
from agents.storage.cid import cid_of_bytes, to_text

BLOB = os.urandom(600_000)
CID = cid_of_bytes(BLOB)


class GatewayDouble:
    """Serves `blobs` by path; `status` and `body` replace the answer; `frozen`: it never comes."""

    def __init__(self) -> None:
        self.blobs = {to_text(CID): BLOB}
        self.status = 200
        self.frozen = False
        app = web.Application()
        app.router.add_get("/ipfs/{cid}", self._answer)
        self.server = TestServer(app, host="127.0.0.1")

    async def _answer(self, request: web.Request) -> web.Response:
        if self.frozen:
            await asyncio.Event().wait()
        if self.status != 200:
            return web.Response(status=self.status, text="resting")
        blob = self.blobs.get(request.match_info["cid"])
        return web.Response(status=404) if blob is None else web.Response(body=blob)


@pytest.fixture
async def double() -> AsyncIterator[GatewayDouble]:
    double = GatewayDouble()
    await double.server.start_server(shutdown_timeout=0.01)
    yield double
    await double.server.close()


@pytest.fixture
async def gateway(double: GatewayDouble) -> AsyncIterator[BlobSource]:
    source = open_source(f"gateway:http://127.0.0.1:{double.server.port}", owner="alice", deadline=0.5)
    yield source
    await source.close()


async def test_a_blob_comes_whole(gateway: BlobSource, tmp_path: Path) -> None:
    assert await gateway.get(CID, tmp_path / "out", max_bytes=len(BLOB)) == len(BLOB)
    assert (tmp_path / "out").read_bytes() == BLOB


@pytest.mark.parametrize("status", [404, 410, 504])
async def test_what_a_gateway_does_not_find_is_missing(
    gateway: BlobSource, double: GatewayDouble, tmp_path: Path, status: int
) -> None:
    double.status = status
    with pytest.raises(BlobMissing, match=str(status)):
        await gateway.get(CID, tmp_path / "out", max_bytes=len(BLOB))


async def test_a_gateway_that_does_not_answer_in_time_has_nothing(
    gateway: BlobSource, double: GatewayDouble, tmp_path: Path
) -> None:
    double.frozen = True
    with pytest.raises(BlobMissing, match=r"within 0\.5 s"):
        await gateway.get(CID, tmp_path / "out", max_bytes=len(BLOB))


@pytest.mark.parametrize("status", [403, 429, 502])
async def test_a_gateway_that_refuses_is_broken(
    gateway: BlobSource, double: GatewayDouble, tmp_path: Path, status: int
) -> None:
    double.status = status
    with pytest.raises(StoreUnavailable, match="is it an IPFS gateway"):
        await gateway.get(CID, tmp_path / "out", max_bytes=len(BLOB))


async def test_nobody_there_is_said(double: GatewayDouble, gateway: BlobSource, tmp_path: Path) -> None:
    await double.server.close()
    with pytest.raises(StoreUnavailable, match="gateway http"):
        await gateway.get(CID, tmp_path / "out", max_bytes=len(BLOB))


async def test_other_bytes_and_more_bytes_are_refused_and_leave_nothing(
    gateway: BlobSource, double: GatewayDouble, tmp_path: Path
) -> None:
    with pytest.raises(BlobTooLarge):
        await gateway.get(CID, tmp_path / "out", max_bytes=len(BLOB) - 1)
    double.blobs[to_text(CID)] = BLOB[:-1] + bytes([BLOB[-1] ^ 1])
    with pytest.raises(BlobCorrupt):
        await gateway.get(CID, tmp_path / "out", max_bytes=len(BLOB))
    assert list(tmp_path.iterdir()) == []
