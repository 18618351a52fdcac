"""A process that appends to a log, with rewinds, until it is killed. For the crash test only.

The content of every block follows from its number and the fork, so that any state can be checked without notes.
"""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

from bfl_events.codec import checksummed
from bfl_events.lineage import Ref
from bfl_events.log import EventLog, Identity
from bfl_events.schema import Burned, Record, Wei

IDENTITY = Identity(31337, checksummed(b"\xfa" * 20), 0)
TASK = checksummed(b"\x01" * 20)


def content(block: int) -> list[Record]:
    """Blocks hold 0 to 4 records."""
    return [Record(block, block.to_bytes(32, "big"), block, index, b"t" * 32, TASK, Burned(Wei(10 * block + index)))
            for index in range(block % 5)]


def write(path: Path) -> None:
    with EventLog(path, IDENTITY) as log:
        cursor = log.cursor()
        end = -1 if cursor is None else cursor.number
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        for step in count():
            first, end = end + 1, end + 1 + step % 3
            records = [one for block in range(first, end + 1) for one in content(block)]
            log.append(records, Ref(end, end.to_bytes(32, "big")))
            if step % 7 == 6:
                log.rewind(log.refs()[-3].number)
                after = log.cursor()
                assert after is not None
                end = after.number


if __name__ == "__main__":
    write(Path(sys.argv[1]))
