"""web3's asynchronous JSON-RPC provider over a kept-alive session, its answers bounded in size and checked for form.

Not `AsyncHTTPProvider`: cancelling one of its requests can leave its session lock held for ever (seen within seconds),
it opens a connection per request, and it reads answers of any size. Errors never quote a URL: its path may be a key.
"""

from __future__ import annotations

import json
from typing import Any

import aiohttp
from web3.providers.async_base import AsyncJSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)
_TOO_MANY_REQUESTS = 429
_JSON = {"Content-Type": "application/json"}


class BadAnswer(Exception):
    """No JSON-RPC answer to this request. `retry_after_s`: what the server asked for, 0 if nothing."""

    def __init__(self, why: str, retry_after_s: float = 0.0) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


class BoundedProvider(AsyncJSONBaseProvider):
    """One endpoint. The caller bounds the time and owns the session."""

    def __init__(self, url: str, session: aiohttp.ClientSession, max_answer_bytes: int) -> None:
        super().__init__()
        self._url, self._session, self._max = url, session, max_answer_bytes

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """The answer, with "result" or "error". Raises BadAnswer, aiohttp.ClientError, OSError."""
        request = self.form_request(method, params)
        async with self._session.post(
            self._url, data=self.encode_rpc_dict(request), headers=_JSON, timeout=_NO_TIMEOUT, allow_redirects=False
        ) as response:
            body = await self._read(response)
        if response.status not in (200, 400):      # some providers answer a refused call with 400
            after = response.headers.get("Retry-After", "")
            pause_s = float(after) if after.isdigit() else float(response.status == _TOO_MANY_REQUESTS)
            raise BadAnswer(f"HTTP {response.status}", pause_s)
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            raise BadAnswer("the answer is not JSON" if response.status == 200 else f"HTTP {response.status}") from None
        if not isinstance(answer, dict):
            raise BadAnswer("the answer is not a JSON-RPC answer")
        if answer.get("error") is None and (answer.get("id") != request["id"] or "result" not in answer):
            raise BadAnswer("the answer is not the one to this request")
        return RPCResponse(**answer)               # type: ignore[typeddict-item]

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        try:
            async for piece in response.content.iter_chunked(1 << 18):
                body += piece
                if len(body) > self._max:
                    raise BadAnswer(f"answer larger than {self._max >> 20} MiB")
        except RuntimeError as error:      # aiohttp's word for a connection that was lost between two reads
            if "connection closed" not in str(error).lower():
                raise
            raise BadAnswer("the answer broke off") from None
        return bytes(body)
