"""The command tree, the global options, and the one boundary where an error becomes a sentence and an exit code."""

from __future__ import annotations

import json
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from agents.cli import account, contracts, demo, doctor, init, keys, ledger, models, rounds, run, status, task
from agents.cli.arguments import arrange
from agents.cli.exits import Exit
from agents.cli.failures import Failure, translate
from agents.cli.session import Session
from agents.home import find_home
from agents.redaction import Redactor

app = typer.Typer(
    name="bfl-agent",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="One agent of a decentralised federated learning task: it trains, scores and is paid, with nobody in charge.",
    epilog="Global options may stand anywhere. Settings: flag, then BFL_ environment, then config.toml, then default.",
)
for module in (account, contracts, keys, ledger, models, rounds, task):
    app.add_typer(module.app)
for command in (demo.demo, init.init, doctor.doctor, run.run, status.status):
    app.command()(command)


@app.callback()
def root(
    ctx: typer.Context,
    home: Annotated[
        Path | None, typer.Option(envvar="BFL_HOME", help="The agent's directory.", show_default=False)
    ] = None,
    role: Annotated[str | None, typer.Option(help="worker or requester.", show_default=False)] = None,
    rpc: Annotated[
        list[str] | None, typer.Option(help="RPC endpoint; repeat it for failover.", show_default=False)
    ] = None,
    ws: Annotated[list[str] | None, typer.Option(help="WebSocket endpoint (wake-up only).", show_default=False)] = None,
    chain_id: Annotated[int | None, typer.Option(show_default=False)] = None,
    start_block: Annotated[int | None, typer.Option(help="The factory's first block.", show_default=False)] = None,
    factory: Annotated[str | None, typer.Option(help="The factory contract.", show_default=False)] = None,
    account: Annotated[str | None, typer.Option(help="The account to use.", show_default=False)] = None,
    password_file: Annotated[str | None, typer.Option(show_default=False)] = None,
    store: Annotated[str | None, typer.Option(help="local:DIRECTORY or a Kubo API.", show_default=False)] = None,
    profile: Annotated[str | None, typer.Option(help="production or development.", show_default=False)] = None,
    confirmations: Annotated[int | None, typer.Option(show_default=False)] = None,
    max_fee_gwei: Annotated[str | None, typer.Option(show_default=False)] = None,
    log_format: Annotated[str | None, typer.Option(help="console or json.", show_default=False)] = None,
    log_level: Annotated[str | None, typer.Option(show_default=False)] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout; errors as JSON on stderr.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"bfl-agent {installed('bfl-agent')}")
        raise typer.Exit
    chain = {
        "rpc": rpc or None,
        "ws": ws or None,
        "chain_id": chain_id,
        "start_block": start_block,
        "factory": factory,
        "confirmations": confirmations,
        "max_fee_gwei": max_fee_gwei,
    }
    flags = {
        "role": role,
        "profile": profile,
        "chain": chain,
        "account": {"address": account, "password_file": password_file},
        "store": {"address": store},
        "observe": {"log_format": log_format, "log_level": log_level},
    }
    ctx.obj = Session(find_home(home), _given(flags), as_json, yes)


def invoke(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    arranged = arrange(arguments) or ["--help"]
    as_json = "--json" in arranged
    try:
        code = app(arranged, standalone_mode=False)
    except TyperException as error:
        return _report(Failure(error.format_message(), do="See --help.", exit=Exit.USAGE), as_json)
    except typer.Abort:
        return int(Exit.INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the boundary: every error becomes a sentence and an exit code
        return _report(translate(error) or _bug(error, arranged), as_json)
    return int(code or 0)


def _report(failure: Failure, as_json: bool) -> int:
    """On stderr, without the private parts of URLs."""
    redact = Redactor().text
    if as_json:
        typer.echo(redact(json.dumps(failure.document(), ensure_ascii=False)), err=True)
    else:
        typer.echo(redact(f"✗ {failure.what}"), err=True)
        for name, text in (("Why", failure.why), ("Do", failure.do)):
            if text:
                typer.echo(redact(f"  {name:<4} {text}"), err=True)
    return failure.exit


def _bug(error: Exception, arranged: Sequence[str]) -> Failure:
    """Nobody foresaw this: the traceback goes to a file, one line to the person."""
    from agents.crypto.privatefile import write_private

    text = Redactor().text("".join(traceback.format_exception(error)))
    named = next((Path(value) for option, value in pairwise(arranged) if option == "--home"), None)
    path = find_home(named).log.parent / f"crash-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.txt"
    try:
        write_private(path, text.encode())
        where = f"The traceback is in {path}."
    except OSError:
        typer.echo(text, err=True)
        where = "The traceback is above."
    return Failure(
        f"This is a bug: {type(error).__name__}: {error}.", where, "Please report it with that file.", Exit.BUG
    )


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    """Only what was given."""
    found = {name: _given(value) if isinstance(value, dict) else value for name, value in flags.items()}
    return {name: value for name, value in found.items() if value not in (None, {})}
