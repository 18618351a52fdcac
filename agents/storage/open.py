"""From an operator's address to a store. Owns the address forms; the back ends know nothing of them."""

import base64
from pathlib import Path
from typing import Final

from yarl import URL

from agents.storage.local import LocalStore
from agents.storage.store import BlobSource, BlobStore, InvalidAddress

_HOST_PROTOCOLS: Final = ("ip4", "ip6", "dns", "dns4", "dns6")
_GATEWAY: Final = "gateway:"
_FORMS: Final = "local:DIRECTORY, /ip4/127.0.0.1/tcp/5001 or http://127.0.0.1:5001"


def open_store(address: str, *, owner: str, deadline: float) -> BlobStore:
    """The store at `address`; nothing is contacted yet, so that a store that is down is noticed by its first call.

    `local:DIRECTORY` is the embedded store; a multiaddr `/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT[/http|/https]` or a URL
    `http[s]://[USER:PASSWORD@]HOST[:PORT]` is a Kubo node's RPC port. `owner` names this agent's pins, `deadline` is
    in seconds for each call. Raises InvalidAddress for anything else.
    """
    if deadline <= 0:
        raise ValueError(f"a store's deadline is more than 0 seconds, not {deadline:g}")
    if address.startswith("local:"):
        directory = address.removeprefix("local:")
        if not directory:
            raise InvalidAddress(f"the store address 'local:' names no directory; use {_FORMS}")
        return LocalStore(Path(directory).expanduser().absolute(), owner=owner, deadline=deadline)
    return _kubo(_from_multiaddr(address) if address.startswith("/") else _from_url(address), owner, deadline)


def open_source(address: str, *, owner: str, deadline: float) -> BlobSource:
    """A place to read from: a store's address as above, or `gateway:http[s]://HOST[:PORT]`. Raises InvalidAddress."""
    if not address.startswith(_GATEWAY):
        return open_store(address, owner=owner, deadline=deadline)
    from agents.storage.gateway import Gateway

    url = URL(address.removeprefix(_GATEWAY))
    if url.scheme not in ("http", "https") or not url.host or url.query_string or url.fragment:
        raise InvalidAddress(f"not a gateway's address: {_redacted(address)!r}; use gateway:https://HOST[:PORT]")
    return Gateway(url, deadline=deadline)


def _kubo(url: URL, owner: str, deadline: float) -> BlobStore:
    # half a second of imports that the embedded store does not need
    from agents.storage.kubo import KuboStore

    login = None
    if url.user is not None:
        login = "Basic " + base64.b64encode(f"{url.user}:{url.password or ''}".encode()).decode("ascii")
    return KuboStore(url.origin(), owner=owner, deadline=deadline, login=login)


def _from_multiaddr(address: str) -> URL:
    match address.removesuffix("/").split("/"):
        case ["", protocol, host, "tcp", port, *rest] if (
            protocol in _HOST_PROTOCOLS and host and port.isascii() and port.isdigit() and 0 < int(port) < 65536
        ):
            if rest in ([], ["http"]):
                return URL.build(scheme="http", host=host, port=int(port))
            if rest in (["https"], ["tls", "http"]):
                return URL.build(scheme="https", host=host, port=int(port))
    raise InvalidAddress(f"not the multiaddr of a Kubo RPC port: {address!r}; use {_FORMS}")


def _from_url(address: str) -> URL:
    try:
        url = URL(address)
        port = url.port
    except ValueError as error:
        raise InvalidAddress(f"not a store address: {_redacted(address)!r} ({error}); use {_FORMS}") from None
    if url.scheme not in ("http", "https") or not url.host or port is None:
        raise InvalidAddress(f"not a store address: {_redacted(address)!r}; use {_FORMS}")
    if url.path.rstrip("/") not in ("", "/api/v0") or url.query_string or url.fragment:
        raise InvalidAddress(f"a Kubo address is scheme, host and port alone: {_redacted(address)!r}; use {_FORMS}")
    return url


def _redacted(address: str) -> str:
    """Without what may be a password."""
    head, at, tail = address.rpartition("@")
    return f"{head.partition('://')[0]}://…@{tail}" if at else address
