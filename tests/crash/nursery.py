"""Starts agents by fork, with everything imported beforehand: a life begins in milliseconds instead of seconds.

`python -m tests.crash.nursery`: JSON lines in ({name, argv, environment, output}), JSON lines out ({name, pid}, then
{name, status} as `waitpid` has it). Each life is a session of its own that runs what the console scripts run.
Its end is the end of all.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import select
import signal
import sys
from typing import Any, NoReturn

import uvloop

import agents.cli.app
import agents.cli.create
import agents.composition
import agents.storage.kubo
from agents.cli import main
from agents.crypto import keys
from agents.crypto.keystore import LIGHT_SCRYPT
from agents.effects import compute
from bfl_events.cli import main as events_main
from tests.crash.witness import watch_if_asked

_PUPIL = (sys.executable, "-P", "-m", "tests.crash.pupil")
PROGRAMS = {"bfl-agent": main, "bfl-events": events_main}
__all__ = ["agents", "uvloop"]


def serve() -> None:
    woken, bell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(bell)
    names: dict[int, str] = {}
    pending = b""
    gc.freeze()
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _reap(names)
        if 0 in ready:
            data = os.read(0, 65536)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                wish = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    _live(wish)
                names[pid] = wish["name"]
                _say({"name": wish["name"], "pid": pid})


def _reap(names: dict[int, str]) -> None:
    while names:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        _say({"name": names.pop(pid), "status": os.waitstatus_to_exitcode(status)})


def _say(message: dict[str, Any]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


def _live(wish: dict[str, Any]) -> NoReturn:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)      # PR_SET_PDEATHSIG
    os.setsid()
    output = os.open(wish["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.closerange(3, 64)
    os.environ.update(wish["environment"])
    sys.argv = wish["argv"]
    compute.learning_command = lambda python=sys.executable: _PUPIL     # the children of these agents need no torch
    keys.save_encryption_key.__kwdefaults__["scrypt_n"] = LIGHT_SCRYPT    # and their keys need not last
    code = 1
    try:
        watch_if_asked(os.environ)
        PROGRAMS[sys.argv[0]]()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if isinstance(end.code, str):
            sys.stderr.write(end.code + "\n")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
