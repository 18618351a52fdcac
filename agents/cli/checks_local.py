"""What `doctor` finds on this machine: configuration, account, store, task files, disk. Runs no task's code."""

from __future__ import annotations

import ast
import asyncio
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from agents.cli.checks import Check, fail, ok, warn
from agents.cli.session import Session, short
from agents.cli.view import account_of
from agents.crypto.accounts import load_account
from agents.crypto.keystore import KeystoreError
from agents.identity import choose, password, password_path
from agents.misconfiguration import SettingsError
from agents.redaction import redact_url
from agents.settings import Settings
from agents.storage import BlobMissing, BlobStore, StorageError, open_source, open_store

_MIN_DISK: Final = 2 * 1024**3
_DEADLINE_S: Final = 2.0
_TRIAL_BYTES: Final = 4096


async def examine(session: Session, spec: Path | None = None) -> list[Check]:
    """All checks, those that wait for something side by side. `spec`: also try its task's code and this site's data."""
    from agents.cli.checks_chain import chain_checks

    try:
        settings = session.settings
    except SettingsError as error:
        return [fail("config", session.home.config.name, f"{error.what} {error.why}", error.do)]
    account = asyncio.to_thread(lambda: list(_account(settings)))
    found = await asyncio.gather(account, chain_checks(settings), _store(settings))
    checks = [*_config(session), *(check for part in found for check in part), *_learning(settings), _disk(settings)]
    if spec is not None:
        from agents.cli.trial import try_data

        checks += await try_data(settings, spec)
    return checks


def _config(session: Session) -> Iterator[Check]:
    path = session.home.config
    given = sum(1 for name in os.environ if name.startswith("BFL_") and name != "BFL_HOME")
    if path.exists():
        yield ok("config", path.name, f"{given} values from the environment" if given else "")
    else:
        yield warn("config", path.name, "does not exist; defaults apply", "bfl-agent init")
    if session.settings.chain.factory is None:
        remedy = "bfl-agent contracts deploy, or ask the requester for it"
        yield fail("config", "chain.factory", "is not set", remedy)


def _account(settings: Settings) -> Iterator[Check]:
    """Decrypting takes most of a second: made for a thread."""
    try:
        account = choose(settings.home, settings.account.address)
    except SettingsError as error:
        yield fail("account", "", f"{error.what} {error.why}", error.do)
        return
    name, mode = short(account.address), stat.S_IMODE(account.path.stat().st_mode)
    if mode & 0o077:
        yield warn("account", name, f"others can read the key file (mode {mode:04o})", f"chmod 600 {account.path}")
    else:
        yield ok("account", name, f"keystore, mode {mode:04o}")
    try:
        secret = password(settings.home, settings.account)
        load_account(settings.home.keystore, bytes.fromhex(account.address[2:]), secret)
    except SettingsError as error:
        yield fail("password", name, f"{error.what} {error.why}", error.do)
    except KeystoreError as error:
        yield fail("password", name, str(error), f"correct {password_path(settings.home, settings.account)}")
    else:
        yield ok("password", name, "opens the key")


async def _store(settings: Settings) -> list[Check]:
    address = settings.store_address
    try:
        store = open_store(address, owner=_pins_of(settings), deadline=_DEADLINE_S)
        try:
            found = ok("store", _shown(address), await store.probe())
            return [found, *await _routes(settings, store)]
        finally:
            await store.close()
    except (StorageError, ValueError, TimeoutError) as error:
        return [fail("store", _shown(address), str(error), "start the store, or correct store.address")]


def _pins_of(settings: Settings) -> str:
    """The account's own, so that two operators who share a store and try it at once do not meet."""
    return (account_of(settings) or "doctor").lower()


async def _routes(settings: Settings, store: BlobStore) -> list[Check]:
    """Whether each route of store.read_back shows what was just put into the own store."""
    if not settings.routes:
        return []
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "source")
        source.write_bytes(os.urandom(_TRIAL_BYTES))
        cid = await store.put(source)
        try:
            routes = (_route(address, cid, Path(scratch, str(at))) for at, address in enumerate(settings.routes))
            return list(await asyncio.gather(*routes))
        finally:
            await store.unpin(cid)


async def _route(address: str, cid: bytes, out: Path) -> Check:
    name, remedy = _shown(address), "connect it with the own store, or correct store.read_back"
    try:
        route = open_source(address, owner="doctor", deadline=_DEADLINE_S)
        try:
            await route.get(cid, out, max_bytes=_TRIAL_BYTES)
        finally:
            await route.close()
    except BlobMissing as error:
        return warn("read-back", name, f"does not show a new blob within {_DEADLINE_S:g} s: {error}", remedy)
    except (StorageError, ValueError) as error:
        return fail("read-back", name, str(error), remedy)
    return ok("read-back", name, "shows what the own store holds")


def _shown(address: str) -> str:
    """Without what may be a password."""
    kind, colon, url = address.rpartition("gateway:")
    return f"{kind}{colon}{redact_url(url)}" if "://" in url else address


def _learning(settings: Settings) -> Iterator[Check]:
    for name, path in settings.plugins.items():
        fault = _plugin_fault(path)
        if fault is None:
            yield ok("plug-in", name, path)
        else:
            yield fail("plug-in", name, fault, "correct learning.plugins or the file")
    if (folder := settings.learning.data_dir) is not None:
        if (settings.home.root / folder.expanduser()).is_dir():
            yield ok("data", "learning.data_dir", "is there")
        else:
            yield fail("data", "learning.data_dir", "is no directory", "correct learning.data_dir")


def _plugin_fault(path: str) -> str | None:
    """Whether the file is there and defines what a task needs, without running it."""
    if not path.endswith(".py") and "/" not in path:
        try:
            return None if find_spec(path) is not None else f"no module {path} is installed"
        except (ImportError, ValueError) as error:
            return f"{path} cannot be found: {error}"
    try:
        tree = ast.parse(Path(path).read_text("utf-8"))
    except (OSError, ValueError, SyntaxError) as error:
        return f"{path} cannot be read: {error}"
    missing = {"build_model", "load_data"} - set(_defined(tree))
    return f"{path} defines no {' and no '.join(sorted(missing))}" if missing else None


def _defined(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.ImportFrom(names=names) if any(alias.name == "*" for alias in names):
                yield from ("build_model", "load_data")
            case ast.ImportFrom(names=names):
                yield from (alias.asname or alias.name for alias in names)
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))


def _disk(settings: Settings) -> Check:
    root = settings.home.root
    free = shutil.disk_usage(next(path for path in (root, *root.parents) if path.exists())).free
    result = f"{free / 1024**3:.1f} GiB free"
    if free < _MIN_DISK:
        return warn("disk", root.name, result, "models and envelopes of several rounds need room")
    return ok("disk", root.name, result)
