"""`bfl-agent init`: writes a home that `doctor` can check: config.toml, a password, an account, a task template."""

from __future__ import annotations

import secrets
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import typer

from agents.cli.exits import Exit
from agents.cli.failures import Failure, usage
from agents.cli.session import Session

_TEMPLATES = {
    "pytorch": (("task.py.txt", "task.py"), ("custom.toml", "task.toml")),
    "digits": (("digits.toml", "digits.toml"),),
    "mnist": (("mnist.toml", "mnist.toml"),),
}

_CONFIG = """\
# bfl-agent: flag > BFL_ environment (BFL_CHAIN__RPC=…) > this file > default. No secrets in here.
role = {role}
profile = {profile}            # development: no confirmations, for a chain of your own

[chain]
rpc = {rpc}
{chain}
[store]
address = {store}      # local:DIRECTORY, or a Kubo API such as /ip4/127.0.0.1/tcp/5001
# read_back = ["gateway:https://HOST"]   # open a model on chain only after it was read there (or in another store) too

[learning]
device = "auto"
# data_dir = "/path/to/data"       # never leaves this machine

[learning.plugins]                 # which code may run: name in a specification = "task.py" or "module"
{plugins}{partition}
[policy]                           # what this agent refuses to bond for; empty requesters: anybody's tasks
requesters = []
max_collateral_wei = "1.5 ether"
"""


def init(
    ctx: typer.Context,
    template: Annotated[
        str | None, typer.Option(help="pytorch, digits or mnist: also write a task to start from.")
    ] = None,
    new_account: Annotated[bool, typer.Option("--new-account", help="Also make an account.")] = False,
    light: Annotated[
        bool, typer.Option("--light-kdf", help="Cheap key derivation: for development chains only.")
    ] = False,
    part: Annotated[
        str | None, typer.Option(metavar="I/N", help="Experiments: hold part I (from 0) of N of the data set.")
    ] = None,
) -> None:
    """Write a new home: configuration, password, and on request an account and a task template."""
    session: Session = ctx.obj
    if template is not None and template not in _TEMPLATES:
        raise Failure(
            f"There is no template {template!r}.",
            "Templates are starting points for a task.",
            f"Choose one of {', '.join(_TEMPLATES)}.",
            Exit.USAGE,
        )
    config = _config(session, template, _part(part))
    session.home.create()
    written = [path for path, text in _files(session, config, template) if _write(path, text)]
    address = _account(session, light) if new_account else None
    document = {"home": str(session.home.root), "written": [str(path) for path in written], "address": address}
    session.show(document, _lines(session, written, address))


def _config(session: Session, template: str | None, partition: str) -> str:
    from agents.cli.configfile import literal

    settings = session.settings
    chain: dict[str, Any] = {
        name: value
        for name in ("chain_id", "factory", "start_block", "confirmations")
        if (value := session.flags.get("chain", {}).get(name)) is not None
    }
    return _CONFIG.format(
        role=literal(settings.role),
        profile=literal(settings.profile),
        rpc=literal(settings.chain.rpc),
        store=literal(settings.store.address),
        partition=partition,
        chain="".join(f"{name} = {literal(value)}\n" for name, value in chain.items()) or '# factory = "0x…"\n',
        plugins='my-task = "task.py"\n' if template == "pytorch" else '# my-task = "task.py"\n',
    )


def _part(text: str | None) -> str:
    """The table [learning.partition]; empty without a part. Raises Failure."""
    if text is None:
        return ""
    index, _, of = text.partition("/")
    if not (index.isdecimal() and of.isdecimal() and int(index) < int(of)):
        raise usage(f"{text!r} is no part.", "Parts count from 0.", "Write for example --part 0/3.")
    return f'\n[learning.partition]               # experiments only\nkind = "iid"\nindex = {index}\nof = {of}\n'


def _files(session: Session, config: str, template: str | None) -> list[tuple[Path, str]]:
    home = session.home
    templates = resources.files("agents.cli") / "templates"
    extra = [
        (home.root / name, (templates / source).read_text("utf-8"))
        for source, name in _TEMPLATES.get(template or "", ())
    ]
    return [(home.config, config), (home.password, secrets.token_urlsafe(32) + "\n"), *extra]


def _write(path: Path, text: str) -> bool:
    """A file that is there stays as it is."""
    from agents.crypto.privatefile import write_private

    if path.exists():
        return False
    write_private(path, text.encode())
    return True


def _account(session: Session, light: bool) -> str:
    from agents.cli.account import make
    from agents.identity import identities

    known = identities(session.home)
    return known[0].address if known else make(session, None, light=light)[0]


def _lines(session: Session, written: list[Path], address: str | None) -> list[str]:
    lines = [f"Home  {session.home.root}"]
    lines += [f"wrote {path.relative_to(session.home.root)}" for path in written] or [
        "Everything was there already; nothing was changed."
    ]
    lines += [f"account {address}"] if address else []
    home = f" --home {session.home.root}"
    following = f"bfl-agent doctor{home}" if address else f"bfl-agent account new{home}"
    return [*lines, f"Next: {following}"]
