"""Finds durable writes in the syntax trees of the product, and whether each stands inside a named step.

A write is a call that can change a file that outlives the process, a database, an IPFS node or the chain. It is named
if it stands in a `with passing(...)` or in a `with ...transaction(Boundary....)` of its own function.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_OS = frozenset({
    "replace", "rename", "renames", "link", "symlink", "unlink", "remove", "truncate", "ftruncate", "mkdir", "makedirs",
    "rmdir", "removedirs",
})
_PATH = frozenset({"rename", "hardlink_to", "symlink_to", "unlink", "write_text", "write_bytes", "touch", "rmdir"})
_SHUTIL = frozenset({"copyfile", "copy", "copy2", "copytree", "move", "rmtree", "make_archive", "unpack_archive"})
_ARRAYS = frozenset({"save_file", "tofile", "memmap"})
_SQL = re.compile(
    r"\s*(INSERT|UPDATE|DELETE|CREATE|DROP|REPLACE|ALTER|PRAGMA\s+(user_version|application_id)\s*=)", re.IGNORECASE)
_NODE = frozenset({"add", "pin/add", "pin/rm", "files/cp", "files/rm", "block/rm"})


@dataclass(frozen=True)
class Write:
    """`what` as it stands there, `where` the module and function, `line` for people."""

    what: str
    where: str
    line: int
    named: bool


@cache
def writes() -> tuple[Write, ...]:
    """Every durable write of the product."""
    found: list[Write] = []
    for room in ("agents", "bfl_events"):
        for path in sorted((ROOT / room).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found += _Reader(module).read(ast.parse(path.read_text("utf-8")))
    return tuple(found)


class _Reader(ast.NodeVisitor):
    def __init__(self, module: str) -> None:
        self._scope, self._steps, self._found = [module], [0], list[Write]()

    def read(self, tree: ast.Module) -> list[Write]:
        self.visit(tree)
        return self._found

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        self._scope.append(node.name)
        self._steps.append(0)       # a function that is only defined inside a step runs who knows where
        self.generic_visit(node)
        self._steps.pop()
        self._scope.pop()

    visit_AsyncFunctionDef = visit_ClassDef = visit_FunctionDef

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            self.visit(item.context_expr)
        opened = sum(_is_step(item.context_expr) for item in node.items)
        self._steps[-1] += opened
        for statement in node.body:
            self.visit(statement)
        self._steps[-1] -= opened

    visit_AsyncWith = visit_With

    def visit_Call(self, node: ast.Call) -> None:
        if (what := _written(node)) is not None:
            self._found.append(Write(what, ".".join(self._scope), node.lineno, self._steps[-1] > 0))
        self.generic_visit(node)


def _is_step(context: ast.expr) -> bool:
    match context:
        case ast.Call(func=ast.Name(id="passing")):
            return True
        case ast.Call(func=ast.Attribute(attr="transaction" | "_transaction"), args=[ast.Attribute(value=ast.Name(
                id="Boundary")), *_]):
            return True
    return False


def _written(call: ast.Call) -> str | None:
    """What kind of write this call is, or None."""
    match call.func:
        case ast.Attribute(value=ast.Name(id="os"), attr=name) if name in _OS:
            return f"os.{name}"
        case ast.Attribute(value=ast.Name(id="os"), attr="open") if "O_CREAT" in ast.dump(call):
            return "os.open"
        case ast.Attribute(value=ast.Name(id="shutil"), attr=name) if name in _SHUTIL:
            return f"shutil.{name}"
        case ast.Attribute(attr="replace") if len(call.args) == 1 and not call.keywords:     # a text's has two
            return "Path.replace"
        case ast.Attribute(attr=name) if name in _PATH:
            return f"Path.{name}"
        case ast.Attribute(attr="open") | ast.Name(id="open") if _mode(call) & set("wax+"):
            return "open"
        case ast.Attribute(value=ast.Name(id="torch" | "np" | "numpy"), attr=name) if name.startswith("save"):
            return f"arrays' {name}"
        case ast.Attribute(attr=name) | ast.Name(id=name) if name in _ARRAYS:
            return f"arrays' {name}"
        case ast.Attribute(attr="executescript"):       # whatever it holds: it also commits what is open
            return "sql"
        case ast.Attribute(attr="execute" | "executemany" | "execute_many") if _SQL.match(_text(call)):
            return "sql"
        case ast.Attribute(attr="_post") if any(isinstance(one, ast.Constant) and one.value in _NODE
                                                for one in call.args):
            return "ipfs"
        case ast.Attribute(value=ast.Attribute(attr="pin" | "files" | "block"), attr="rm" | "add" | "cp"):
            return "ipfs"
    sent = any(isinstance(one, ast.Constant) and one.value == "eth_sendRawTransaction" for one in call.args)
    return "chain" if sent else None


def _mode(call: ast.Call) -> set[str]:
    """The letters of the mode, by position (Path.open: first, open: second) or name."""
    given = [one.value for one in call.keywords if one.arg == "mode"]
    given += call.args[:1] if isinstance(call.func, ast.Attribute) else call.args[1:2]
    return {letter for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)
            and len(one.value) <= 3 for letter in one.value}


def _text(call: ast.Call) -> str:
    """The beginning of the first argument, as far as it is written there."""
    match call.args:
        case [ast.Constant(value=str(text)), *_]:
            return text
        case [ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]), *_]:
            return text
    return ""

