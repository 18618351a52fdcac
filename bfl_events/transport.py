"""One JSON-RPC request over HTTP: bounded in time and size, its answer checked for form.

Owns no health and no choice of endpoint. Errors never quote a URL: paths and queries of providers carry keys.
Not web3's provider: cancelling one of its requests can leave its session lock held for ever (seen within seconds),
it opens a connection per request, and it reads answers of any size.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from itertools import count
from typing import Any, Final, Protocol

import aiohttp

MAX_ANSWER_BYTES: Final = 64 << 20
_LIMITED: Final = re.compile(
    r"rate.?limit|too many requests|throttl|compute units|quota|requests? per ", re.IGNORECASE
)
_NO_TIMEOUT: Final = aiohttp.ClientTimeout(total=None)


class RpcError(Exception):
    """Something between us and the chain: see the subclasses."""


class RpcRefused(RpcError):
    """The node understood the call and answered with an error; another endpoint would say the same."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(f"{message} (code {code})")
        self.code, self.message, self.data = code, message, data


class NoAnswer(RpcError):
    """This endpoint gave no usable answer. `dropped`: the connection broke before one byte of it came."""

    def __init__(self, why: str, *, retry_after_s: float = 0.0, dropped: bool = False) -> None:
        super().__init__(why)
        self.retry_after_s, self.dropped = retry_after_s, dropped


class Transport(Protocol):
    """How a request reaches a URL: `HttpTransport`, or a test's."""

    async def post(self, url: str, method: str, params: Sequence[Any], timeout_s: float) -> Any: ...
    async def close(self) -> None: ...


class HttpTransport:
    """Posts JSON-RPC 2.0 requests over one session with kept-alive connections. Bound to the running event loop."""

    def __init__(self, max_answer_bytes: int = MAX_ANSWER_BYTES) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._ids, self._max = count(1), max_answer_bytes

    async def post(self, url: str, method: str, params: Sequence[Any], timeout_s: float) -> Any:
        """The call's result. Raises RpcRefused for a JSON-RPC error and NoAnswer for everything else."""
        request_id = next(self._ids)
        request = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": list(params)}
        if self._session is None:
            self._session = aiohttp.ClientSession(json_serialize=_compact)
        try:
            async with asyncio.timeout(timeout_s):
                async with self._session.post(
                    url, json=request, timeout=_NO_TIMEOUT, allow_redirects=False
                ) as response:
                    body = await self._read(response)
                    status, retry_after = response.status, response.headers.get("Retry-After", "")
        except TimeoutError:
            raise NoAnswer(f"no answer within {timeout_s:.3g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _no_answer(error) from None
        if status not in (200, 400):   # some providers answer a refused call with 400
            raise NoAnswer(f"HTTP {status}", retry_after_s=float(retry_after) if retry_after.isdigit() else 0.0)
        return _result(body, request_id, status)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for piece in response.content.iter_chunked(1 << 18):
            body += piece
            if len(body) > self._max:
                raise aiohttp.ClientPayloadError(f"answer larger than {self._max >> 20} MiB")
        return bytes(body)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _no_answer(error: Exception) -> NoAnswer:
    """What went wrong, in words that contain no URL."""
    match error:
        case aiohttp.ClientConnectorError():
            return NoAnswer(f"cannot connect ({error.os_error.strerror or type(error.os_error).__name__})")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            return NoAnswer("the connection was dropped", dropped=True)
        case aiohttp.ClientPayloadError() if "larger than" in str(error):
            return NoAnswer(str(error))
        case aiohttp.ClientPayloadError():
            return NoAnswer("the answer was cut off")
        case _:
            return NoAnswer(f"no usable HTTP answer ({type(error).__name__})")


def _result(body: bytes, request_id: int, status: int) -> Any:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise NoAnswer("the answer is not JSON" if status == 200 else f"HTTP {status}") from None
    if not isinstance(answer, dict):
        raise NoAnswer("the answer is not a JSON-RPC answer")
    error = answer.get("error")
    if error is not None:
        raise _refusal(error)
    if answer.get("id") != request_id or "result" not in answer:
        raise NoAnswer("the answer is not the one to this request")
    return answer["result"]


def _refusal(error: Any) -> RpcError:
    if not isinstance(error, dict) or not isinstance(error.get("code"), int):
        return NoAnswer("the answer is an error without a code")
    code, message = error["code"], str(error.get("message", ""))[:1000]
    if code == 429 or _LIMITED.search(message):
        return NoAnswer("it limits our rate")
    return RpcRefused(code, message, error.get("data"))
