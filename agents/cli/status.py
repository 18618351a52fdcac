"""`bfl-agent status`: what the running agent does, or that none runs. Asks the control socket; needs no chain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from agents.cli.exits import Exit
from agents.cli.session import Session, facts, table
from agents.notation import money


def status(
    ctx: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="Exit 17 unless the agent runs and is ready: for probes.")
    ] = False,
) -> None:
    """What the agent of this home is doing."""
    from agents.control import NotRunning, Operation, ask

    session: Session = ctx.obj
    try:
        document = {"running": True, **ask(session.home.control_socket, Operation.STATUS, timeout_s=5.0)}
    except NotRunning as error:
        document = {"running": False, "home": str(session.home.root), "why": f"{error.what} {error.why}"}
    session.show(document, _lines(document))
    if check and not (document["running"] and document.get("ready", False)):
        raise typer.Exit(Exit.PREFLIGHT)


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    if not document["running"]:
        yield f"Not running: {document['why']}"
        yield f"Next: bfl-agent run --home {document['home']}"
        return
    yield from facts(_facts(document))
    tasks = document.get("tasks") or []
    if tasks:
        yield ""
        yield from table(
            ("task", "phase", "round", "attempt", "you"),
            (
                (
                    t.get("task"),
                    t.get("phase"),
                    f"{t.get('round')}/{t.get('rounds')}",
                    t.get("attempt"),
                    t.get("standing", ""),
                )
                for t in tasks
            ),
        )
    for part, sentence in (document.get("troubles") or {}).items():
        yield f"! {part}: {sentence}"
    for loss in document.get("lost") or []:
        done = "made good" if loss.get("repaired") else "lost"
        yield f"- {done}: {loss.get('sentence')}"
    for what in document.get("doing") or []:
        yield f"doing    {what}"
    for tx in document.get("pending") or []:
        yield f"pending  {tx.get('key')}  nonce {tx.get('nonce')}  {tx.get('state')}  {tx.get('age_s', 0):.0f} s"


def _facts(document: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    yield "agent", f"{document.get('role', '?')} {document.get('address', '?')}"
    yield "state", "draining" if document.get("draining") else "ready" if document.get("ready") else "not ready"
    for name in ("chain_id", "factory", "head", "version", "uptime_s"):
        if document.get(name) is not None:
            yield name, document[name]
    if document.get("balance_wei") is not None:
        yield "balance", money(int(document["balance_wei"]))
