"""The runbooks answer every fault that a person notices, and quote what the product really says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from agents.cli.exits import Exit
from agents.telemetry import Marker
from tests.cli.test_pages import DOTTED, ROOT, settings

RUNBOOKS = tuple(sorted((ROOT / "runbooks").glob("*.md")))
SOURCES = tuple(path for room in ("agents", "bfl_events") for path in sorted((ROOT / room).rglob("*.py")))
LOUD = ("warning", "error", "critical")
NOTICED = frozenset({
    Marker.AGENT_DRAINING, Marker.AGENT_STOPPED, Marker.HOME_REPAIRED, Marker.CHAIN_RECOVERED, Marker.STORE_RECOVERED,
    Marker.DISK_RECOVERED, Marker.BLOB_SEEN, Marker.CHILD_STARTED, Marker.INTENT_REJECTED, Marker.TX_REVERTED,
    Marker.TX_ABANDONED, Marker.TX_LOST, Marker.TX_FEE_CAPPED, Marker.TX_UNFUNDED, Marker.TASK_DECLINED,
    Marker.TASK_LEFT, Marker.TASK_CANCELLED, Marker.TASK_EXPIRED, Marker.ROUND_DEADLINE_MISSED,
    Marker.ROUND_PHASE_EXTENDED, Marker.ROUND_BASE_RESYNCED, Marker.LEDGER_PENALTY_APPLIED,
})
"""Logged as information, and yet what people ask about: something was refused, lost, fined, ended, or is well again."""


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


# ---- markers --------------------------------------------------------------------------------------------------------


def loud_calls() -> Iterator[tuple[Path, ast.Call, ast.AST]]:
    """Every log call at warning or above, with the function or module around it."""
    for path in (path for path in SOURCES if "Marker." in path.read_text()):
        scopes = [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        for scope in scopes:
            for call in ast.walk(scope):
                if isinstance(call, ast.Call) and call.args and _is_loud(call.func, scope):
                    yield path, call, scope


def _is_loud(function: ast.expr, scope: ast.AST) -> bool:
    """`log.warning`, or a name that was given one of these."""
    match function:
        case ast.Attribute(value, attr) if attr in LOUD:
            return ast.unparse(value).endswith("log")
        case ast.Name(name):
            return any(_is_loud(one, scope) for value in _values(name, scope) for one in ast.walk(value)
                       if isinstance(one, ast.Attribute))
        case _:
            return False


def _values(name: str, scope: ast.AST) -> list[ast.expr]:
    """What is assigned to this name there."""
    return [node.value for node in ast.walk(scope) if isinstance(node, ast.Assign | ast.AnnAssign) and node.value
            and name in [ast.unparse(one) for one in getattr(node, "targets", [getattr(node, "target", None)])]]


def markers(expression: ast.AST, path: Path, scope: ast.AST) -> set[str]:
    """The markers an expression can be: named in it, or in what its names were given."""
    found: set[str] = set()
    for node in ast.walk(expression):
        match node:
            case ast.Attribute(ast.Name("Marker"), name):
                found.add(str(Marker[name]))
            case ast.Name(name):
                for value in _values(name, scope) or [v for s in tree(path).body for v in _values(name, s)]:
                    found |= markers(value, path, tree(path))
    return found


@cache
def loud_markers() -> frozenset[str]:
    found: set[str] = set()
    for path, call, scope in loud_calls():
        said = markers(call.args[0], path, scope)
        assert said, f"{path.name}: which marker is {ast.unparse(call)}?"
        found |= said
    return frozenset(found)


def test_the_loud_markers_are_found_where_they_are_logged() -> None:
    assert {"agent.halted", "foreign.logged", "update.rejected", "task.declined", "disk.refused", "home.lost",
            "chain.endpoint.failed", "intent.retried"} <= loud_markers()
    assert not loud_markers() & {"agent.started", "tx.sent", "round.opened", "intent.finished"}


def test_every_marker_that_a_person_notices_stands_in_a_runbook() -> None:
    named = {name for page in RUNBOOKS for name in DOTTED.findall(page.read_text())}
    assert (loud_markers() | {str(marker) for marker in NOTICED}) - named == set()


# ---- tables ---------------------------------------------------------------------------------------------------------


def rows(page: Path) -> Iterator[list[str]]:
    """The rows of the tables that tell what something means: their cells; tables of other kinds are left out."""
    head: list[str] = []
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.strip().startswith("|") else []
        head = head if head and cells else cells
        if cells and "means" in head and cells != head and not set(line) <= set("|- "):
            yield cells


@pytest.mark.parametrize("code", list(Exit))
def test_every_exit_code_stands_in_a_runbook_and_in_the_readme(code: Exit) -> None:
    explained = [cells[0] for page in RUNBOOKS for cells in rows(page)]
    assert f"`{int(code)}`" in explained
    assert re.search(rf"(?:^|\s){int(code)} [a-z]", (ROOT / "README.md").read_text().split("\nExit codes:", 1)[1])


@cache
def told() -> tuple[str, ...]:
    """Every text in the product's source but docstrings, without what is filled in, and the contract's errors."""
    nodes = [node for path in SOURCES for node in ast.walk(tree(path))]
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    texts = [node.value for node in nodes
             if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings]
    return (*texts, (ROOT / "bfl_events" / "abi" / "errors.json").read_text())


def quoted(page: Path) -> Iterator[str]:
    """What a table's first two columns quote: no markers, settings, numbers, commands, options or paths."""
    for cells in rows(page):
        for phrase in re.findall(r"`([^`]+)`", " ".join(cells[:2])):
            other = phrase.startswith(("bfl-", "--")) or phrase.isdecimal() or "/" in phrase
            if not other and not DOTTED.fullmatch(f"`{phrase}`") and phrase not in settings():
                yield phrase


QUOTED = [(page, phrase) for page in RUNBOOKS for phrase in quoted(page)]


@pytest.mark.parametrize(("page", "phrase"), QUOTED, ids=[f"{page.stem}:{phrase}" for page, phrase in QUOTED])
def test_what_a_table_quotes_is_what_the_product_says(page: Path, phrase: str) -> None:
    assert any(phrase in text for text in told()), f"{page.name} quotes {phrase!r}"


def test_quotations_are_read_at_all() -> None:
    phrases = {phrase for _, phrase in QUOTED}
    assert {"was reset", "cannot be believed", "nothing from Kubo at", "NothingDue"} <= phrases
    assert "is not what anybody says" not in " ".join(told())
