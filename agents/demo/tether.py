"""Ties a process to its parent, then becomes another program: `tether.py PARENT_PID PROGRAM ARGUMENT…`.

The kernel kills it when the parent dies, even by `kill -9`. Runs as a file of its own, with the standard library alone:
nothing may happen between fork and exec in a process that has threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, program = int(sys.argv[1]), sys.argv[2]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:      # it died before the tie was made
        os.kill(os.getpid(), signal.SIGKILL)
    os.execv(program, sys.argv[2:])


if __name__ == "__main__":
    main()
