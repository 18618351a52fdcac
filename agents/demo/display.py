"""Live progress on stderr: two tables that redraw themselves on a terminal, one line for each change elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from agents.cli.session import short
from agents.demo.picture import Picture, round_rows
from agents.demo.telltale import IDLE

_REDRAWS_PER_S = 4
_SUMMARY_EVERY_S = 5.0


@dataclass(slots=True)
class Display:
    """Use it as a context around the run. `quiet`: say nothing."""

    quiet: bool = False
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    _began: float = field(default_factory=time.monotonic)
    _live: Live | None = None
    _console: Console | None = None
    _said: set[str] = field(default_factory=set)
    _phase: str = ""
    _summed_up_at: float = 0.0

    def __enter__(self) -> Self:
        self._console = Console(file=self.stream, quiet=self.quiet, highlight=False, soft_wrap=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def say(self, line: str) -> None:
        """A line that stays, with the time."""
        assert self._console is not None
        self._console.print(f"{self.elapsed_s:6.1f} s  {line}", markup=False)

    def show(self, picture: Picture) -> None:
        """The picture as it is now."""
        assert self._console is not None
        if self.quiet:
            return
        for line in changes(picture):
            if line not in self._said:
                self._said.add(line)
                self.say(line)
        if not self._console.is_terminal:
            self._sum_up(picture)
        else:
            if self._live is None:
                self._live = Live(console=self._console, refresh_per_second=_REDRAWS_PER_S, transient=True)
                self._live.start()
            self._live.update(self._tables(picture))

    def _sum_up(self, picture: Picture) -> None:
        """One line at each new phase, and every few seconds within one."""
        if picture.phase != self._phase or self.elapsed_s > self._summed_up_at + _SUMMARY_EVERY_S:
            self._phase, self._summed_up_at = picture.phase, self.elapsed_s
            busy = {one.name: picture.doing.get(one.name, "") for one in picture.participants}
            steps = ", ".join(f"{name} {what}" for name, what in busy.items() if what not in ("", IDLE))
            self.say("   ".join(part for part in (picture.phase, steps, picture.spent) if part))

    def _tables(self, picture: Picture) -> Group:
        head = Text(f"{self.elapsed_s:6.1f} s  {picture.phase}   {picture.spent}", style="bold")
        people = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
        for column in ("", "account", "now", "restarts"):
            people.add_column(column)
        for one in picture.participants:
            name = one.name if one.attack is None else f"{one.name} ({one.attack})"
            restarts = str(picture.restarts.get(one.name) or "")
            people.add_row(name, short(one.address), picture.doing.get(one.name, ""), restarts)
        return Group("", head, people)


def changes(picture: Picture) -> Iterator[str]:
    """Everything worth a line so far, each said in words that never change."""
    task = picture.task
    if task is None:
        return
    names = {one.address: one.name for one in picture.participants}
    workers = [names.get(member.account, "?") if member is not None else "?" for member in task.members]
    for member in task.members:
        if member is not None:
            yield f"{names.get(member.account, member.account)} joined"
    quality = picture.qualities()
    for row in round_rows(task):
        if row.number in quality:
            reached = f"accuracy {quality[row.number].accuracy:.3f}"
            accepted = ", ".join(sorted(workers[index] for index in row.accepted)) or "nobody"
            again = "" if row.attempts == 1 else f" in {row.attempts} attempts"
            yield f"round {row.number}/{task.params.rounds} settled{again}: {reached}; averaged {accepted}"
    for name, count in picture.restarts.items():
        for number in range(1, count + 1):
            yield f"{name} died and was started again ({number})"
