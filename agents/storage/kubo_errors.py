"""What a Kubo node's failures mean in our terms. Owns the reading of its messages; talks to nobody."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import aioipfs  # type: ignore[import-untyped]

from agents.storage.store import BlobCorrupt, BlobMissing, StorageError, StoreFull, StoreUnavailable

_NOT_HELD = ("could not find", "not found", "failed to fetch")
_NOT_A_FILE = (
    "is a directory",
    "unrecognized node type",
    "unrecognized object type",
    "protobuf:",
    "proto:",
    "unixfs",
)
_NO_SPACE = ("no space left", "storage limit")


def explain(message: str, doing: str) -> StorageError:
    """The error for a message of Kubo, which has one code (0) for nearly everything."""
    lowered = message.lower()
    text = f"{doing}: Kubo says: {message[:300]}"
    if any(phrase in lowered for phrase in _NO_SPACE):
        return StoreFull(text)
    if any(phrase in lowered for phrase in _NOT_A_FILE):
        return BlobCorrupt(text)
    if any(phrase in lowered for phrase in _NOT_HELD):
        return BlobMissing(text)
    return StoreUnavailable(text)


async def check(reply: aiohttp.ClientResponse, doing: str) -> None:
    """Raise unless the reply is a success: aioipfs lets 401, 429, 502, 503 through."""
    if reply.status == 200:
        return
    body = (await reply.content.read(4096)).decode("utf-8", "replace")
    try:
        message = json.loads(body)["Message"]
    except (ValueError, KeyError, TypeError):
        raise StoreUnavailable(f"{doing}: HTTP {reply.status} {reply.reason}; {_advice(reply.status)}") from None
    raise explain(str(message), doing)


def _advice(status: int) -> str:
    if status in (401, 403):
        return "the node wants other credentials (API.Authorizations in its configuration)"
    if status == 404:
        return "no Kubo RPC there: it needs the API port (5001), not the gateway (8080)"
    return "is it a Kubo node, and is it well?"


@asynccontextmanager
async def translated(doing: str) -> AsyncIterator[None]:
    """Turn whatever aioipfs and aiohttp raise into a StorageError."""
    try:
        yield
    except aioipfs.RPCAccessDenied as error:
        raise StoreUnavailable(f"{doing}: HTTP 403; {_advice(403)}") from error
    except aioipfs.EndpointNotFoundError as error:
        raise StoreUnavailable(f"{doing}: HTTP 404; {_advice(404)}") from error
    except aioipfs.APIError as error:
        raise explain(str(error.message), doing) from error
    except (json.JSONDecodeError, UnicodeDecodeError, aiohttp.ContentTypeError) as error:
        raise StoreUnavailable(f"{doing}: the answer is not Kubo's ({type(error).__name__})") from error
    except (aiohttp.ClientError, aioipfs.IPFSConnectionError, OSError) as error:
        raise StoreUnavailable(f"{doing}: {error or type(error).__name__}; is the Kubo daemon running?") from error
    except RuntimeError as error:      # aiohttp's word for a connection that was lost between two reads of an answer
        if "connection closed" not in str(error).lower():
            raise
        raise StoreUnavailable(f"{doing}: the answer broke off; is the Kubo daemon well?") from error
