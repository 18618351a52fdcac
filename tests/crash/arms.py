"""Who is killed at which steps, in which run: all that `make test` kills. `matrix.py` says who passes what.

Lists of failpoints. What is armed together is taken by one life after the other: each dies of what it comes to first.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.crash import matrix
from tests.crash.matrix import B, both
from tests.crash.play import Arms
from tests.crash.stage import KEYLESS, REQUESTER, WORKERS

# One whole task each
ON_THIS_MACHINE: Arms = {
    REQUESTER: both(matrix.REQUESTER - matrix.SENDING - matrix.GIVING_UP),
    WORKERS[0]: both(matrix.WORKER - matrix.CHILD - matrix.BY_OTHER_WORKERS),
    WORKERS[1]: [*both({B.JOURNAL_FORGET}), *both(matrix.OFTEN, passing=2)],
    KEYLESS: both(matrix.CHILD | {B.KEY_WRITE}),
}
TOWARDS_A_NODE: Arms = {
    REQUESTER: both(matrix.SENDING | matrix.GIVING_UP | matrix.KUBO_REQUESTER), WORKERS[0]: both(matrix.KUBO),
}

# Asked for a new key, by name; homes that are opened, by step
ROTATED: Arms = {
    REQUESTER: both({B.KEY_WRITE, B.TX_SEND}), KEYLESS: both({B.KEY_WRITE, B.TX_SIGN, B.OUTBOX_ADD, B.TX_SEND}),
}
OPENED = both(matrix.HOMES)

# Commands. Of a deployment's three transactions the first dies everywhere. A task is created three times: what is sent
# is found on the chain, so that only another comes to its landing once more.
_ONCE = {B.LOG_CREATE, B.LOG_ANCHOR, B.KEY_WRITE, B.OUTBOX_CREATE, B.STORE_STAMP}
DEPLOYED = [
    both(matrix.COMMANDS["contracts deploy"] - {B.TX_LANDED, B.CONFIG_WRITE}), both({B.TX_LANDED}),
    both({B.OUTBOX_ADD}), both({B.OUTBOX_ADD}), both({B.CONFIG_WRITE}),
]
CREATED = [
    both(_ONCE), both({B.BLOB_PUT}, passing=2),      # the first is a trial of the store
    both(matrix.COMMANDS["task create"] - _ONCE - {B.TX_LANDED}),
]
CREATED_AGAIN = [f"{B.TX_LANDED}.before:2", f"{B.TX_LANDED}.after:3"]      # after the landings of those before
COMMANDS: Arms = {
    "init": [*both({B.PRIVATE_WRITE, B.ACCOUNT_WRITE}), *both({B.PRIVATE_WRITE}, passing=2)],
    "contracts deploy": sum(DEPLOYED, []),
    "task create": sum(CREATED, CREATED_AGAIN),
    **{name: both(matrix.COMMANDS[name]) for name in ("keys rotate", "models get", "export", "task list")},
}


def name(failpoint: str) -> str:
    """Without the number of the passing."""
    return failpoint.partition(":")[0]


def of_agents() -> Iterator[str]:
    """All that a whole task is played with, also by `make chaos`."""
    for run in (ON_THIS_MACHINE, TOWARDS_A_NODE):
        for armed in run.values():
            yield from armed


def of_all() -> Iterator[str]:
    yield from of_agents()
    for armed in (OPENED, *ROTATED.values(), *COMMANDS.values()):
        yield from armed
