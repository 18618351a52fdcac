"""The commands that read a chain: tail, and export (which also takes a log)."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bfl_events.cli.arguments import address_argument, doorbells, split_urls
from bfl_events.cli.failures import Exit, fail, reachable

if TYPE_CHECKING:
    from bfl_events.log import EventLog
    from bfl_events.source import Advance, EventSource

RpcUrls = Annotated[list[str], typer.Option(
    "--rpc", envvar="BFL_CHAIN__RPC", help="RPC endpoint; repeat it for failover.", show_default=False)]
WsUrls = Annotated[list[str] | None, typer.Option(
    "--ws", envvar="BFL_CHAIN__WS", help="WebSocket to be woken by; default: the RPC endpoints.", show_default=False)]
Factory = Annotated[str, typer.Option(
    "--factory", envvar="BFL_CHAIN__FACTORY", help="The factory contract.", show_default=False)]
From = Annotated[int, typer.Option(
    "--from", envvar="BFL_CHAIN__START_BLOCK", min=0, help="First block: where the factory was deployed, or earlier.")]
ChainId = Annotated[int | None, typer.Option(
    "--chain-id", envvar="BFL_CHAIN__CHAIN_ID", help="Refuse every other chain.", show_default=False)]
Tasks = Annotated[list[str] | None, typer.Option(
    "--task", help="Only these tasks' events; repeatable.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout; errors as JSON on stderr.")]


@dataclass(frozen=True)
class Reach:
    """Which chain, contract and tasks are read, and from where."""

    rpc: list[str]
    ws: list[str]
    factory: str
    start: int
    chain_id: int | None
    tasks: frozenset[str]


def tail(
    rpc: RpcUrls,
    factory: Factory,
    ws: WsUrls = None,
    start: From = 0,
    chain_id: ChainId = None,
    task: Tasks = None,
    follow: Annotated[bool, typer.Option("--follow/--once", help="Go on with new events, or stop at the head.")] = True,
    as_json: AsJson = False,
) -> None:
    """Print the events of a factory and its tasks, and go on as they come.

    With --json one object per line; after a reorg {"rewound_to": N} says that what came after block N is void.
    """
    with reachable(as_json=as_json):
        reach = _reach(rpc, ws, factory, start, chain_id, task, as_json=as_json)
        asyncio.run(_until_signal(_tail(reach, follow=follow, as_json=as_json)))


def export(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; default: stdout.",
                                                show_default=False)] = None,
    log: Annotated[Path | None, typer.Option(help="An agent's events.sqlite.", show_default=False)] = None,
    rpc: Annotated[list[str] | None, typer.Option(
        "--rpc", help="RPC endpoint, instead of a log; repeat it for failover.", show_default=False)] = None,
    factory: Annotated[str | None, typer.Option(
        "--factory", help="The factory contract, with --rpc.", show_default=False)] = None,
    start: From = 0,
    chain_id: ChainId = None,
    task: Tasks = None,
    as_json: AsJson = False,
) -> None:
    """Write all events as JSON lines with a hash chain: from an agent's log, or from a chain up to its head."""
    with reachable(as_json=as_json):
        if (log is None) == (rpc is None):
            fail(Exit.USAGE, "Give either --log FILE or --rpc URL with --factory ADDRESS.", as_json=as_json)
        if log is not None:
            from bfl_events.log import EventLog

            with EventLog(log) as opened:
                _write(opened, output, as_json=as_json)
        elif factory is None:
            fail(Exit.USAGE, "--rpc needs --factory ADDRESS.", as_json=as_json)
        else:
            reach = _reach(rpc or [], [], factory, start, chain_id, task, as_json=as_json)
            if not asyncio.run(_until_signal(_export(reach, output, as_json=as_json))):
                raise typer.Exit(Exit.INTERRUPTED)


def _reach(
    rpc: list[str], ws: list[str] | None, factory: str, start: int, chain_id: int | None, tasks: list[str] | None,
    *, as_json: bool,
) -> Reach:
    urls = split_urls(rpc)
    wanted = frozenset(address_argument(one, as_json=as_json) for one in tasks or ())
    return Reach(urls, doorbells(urls, ws or ()), address_argument(factory, as_json=as_json), start, chain_id, wanted)


@asynccontextmanager
async def _reading(reach: Reach, *, wait: bool, as_json: bool) -> AsyncIterator[tuple[EventSource, EventLog]]:
    """A source over a log in memory. Unless we wait, an endpoint that cannot be reached at first is an error."""
    from bfl_events.log import EventLog, Identity
    from bfl_events.rpc import Contract, Rpc
    from bfl_events.source import EventSource

    try:
        rpc = Rpc(reach.rpc, chain_id=reach.chain_id, contract=Contract(reach.factory))
    except ValueError as error:
        fail(Exit.USAGE, f"{error}.", as_json=as_json)
    async with rpc:
        chain_id = int(await rpc.call("eth_chainId"), 16)
        follow = f"tasks {', '.join(sorted(reach.tasks))}" if reach.tasks else "every task"
        with EventLog(":memory:", Identity(chain_id, reach.factory, reach.start, follow)) as log:
            source = EventSource(
                rpc, log, factory=reach.factory, start_block=reach.start, ws_urls=reach.ws if wait else (),
                follow=lambda created: not reach.tasks or created.task in reach.tasks,
                on_trouble=lambda why: typer.echo(f"… {why}", err=True),
                on_recovered=lambda: typer.echo("… goes on", err=True),
            )
            yield source, log


async def _tail(reach: Reach, *, follow: bool, as_json: bool) -> None:
    progress = Progress()
    async with (
        _reading(reach, wait=follow, as_json=as_json) as (source, _),
        aclosing(source.advances()) as advances,
    ):
        async for advance in advances:
            _print(advance, as_json=as_json)
            progress.tell(advance)
            if not (follow or advance.behind):
                return


def _print(advance: Advance, *, as_json: bool) -> None:
    from bfl_events.cli.text import record_line
    from bfl_events.export import record_json

    if advance.rewound_to is not None:
        if as_json:
            typer.echo(json.dumps({"rewound_to": advance.rewound_to}))
        else:
            typer.echo(f"… the chain was reorganised: what came after block {advance.rewound_to} is void", err=True)
    for record in advance.records:
        typer.echo(json.dumps(record_json(record)) if as_json else record_line(record))
    sys.stdout.flush()


async def _export(reach: Reach, output: Path | None, *, as_json: bool) -> None:
    progress = Progress()
    async with (
        _reading(reach, wait=False, as_json=as_json) as (source, log),
        aclosing(source.advances()) as advances,
    ):
        async for advance in advances:
            progress.tell(advance)
            if not advance.behind:
                break
        _write(log, output, as_json=as_json)


def _write(log: EventLog, output: Path | None, *, as_json: bool) -> None:
    from bfl_events.export import header_of, write_export, write_records

    if output is None:
        with log.snapshot():
            write_records(log.records(), sys.stdout.buffer, header_of(log))
        sys.stdout.buffer.flush()
        return
    count, end = write_export(output, log), log.cursor()
    if as_json:
        typer.echo(json.dumps({"file": str(output), "events": count, "to_block": end.number if end else None}))
    else:
        typer.echo(f"✓ {count} events written to {output}", err=True)


class Progress:
    """Says every second on stderr how far the reading of old blocks is, if it takes that long."""

    def __init__(self) -> None:
        self._events, self._said = 0, time.monotonic()

    def tell(self, advance: Advance) -> None:
        self._events += len(advance.records)
        now = time.monotonic()
        if advance.behind and now - self._said >= 1.0:
            self._said = now
            typer.echo(f"… {self._events} events up to block {advance.head.number}, {advance.behind} blocks to go",
                       err=True)


async def _until_signal(work: Coroutine[Any, Any, None]) -> bool:
    """Run it to its end; False if the first SIGINT or SIGTERM ended it."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return False
    return True
