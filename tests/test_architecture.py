"""The doors of DESIGN.md 2: who may import whom, read from the syntax trees, so that lazy imports count as well."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("agents", "bfl_events")
OUTSIDE_WORLD = frozenset({
    "asyncio", "time", "random", "secrets", "os", "pathlib", "io", "socket", "subprocess", "threading", "sqlite3",
    "tempfile", "shutil", "urllib", "http", "logging", "signal", "multiprocessing", "uuid",
})
PURE_EVENTS = (
    "schema", "state", "fold", "rules", "verify", "lineage", "bitmap", "scoring", "settlement", "deadlines",
    "recipients", "terms", "commitment", "keccak", "evolve", "codec", "folding", "verifying", "transitions",
)
PURE = tuple(f"bfl_events.{name}" for name in PURE_EVENTS)
LEAVES = ("agents.storage", "agents.crypto")
STEPS = ("bfl_events.boundaries", "bfl_events.durable")     # every room that writes says which durable step it takes


@dataclass(frozen=True)
class Door:
    """`rooms` are what it is for (the first door that fits counts). A name in `may` opens the module and all below it.

    `libraries`: third-party packages, None for any but torch. `refused`: modules of the standard library.
    """

    rooms: tuple[str, ...]
    may: tuple[str, ...]
    libraries: frozenset[str] | None = frozenset()
    refused: frozenset[str] = frozenset()


def door(rooms: tuple[str, ...], may: tuple[str, ...], libraries: str | None = "", *, pure: bool = False) -> Door:
    named = None if libraries is None else frozenset(libraries.split())
    return Door(rooms, may, named, OUTSIDE_WORLD if pure else frozenset())


GROUND = (  # what every agent process stands on: settings, homes, logs
    "agents.home", "agents.notation", "agents.redaction", "agents.telemetry", "agents.metrics", "agents.health",
    "agents.misconfiguration", "agents.settings", "agents.control",
)
DOORS = (
    door((*PURE, *(f"{one}.*" for one in PURE)), PURE, pure=True),
    door(STEPS, STEPS),
    door(("bfl_events.decode", "bfl_events.abi"), (*PURE, "bfl_events.abi", "bfl_events.decode"), "eth_abi web3"),
    door(("bfl_events.cli", "bfl_events.cli.*"), ("bfl_events",), "typer rich"),
    door(("bfl_events", "bfl_events.*"), ("bfl_events",), "aiohttp websockets eth_abi web3"),
    door(("agents.core", "agents.core.*"), ("agents.core", *PURE), pure=True),
    door(("agents.storage", "agents.storage.*"), ("agents.storage", *STEPS), "aiohttp aioipfs yarl"),
    door(("agents.crypto", "agents.crypto.*"), ("agents.crypto", *STEPS),
         "cryptography cbor2 eth_abi eth_account eth_keys eth_keyfile eth_utils"),
    door(("agents.learning", "agents.learning.*"), ("agents.learning", *STEPS),
         "torch torchvision numpy sklearn"),
    door(("agents.effects", "agents.effects.*"),
         ("agents.effects", "agents.core.intents", "agents.core.specification", "agents.telemetry", *LEAVES, *PURE,
          *STEPS, "bfl_events.abi", "bfl_events.decode", "bfl_events.rpc", "bfl_events.endpoint",
          "bfl_events.transport"),
         "cryptography eth_abi eth_account eth_keys eth_utils hexbytes web3"),
    door(("agents", *GROUND), (*GROUND, *PURE),
         "aiohttp platformdirs prometheus_client pydantic pydantic_settings structlog"),
    door(("agents.demo", "agents.demo.*"), ("agents", "bfl_events"), "aiohttp numpy rich"),
    door(("agents.cli", "agents.cli.*"), ("agents", "bfl_events"), None),
    door(("agents.*",), ("agents", "bfl_events"), None),
)
ONLY_IN = {  # a library -> the modules that may import it
    "torch": ("agents.learning.*",),
    "torchvision": ("agents.learning.*",),
    "sklearn": ("agents.learning.*",),
    "web3": ("bfl_events.*", "agents.effects.*"),
    "aioipfs": ("agents.storage.*",),
    "sqlite3": ("bfl_events.log", "bfl_events.log_*", "agents.effects.*"),
    "agents.learning": ("agents.learning", "agents.learning.*"),
    "agents.daemon": ("agents.agent", "agents.composition"),
    "agents.cli": ("agents.cli", "agents.cli.*", "agents.demo.*"),
    "agents.demo": ("agents.demo", "agents.demo.*", "agents.cli.*", "agents.composition"),
}


def modules() -> Iterator[tuple[str, Path]]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


MODULES = dict(modules())


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text("utf-8"))


@cache
def imports(module: str) -> frozenset[str]:
    """Full names of everything a module imports, also inside functions and for types alone."""
    found: set[str] = set()
    for node in ast.walk(tree(module)):
        match node:
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=None) | ast.ImportFrom(level=1 | 2 | 3):
                pytest.fail(f"{module}:{node.lineno}: write the full name; relative imports hide the door")
            case ast.ImportFrom(module=source, names=names):
                for alias in names:
                    full = f"{source}.{alias.name}"
                    found.add(full if full in MODULES else source)
    return frozenset(found)


def opens(name: str, allowed: tuple[str, ...]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in allowed)


def door_of(module: str) -> Door:
    return next(one for one in DOORS if any(fnmatchcase(module, room) for room in one.rooms))


def may_import(module: str, name: str) -> bool:
    own, top = door_of(module), name.partition(".")[0]
    if top in ROOMS:
        return opens(name, own.may)
    if top in sys.stdlib_module_names:
        return top not in own.refused
    return own.libraries is None or top in own.libraries


@pytest.mark.parametrize("module", MODULES)
def test_no_module_goes_through_a_closed_door(module: str) -> None:
    assert not [name for name in sorted(imports(module)) if not may_import(module, name)]


@pytest.mark.parametrize("name", ONLY_IN)
def test_what_belongs_to_one_room_is_imported_nowhere_else(name: str) -> None:
    strangers = [module for module in MODULES if any(opens(one, (name,)) for one in imports(module))
                 and not any(fnmatchcase(module, room) for room in ONLY_IN[name])]
    assert not strangers, f"{name} is imported by {strangers}"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_owns(module: str) -> None:
    assert ast.get_docstring(tree(module))


MONEY = tuple(f"bfl_events.{name}" for name in ("scoring", "settlement", "deadlines", "fold", "folding", "bitmap"))


@pytest.mark.parametrize("module", [module for module in MODULES if opens(module, MONEY)])
def test_the_arithmetic_of_the_contract_never_sees_a_float(module: str) -> None:
    floats = [node.lineno for node in ast.walk(tree(module))
              if (isinstance(node, ast.Constant) and isinstance(node.value, float))
              or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div))]
    assert not floats


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_ever_unpickled(module: str) -> None:
    """Also an agent's own checkpoint is read as plain tensors: `torch.load(..., weights_only=True)`."""
    for node in ast.walk(tree(module)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="pickle"))):
                pytest.fail(f"{module}:{node.lineno} unpickles")
            case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr="load"), keywords=given):
                safe = [one.value for one in given if one.arg == "weights_only"]
                assert [one.value for one in safe if isinstance(one, ast.Constant)] == [True], f"{module}:{node.lineno}"


FORBIDDEN = (
    ("agents.core.worker", "asyncio"), ("agents.core.worker", "agents.effects.runner"),
    ("agents.effects.hands", "agents.core.worker"), ("agents.effects.hands", "torch"),
    ("agents.storage.local", "bfl_events.schema"), ("agents.crypto.envelope", "agents.storage.store"),
    ("bfl_events.fold", "bfl_events.decode"), ("bfl_events.fold", "sqlite3"), ("bfl_events.log", "agents.home"),
)


@pytest.mark.parametrize(("module", "name"), FORBIDDEN)
def test_the_net_catches_what_it_is_for(module: str, name: str) -> None:
    assert not may_import(module, name)
