"""What one invocation of the command line knows: the global options, and how it talks back.

Owns output: data on stdout (`--json`: one document), progress and questions on stderr. Must not know any command.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import typer

from agents.cli.failures import usage
from agents.home import Home

if TYPE_CHECKING:
    from agents.settings import Settings


@dataclass(frozen=True)
class Session:
    """`flags` is nested like config.toml and holds only what was given."""

    home: Home
    flags: Mapping[str, Any] = field(default_factory=dict)
    as_json: bool = False
    yes: bool = False

    @cached_property
    def settings(self) -> Settings:
        """Raises SettingsError."""
        from agents.settings import load

        return load(self.home, self.flags)

    def show(self, document: Mapping[str, Any] | Sequence[Any], lines: Iterable[str]) -> None:
        """The command's result: the document for machines, the lines for people."""
        if self.as_json:
            typer.echo(json.dumps(document, ensure_ascii=False, default=_plain))
        else:
            for line in lines:
                typer.echo(line)

    def note(self, line: str) -> None:
        """Progress, for people only."""
        if not self.as_json:
            typer.echo(line, err=True)

    def confirm(self, question: str) -> None:
        """Ask before something that cannot be undone. Raises Failure if nobody is there to answer, Exit on a no."""
        if self.yes:
            return
        if not sys.stdin.isatty() or self.as_json:
            raise usage(
                "This needs a confirmation.",
                "Nobody can be asked: the input is no terminal, or --json was given.",
                "Repeat it with --yes.",
            )
        if not typer.confirm(question, err=True):
            self.note("Nothing was done.")
            raise typer.Exit(0)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Left-aligned columns, two spaces apart."""
    cells = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def facts(pairs: Iterable[tuple[str, object]]) -> list[str]:
    """One fact a line, names aligned."""
    known = [(name, str(value)) for name, value in pairs]
    width = max((len(name) for name, _ in known), default=0)
    return [f"{name.ljust(width)}  {value}" for name, value in known]


def short(value: str | bytes) -> str:
    """0x3C44…93BC: enough to recognise an address or a hash."""
    text = f"0x{value.hex()}" if isinstance(value, bytes) else value
    return text if len(text) <= 14 else f"{text[:6]}…{text[-4:]}"


def _plain(value: object) -> object:
    return f"0x{value.hex()}" if isinstance(value, bytes) else str(value)
