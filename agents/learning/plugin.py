"""From an operator's file or module to a Python module, with what goes wrong in users' code told apart from
our own mistakes. No torch here."""

import hashlib
import importlib
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from agents.learning.failure import Failure, is_full


def reference_sha256(path: str | None) -> str | None:
    """SHA-256 of the operator's task file, to compare with the specification's; None for a built-in task."""
    if path is None:
        return None
    try:
        return hashlib.sha256(source(path).read_bytes()).hexdigest()
    except OSError as error:
        raise Failure(
            "task",
            f"the task file {path} cannot be read: {error.strerror}",
            "correct the path in your mapping",
        ) from error


def source(path: str) -> Path:
    """The file behind a path or a module name. Raises `Failure("task")` if a module is not there."""
    if path.endswith(".py") or "/" in path:
        return Path(path).expanduser()
    with users_code(f"finding the module {path}"):
        spec = importlib.util.find_spec(path)
    if spec is None or spec.origin is None:
        raise Failure("task", f"there is no module {path}", "install it beside bfl-agent, or map the task to a file")
    return Path(spec.origin)


def imported(path: str) -> ModuleType:
    """The user's module, run once. Raises `Failure("task")` for whatever is missing or raised."""
    file = source(path)
    if not file.is_file():
        raise Failure("task", f"the task file {file} does not exist", "correct the path in your mapping")
    if not (path.endswith(".py") or "/" in path):
        with users_code(f"importing {path}"):
            return importlib.import_module(path)
    name = f"bfl_task_{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise Failure("task", f"{file} is not a Python file", "map the task to a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(file.parent.resolve()) not in sys.path:
        sys.path.append(str(file.parent.resolve()))  # last, so that no neighbour hides an installed module
    with users_code(f"importing {file.name}"):
        spec.loader.exec_module(module)
    return module


@contextmanager
def users_code(what: str) -> Iterator[None]:
    """The one place that catches everything: whatever a user's code raises is that code's failure, not ours
    (a full disk is nobody's)."""
    try:
        yield
    except Failure:
        raise
    except (Exception, SystemExit) as error:
        if is_full(error):
            raise
        traceback.print_exc()
        where = _where(error)
        raise Failure(
            "task",
            f"{what} failed: {type(error).__name__}: {error} ({where})",
            "correct the task's code; the full traceback is in the log",
        ) from error


def _where(error: BaseException) -> str:
    """The last line of the user's own that the error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    foreign = (sysconfig.get_paths()["stdlib"], sysconfig.get_paths()["purelib"], str(Path(__file__).parent), "<")
    frame = next((f for f in reversed(frames) if not f.filename.startswith(foreign)), frames[-1])
    return f"{Path(frame.filename).name}, line {frame.lineno}"
