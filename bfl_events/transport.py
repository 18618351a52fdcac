"""One JSON-RPC request over HTTP: bounded in time and size, its answer checked for form.

Owns no health and no choice of endpoint. Errors never quote a URL: paths and queries of providers carry keys.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Final, Protocol

import aiohttp
from web3.types import RPCEndpoint

from bfl_events.provider import BadAnswer, BoundedProvider

MAX_ANSWER_BYTES: Final = 64 << 20
_LIMITED: Final = re.compile(
    r"rate.?limit|too many requests|throttl|compute units|quota|requests? per ", re.IGNORECASE
)


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
    """Posts through web3 providers that share one session of kept-alive connections. Bound to the running loop."""

    def __init__(self, max_answer_bytes: int = MAX_ANSWER_BYTES) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._providers: dict[str, BoundedProvider] = {}
        self._max = max_answer_bytes

    async def post(self, url: str, method: str, params: Sequence[Any], timeout_s: float) -> Any:
        """The call's result. Raises RpcRefused for a JSON-RPC error and NoAnswer for everything else."""
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._provider(url).make_request(RPCEndpoint(method), list(params))
        except TimeoutError:
            raise NoAnswer(f"no answer within {timeout_s:.3g} s") from None
        except BadAnswer as error:
            raise NoAnswer(str(error), retry_after_s=error.retry_after_s) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _no_answer(error) from None
        if (error_object := answer.get("error")) is not None:
            raise _refusal(error_object)
        return answer["result"]

    def _provider(self, url: str) -> BoundedProvider:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        if url not in self._providers:
            self._providers[url] = BoundedProvider(url, self._session, self._max)
        return self._providers[url]

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
            self._providers.clear()


def _no_answer(error: Exception) -> NoAnswer:
    """What went wrong, in words that contain no URL."""
    match error:
        case aiohttp.ClientConnectorError():
            return NoAnswer(f"cannot connect ({error.os_error.strerror or type(error.os_error).__name__})")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            return NoAnswer("the connection was dropped", dropped=True)
        case aiohttp.ClientPayloadError():
            return NoAnswer("the answer was cut off")
        case _:
            return NoAnswer(f"no usable HTTP answer ({type(error).__name__})")


def _refusal(error: Any) -> RpcError:
    if not isinstance(error, dict) or not isinstance(error.get("code"), int):
        return NoAnswer("the answer is an error without a code")
    code, message = error["code"], str(error.get("message", ""))[:1000]
    if code == 429 or _LIMITED.search(message):
        return NoAnswer("it limits our rate")
    return RpcRefused(code, message, error.get("data"))
