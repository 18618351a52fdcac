"""What goes wrong in this room, said so that a person can act on it. Owns the exception and its kinds;
decides nothing."""

import errno
from typing import Literal

Kind = Literal["task", "data", "model", "disk", "stopped", "internal"]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
_DISK = _FULL | {errno.EACCES, errno.EPERM, errno.ENOTDIR}


class Failure(Exception):
    """`message` says what happened and why, `do` what to do about it.

    Kinds: `task` the task's code or terms, `data` the operator's data, `model` bytes that are no model of
    this task, `disk` the file system, `stopped` nothing (the caller asked for the end), `internal` a mistake in this
    program or in its caller.
    """

    def __init__(self, kind: Kind, message: str, do: str) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        self.message = message
        self.do = do

    def as_json(self) -> dict[str, str]:
        return {"kind": self.kind, "message": self.message, "do": self.do}


def is_full(error: BaseException) -> bool:
    """Whether this is the disk's fault, whoever's code met it."""
    return isinstance(error, OSError) and error.errno in _FULL


def from_os_error(error: OSError) -> Failure:
    """A full or forbidden disk is the operator's to mend; a missing file is the caller's mistake."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in _DISK:
        return Failure(
            "disk",
            f"{error.strerror}{where}",
            "free or repair the disk; the work is repeated from the last file written",
        )
    return Failure(
        "internal",
        f"{error.strerror or error}{where}",
        "report this; the agent named a file that cannot be read",
    )
