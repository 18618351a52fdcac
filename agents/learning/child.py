"""The process that has torch: `python -m agents.learning.child`, requests and answers as JSON lines over
stdin and stdout.

    {"id": 1, "op": "setup", …}
    -> {"id": 1, "progress": {…}}, any number; then {"id": 1, "ok": {…}} or {"id": 1, "error": {kind, message, do}}

Owns the pipes and the end: at end of file, at its parent's death, and after an error that is nobody's but its
own (which it answers first). It may be killed at any time; files appear by rename. SIGTERM asks training to
end at its next checkpoint, and nothing else. What users' code prints goes to stderr, and it reads an empty stdin.
"""

import ctypes
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from agents.learning.trials import sweep_trials
from bfl_events.boundaries import arm

if TYPE_CHECKING:
    from agents.learning.session import Session

_PR_SET_PDEATHSIG = 1
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Pipes:
    """The two ends of the conversation, out of reach of anything that prints or reads."""

    requests: IO[str]
    answers: IO[str]

    def send(self, message: Mapping[str, Any]) -> None:
        self.answers.write(json.dumps(message, separators=(",", ":"), allow_nan=False) + "\n")
        self.answers.flush()


def main() -> int:
    """Serves until stdin ends; returns the exit status (0, or 1 after an error of its own)."""
    die_with_parent()
    arm(os.environ)
    sweep_trials()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the agent decides what ends
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    pipes = protected_pipes()
    session: Session | None = None
    for request in _requests(pipes):
        try:
            session = _serve(pipes, request, session, asked.is_set)
        except BrokenPipeError:
            return 0
        except Exception as error:  # noqa: BLE001 - the one boundary: answered, then the process ends
            traceback.print_exc()
            _fail(
                pipes,
                request,
                {
                    "kind": "internal",
                    "message": f"{type(error).__name__}: {error}",
                    "do": "see the log; a new child starts",
                },
            )
            return 1
    return 0


def die_with_parent() -> None:
    """On Linux the kernel kills this process when its parent dies; elsewhere end of file must do."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            raise SystemExit(0)


def protected_pipes() -> Pipes:
    """Moves the conversation to descriptors of its own; fd 1 becomes stderr and fd 0 /dev/null, for native
    code too."""
    requests, answers = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return Pipes(open(requests, encoding="utf-8"), open(answers, "w", encoding="utf-8"))


def _requests(pipes: Pipes) -> Iterator[dict[str, Any]]:
    for line in pipes.requests:
        try:
            request = json.loads(line)
        except ValueError as error:
            request = {"unreadable": str(error)}
        yield request if isinstance(request, dict) else {"unreadable": "not an object"}


def _serve(
    pipes: Pipes, request: dict[str, Any], session: "Session | None", stop: Callable[[], bool]
) -> "Session | None":
    """Answers one request; returns the session for the next."""
    from agents.learning.failure import Failure, from_os_error

    try:
        if "unreadable" in request:
            raise Failure(
                "internal",
                f"the request is not a JSON object: {request['unreadable']}",
                "this is a mistake of the caller",
            )
        if request.get("op") == "setup":
            if session is not None:
                raise Failure("internal", "setup was done before", "start another child for another task")
            session, ok = _set_up(request, stop)
        elif session is None:
            raise Failure("internal", "the first request must be setup", "this is a mistake of the caller")
        else:
            ok = session.answer(
                str(request.get("op")),
                request,
                lambda progress: pipes.send({"id": request.get("id"), "progress": progress}),
            )
        pipes.send({"id": request.get("id"), "ok": ok})
    except Failure as failure:
        _fail(pipes, request, failure.as_json())
    except BrokenPipeError:
        raise
    except OSError as error:
        traceback.print_exc()
        _fail(pipes, request, from_os_error(error).as_json())
    return session


def _set_up(request: Mapping[str, Any], stop: Callable[[], bool]) -> tuple["Session", dict[str, Any]]:
    threads = request.get("threads", 1)
    if type(threads) is int and threads > 0:
        os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    # only now, since numpy and torch read those variables when they are imported
    from agents.learning.exact import ExactThread
    from agents.learning.session import Session
    from agents.learning.settings import from_request

    exact = ExactThread()
    terms = {key: value for key, value in request.items() if key not in ("id", "op")}
    settings = from_request(terms)
    return Session(settings, terms, exact, stop), {"warnings": warnings(settings.task_path, settings.task_sha256)}


def warnings(path: str | None, expected: str | None) -> list[str]:
    """What the operator should know before working: above all, that his task.py is not the one the
    specification was written with."""
    from agents.learning.plugin import reference_sha256

    found = reference_sha256(path)
    if expected is None or found is None or found == expected:
        return []
    return [f"{path} has SHA-256 {found}, the specification's reference task.py {expected}: compare the two"]


def _fail(pipes: Pipes, request: Mapping[str, Any], error: Mapping[str, str]) -> None:
    pipes.send({"id": request.get("id"), "error": error})


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # torch takes seconds to unload, and files appear by rename: nothing is left to do
