"""Takes out of a log line what must never be in it: keys, passwords, the private parts of URLs, data paths.

Owns those rules, and the plain JSON forms of bytes, amounts and errors. Must not write anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import urlsplit

HIDDEN: Final = "••••"
_MAX_TEXT: Final = 8_192
_SECRET_NAME: Final = re.compile(
    r"password|passphrase|secret|private|mnemonic|credential|authorization|\btoken\b|salt", re.IGNORECASE
)
_PEM: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
# A colon or a full stop after a URL belongs to the sentence that it stands in.
_URL: Final = re.compile(r"\b(?:https?|wss?)://[^\s'\"<>,;)\]}]*[^\s'\"<>,;)\]}:.]", re.IGNORECASE)


def redact_url(url: str) -> str:
    """Scheme, host and port: user names, passwords, paths and queries of endpoints often are the access key."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return f"{url.partition('://')[0]}://{HIDDEN}"
    shown = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}"
    private = parts.username or parts.password or parts.path.strip("/") or parts.query or parts.fragment
    return f"{shown}/…" if private else shown


class Redactor:
    """A structlog processor. `secrets` are hidden wherever they occur; `paths` are shown by their last part only."""

    def __init__(self, secrets: Iterable[str] = (), paths: Iterable[PurePath] = ()) -> None:
        hidden = [(text, HIDDEN) for text in secrets if len(text) >= 4]
        private = [(str(path), f"…/{path.name}") for path in paths if len(path.parts) > 1]
        self._literal = sorted(hidden + private, key=lambda pair: -len(pair[0]))

    def __call__(self, _: Any, __: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
        return {name: self._value(name, value) for name, value in event.items()}

    def text(self, text: str) -> str:
        """One text without secrets, cut at 8 KiB."""
        for found, shown in self._literal:
            text = text.replace(found, shown)
        text = _URL.sub(lambda match: redact_url(match[0]), _PEM.sub(HIDDEN, text))
        return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}… ({len(text)} characters)"

    def _value(self, name: str, value: Any) -> Any:
        if _SECRET_NAME.search(name):
            return HIDDEN
        match value:
            case bool() | None | float():
                return value
            case int():
                return str(value) if name.endswith("_wei") else int(value)
            case str():
                return self.text(value)
            case bytes():
                return f"0x{value.hex()}" if len(value) <= 64 else f"<{len(value)} bytes>"
            case Mapping():
                return {str(key): self._value(str(key), item) for key, item in value.items()}
            case Sequence() | frozenset() | set():
                return [self._value(name, item) for item in value]
            case _:
                return self.text(str(value))
