"""What an operator asks of an agent whose disk is full is refused with the reason, and can be asked again."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace
from typing import Any

import pytest

from agents.control import Operation, Refused
from agents.effects.ports import Transient
from agents.operations import Operator, handlers
from tests.core.tasks import TASK, account, task


class FullDisk:
    """Takes nothing, until there is `room`."""

    def __init__(self) -> None:
        self.room = False
        self.kept: list[str] = []

    def wish_to_leave(self, address: str) -> None:
        if not self.room:
            raise Transient("cannot write journal.sqlite: database or disk is full", part="disk")
        self.kept.append(address)

    def rotate(self) -> bytes:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.kept.append("key")
        return b"der" * 10


@pytest.mark.parametrize(
    ("operation", "what", "kept"),
    [
        (Operation.LEAVE, "The wish to leave was not noted.", TASK),
        (Operation.ROTATE, "The new key was not stored.", "key"),
    ],
)
async def test_a_full_disk_refuses_and_later_does_not(operation: Operation, what: str, kept: str) -> None:
    disk = FullDisk()
    daemon = SimpleNamespace(outlook=SimpleNamespace(world=SimpleNamespace(tasks={})))
    agent = SimpleNamespace(address=account(0), task=lambda _: task(), wish_to_leave=disk.wish_to_leave, daemon=daemon)
    parts: dict[str, Any] = dict.fromkeys(Operator.__slots__)
    operator = Operator(**parts | {"agent": agent, "keyring": disk, "shutdown": SimpleNamespace(asked=False)})
    with pytest.raises(Refused, match=rf"{what}.*(disk is full|No space left)"):
        await handlers(operator)[operation]({"task": TASK})
    assert disk.kept == []
    disk.room = True
    await handlers(operator)[operation]({"task": TASK})
    assert disk.kept == [kept]


async def test_a_key_that_could_be_announced_nowhere_yet_is_not_made() -> None:
    disk = FullDisk()
    disk.room = True
    agent = SimpleNamespace(address=account(0), daemon=SimpleNamespace(outlook=None))
    parts: dict[str, Any] = dict.fromkeys(Operator.__slots__)
    operator = Operator(**parts | {"agent": agent, "keyring": disk, "shutdown": SimpleNamespace(asked=False)})
    with pytest.raises(Refused, match="has not looked at the chain"):
        await handlers(operator)[Operation.ROTATE]({})
    assert disk.kept == []
