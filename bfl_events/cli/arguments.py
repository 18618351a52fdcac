"""Arguments that people type, read strictly: addresses, lists of URLs. What cannot be read ends the command."""

from __future__ import annotations

from collections.abc import Sequence

from bfl_events.cli.failures import Exit, fail
from bfl_events.commitment import address_bytes, checksum_address


def address_argument(text: str, *, as_json: bool) -> str:
    """The checksummed form; a mixed-case text with a wrong checksum is refused."""
    try:
        right = checksum_address(address_bytes(text))
    except ValueError as error:
        fail(Exit.USAGE, f"{error}.", as_json=as_json)
    if text[2:] not in (right[2:], right[2:].lower(), right[2:].upper()):
        fail(Exit.USAGE, f"{text} has a wrong checksum.", "A digit was mistyped.", f"Did you mean {right}?",
             as_json=as_json)
    return right


def split_urls(given: Sequence[str]) -> list[str]:
    """Repeated options and lists with commas, as the environment gives them."""
    return [url.strip() for text in given for url in text.split(",") if url.strip()]


def doorbells(rpc_urls: Sequence[str], given: Sequence[str]) -> list[str]:
    """The WebSocket URLs to listen on: those given, else the RPC endpoints with their scheme changed."""
    return split_urls(given) or [url.replace("http", "ws", 1) for url in rpc_urls]
