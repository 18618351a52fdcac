"""The commands on recorded histories, without a chain: replay, verify, diff."""

from __future__ import annotations

import json
from dataclasses import replace as with_changes
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bfl_events.cli.failures import Exit, explained, fail

if TYPE_CHECKING:
    from bfl_events.compare import Difference
    from bfl_events.verify import Finding

Recorded = Annotated[Path, typer.Argument(help="An export (JSON lines) or an agent's events.sqlite.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; errors as JSON on stderr.")]
OneTask = Annotated[str | None, typer.Option("--task", help="Only this task.", show_default=False)]


def replay(
    file: Recorded,
    until: Annotated[str | None, typer.Option(
        help="Stop after so many events (120), after a block (block:1500) or a line (line:121), or after an event by "
             "name (RoundAdvanced, or RoundAdvanced:3 for the third).", show_default=False)] = None,
    task: OneTask = None,
    as_json: AsJson = False,
) -> None:
    """Rebuild each task's state from its events, up to any of them, and print it."""
    from bfl_events.archive import open_archive
    from bfl_events.cli.text import record_line, state_lines
    from bfl_events.codec import to_json
    from bfl_events.export import record_json
    from bfl_events.replay import parse_until, replay as rebuild

    with explained(as_json=as_json):
        try:
            stop = None if until is None else parse_until(until)
        except ValueError as error:
            fail(Exit.USAGE, str(error), as_json=as_json)
        run = rebuild(open_archive(file).records(), stop)
        wanted = {address: state for address, state in run.tasks.items() if task is None or _same(address, task)}
        if task is not None and not wanted:
            fail(Exit.USAGE, f"Task {task} is not in this history.", as_json=as_json)
        if as_json:
            last = None if run.last is None else record_json(run.last)
            tasks = {address: to_json(state) for address, state in wanted.items()}
            typer.echo(json.dumps({"events": run.events, "line": run.line, "last": last, "tasks": tasks}))
            return
        if run.last is not None:
            typer.echo(f"After {run.events} events, the last in line {run.line}:\n{record_line(run.last)}\n")
        for state in wanted.values():
            typer.echo("\n".join(state_lines(state)))


def verify(
    file: Recorded,
    implementation: Annotated[str | None, typer.Option(
        help="The task implementation behind the factory; pins the terms of each task by its address.",
        show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Recompute every median, acceptance, payout and penalty from the events alone, and name the lines that are wrong.

    Exit code 22 if one is.
    """
    from bfl_events.archive import open_archive
    from bfl_events.export import ExportDamaged
    from bfl_events.verify import verify as recompute

    with explained(as_json=as_json):
        damage, lines = None, []
        try:
            archive = open_archive(file)
            lines = list(archive.records())
        except ExportDamaged as error:
            damage = error
            lines = _whatever_is_readable(file)
            archive = open_archive(file, sealed=False)
        records = [record for _, record in lines]
        findings = recompute(records, chain_id=archive.header.chain_id, implementation=implementation)
        problems = [_placed(finding, [line for line, _ in lines]) for finding in findings]
        _report_verdict(len(records), damage, problems, as_json=as_json)


def diff(a: Recorded, b: Recorded, task: OneTask = None, as_json: AsJson = False) -> None:
    """Find the first difference between two histories of one chain, such as two agents' logs. Exit code 22 if any."""
    from bfl_events.archive import open_archive
    from bfl_events.compare import compare

    with explained(as_json=as_json):
        ones, others = open_archive(a), open_archive(b)
        result = compare(ones, others, _checksummed(task, as_json=as_json))
        found = result.difference
        if as_json:
            typer.echo(json.dumps({"equal": found is None, "events": result.events, "to_block": result.to_block,
                                   "difference": None if found is None else _difference_json(found)}))
        elif found is None:
            typer.echo(f"Equal: {result.events} events up to block {result.to_block}.")
            _say_who_goes_on(a, ones.header.end.number, b, others.header.end.number)
        else:
            typer.echo(f"First difference, after {result.events} equal events: {found.what}")
            for name, path, line in (("A", a, found.line_a), ("B", b, found.line_b)):
                if line is not None:
                    typer.echo(f"  {name}: {path}, line {line}")
            if ones.header.follow != others.header.follow:
                typer.echo(f"A follows {ones.header.follow}, B follows {others.header.follow}; --task compares one "
                           "that both follow.", err=True)
        if found is not None:
            raise typer.Exit(Exit.DIFFERENCE)


def _whatever_is_readable(file: Path) -> list[Any]:
    """The lines before the first that is no event at all."""
    from bfl_events.archive import open_archive
    from bfl_events.export import ExportDamaged

    lines = []
    try:
        for numbered in open_archive(file, sealed=False).records():
            lines.append(numbered)  # noqa: PERF402  # what came before an error is kept
    except ExportDamaged:
        pass
    return lines


def _placed(finding: Finding, lines: list[int]) -> Finding:
    """With the numbers of the file's lines: its first line is a header."""
    return with_changes(finding, line=lines[finding.line - 1],
                        related=tuple(lines[number - 1] for number in finding.related))


def _report_verdict(events: int, damage: Any, problems: list[Finding], *, as_json: bool) -> None:
    if as_json:
        found = [{"line": damage.line, "message": damage.why, "related": []}] if damage is not None else []
        found += [{"line": one.line, "message": one.message, "related": list(one.related)} for one in problems]
        typer.echo(json.dumps({"ok": not found, "events": events, "findings": found}))
    else:
        if damage is not None:
            typer.echo(f"line {damage.line}: {damage.why}")
        for one in problems:
            typer.echo(str(one))
        if damage is None and not problems:
            typer.echo(f"{events} events: every number follows from the lines before it.")
    if damage is not None or problems:
        raise typer.Exit(Exit.DIFFERENCE)


def _difference_json(found: Difference) -> dict[str, Any]:
    from bfl_events.export import record_json

    return {
        "what": found.what,
        "a": {"line": found.line_a, "record": None if found.record_a is None else record_json(found.record_a)},
        "b": {"line": found.line_b, "record": None if found.record_b is None else record_json(found.record_b)},
    }


def _say_who_goes_on(a: Path, end_a: int, b: Path, end_b: int) -> None:
    if end_a != end_b:
        longer, end = (a, end_a) if end_a > end_b else (b, end_b)
        typer.echo(f"{longer} goes on to block {end}.", err=True)


def _same(address: str, text: str) -> bool:
    return address.lower() == text.lower()


def _checksummed(text: str | None, *, as_json: bool) -> str | None:
    from bfl_events.cli.arguments import address_argument

    return None if text is None else address_argument(text, as_json=as_json)
