"""`bfl-agent account`: new, import, list. Keys come from files or standard input, never from a flag."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from agents.cli.exits import Exit
from agents.cli.failures import Failure
from agents.cli.session import Session

app = typer.Typer(
    name="account", help="Ethereum accounts: new, import, list (Web3 Secret Storage v3).", rich_markup_mode=None
)
Light = Annotated[bool, typer.Option("--light-kdf", help="Cheap key derivation: for development chains only.")]


@app.command()
def new(ctx: typer.Context, light: Light = False) -> None:
    """Make a new account, encrypted with the home's password."""
    session: Session = ctx.obj
    address, path = make(session, None, light=light)
    _show(session, address, path)


@app.command("import")
def import_(
    ctx: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="A v3 key file, a file with a hex key, or - for standard input.")
    ],
    source_password_file: Annotated[
        Path | None, typer.Option(help="Password of the v3 file, if it is not the home's.")
    ] = None,
    light: Light = False,
) -> None:
    """Take over an existing account; it is encrypted anew with the home's password."""
    session: Session = ctx.obj
    address, path = make(session, _key(session, source, source_password_file), light=light)
    _show(session, address, path)


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """The accounts in this home."""
    from agents.identity import identities

    session: Session = ctx.obj
    known = identities(session.home)
    session.show(
        {"accounts": [{"address": k.address, "path": str(k.path)} for k in known]},
        [k.address for k in known] or ["No account. Next: bfl-agent account new"],
    )


def make(session: Session, key: bytes | None, *, light: bool) -> tuple[str, Path]:
    """Store a key, a fresh one for None; its address and file. Raises SettingsError, KeystoreError, Failure."""
    from agents.crypto.accounts import import_account, new_account
    from agents.crypto.keystore import LIGHT_SCRYPT, STRONG_SCRYPT
    from agents.identity import password
    from agents.notation import checksum_address

    secret = password(session.home, session.settings.account)
    session.note("Encrypting the key …")
    now, cost = datetime.now(UTC), LIGHT_SCRYPT if light else STRONG_SCRYPT
    if key is None:
        made = new_account(session.home.keystore, secret, created=now, scrypt_n=cost)
    else:
        try:
            made = import_account(session.home.keystore, key, secret, created=now, scrypt_n=cost)
        except ValueError:
            raise _no_key() from None
    return checksum_address(f"0x{made.address.hex()}"), made.path


def _show(session: Session, address: str, path: Path) -> None:
    session.show(
        {"address": address, "path": str(path)},
        [address, f"Next: send it ether, then bfl-agent doctor  (backup: {session.home.keystore} and its password)"],
    )


def _key(session: Session, source: str, source_password_file: Path | None) -> bytes:
    from agents.crypto.accounts import read_keyfile
    from agents.crypto.keystore import read_password
    from agents.identity import password

    text = sys.stdin.read() if source == "-" else Path(source).read_text("utf-8")
    if not text.lstrip().startswith("{"):
        try:
            return bytes.fromhex(text.strip().removeprefix("0x"))
        except ValueError:
            raise _no_key() from None
    if source == "-":
        raise Failure(
            "A key file cannot be read from standard input.", "Only a hex key can.", "Give the file's name.", Exit.USAGE
        )
    secret = (
        password(session.home, session.settings.account)
        if source_password_file is None
        else read_password(source_password_file)
    )
    return read_keyfile(Path(source), secret)


def _no_key() -> Failure:
    return Failure(
        "This is no private key.",
        "64 hex digits below the curve's order, or a v3 key file, are needed.",
        "Check the file.",
        Exit.ACCOUNT,
    )
