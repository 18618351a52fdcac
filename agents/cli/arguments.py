"""Global options stand anywhere on the command line: this puts them first, where the root command reads them.

Owns their spelling. `bfl-agent --role worker …` is `bfl-agent run --role worker …`. Must not give them meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

VALUED: Final = frozenset(
    {
        "--home",
        "--rpc",
        "--ws",
        "--chain-id",
        "--start-block",
        "--factory",
        "--account",
        "--password-file",
        "--store",
        "--role",
        "--profile",
        "--confirmations",
        "--max-fee-gwei",
        "--log-format",
        "--log-level",
    }
)
SWITCHES: Final = frozenset({"--json", "--yes", "-y"})


def arrange(arguments: Sequence[str]) -> list[str]:
    """Global options first, each with its value, in their order; after "--" nothing is touched."""
    first: list[str] = []
    rest: list[str] = []
    left = list(arguments)
    while left:
        word = left.pop(0)
        if word == "--":
            rest += [word, *left]
            break
        name, equals, _ = word.partition("=")
        if word in SWITCHES or (equals and name in VALUED):
            first.append(word)
        elif word in VALUED:
            first += [word, *left[:1]]
            left = left[1:]
        else:
            rest.append(word)
    named = any(word.partition("=")[0] == "--role" for word in first)
    implied = named and (not rest or rest[0].startswith("-")) and not {"--help", "--version"} & set(rest)
    return [*first, *(["run"] if implied else []), *rest]
