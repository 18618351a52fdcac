"""Which role passes which boundaries, and so can be killed there. Every boundary has a place here; a test says so."""

from __future__ import annotations

from collections.abc import Iterable

from bfl_events.boundaries import Boundary

B = Boundary
AGENT = frozenset({     # whoever follows a chain, remembers and fetches
    B.LOG_CREATE, B.LOG_ANCHOR, B.LOG_APPEND, B.LOG_REWIND, B.JOURNAL_CREATE, B.JOURNAL_RECORD, B.OUTBOX_CREATE,
    B.OUTBOX_GENESIS, B.OUTBOX_ADD, B.TX_SIGN, B.TX_SEND, B.TX_LANDED, B.MODEL_ADOPT, B.BLOB_GET, B.BLOB_PIN,
    B.ENVELOPE_OPEN, B.HOME_STAMP,
})
CHILD = frozenset({B.CHILD_MODEL, B.CHILD_CHECKPOINT, B.CHILD_FORGET})
WORKER = AGENT | CHILD | {
    B.JOURNAL_FORGET, B.OUTBOX_VERSION, B.OUTBOX_ABANDON, B.OUTBOX_BURY, B.OUTBOX_REOPEN, B.MODEL_REMOVE,
    B.CHECKPOINTS_DROP, B.COMMON_ADOPT, B.KEY_WRITE, B.ENVELOPE_SEAL, B.BLOB_PUT, B.BLOB_UNPIN, B.BLOB_QUARANTINE,
    B.BLOB_SWEEP,
}
SENDING = frozenset({B.OUTBOX_GENESIS, B.OUTBOX_ADD, B.TX_SIGN, B.TX_SEND, B.TX_LANDED})
GIVING_UP = frozenset({B.OUTBOX_ABANDON, B.OUTBOX_VERSION, B.OUTBOX_BURY, B.OUTBOX_REOPEN})
BY_OTHER_WORKERS = frozenset({B.JOURNAL_FORGET, B.KEY_WRITE})        # than the first one, whose key is there already
BY_MISFORTUNE = GIVING_UP | {B.LOG_REWIND, B.JOURNAL_FORGET, B.BLOB_QUARANTINE, B.BLOB_SWEEP}
# What there is to pin on this machine, or to mark on a node, the requester has published itself.
REQUESTER = AGENT - {B.BLOB_PIN} | GIVING_UP | {B.RESULT_DELIVER, B.BLOB_SWEEP}
KUBO = frozenset({B.KUBO_ADD, B.KUBO_PIN, B.KUBO_MARK, B.KUBO_UNPIN, B.KUBO_UNMARK})     # with an IPFS node as store
KUBO_REQUESTER = frozenset({B.KUBO_PIN})
COMMANDS = {        # every step that a command passes which changes something; others read
    "init": frozenset({B.PRIVATE_WRITE, B.ACCOUNT_WRITE}),
    "keys rotate": frozenset({B.KEY_WRITE}),
    "contracts deploy": SENDING | {B.OUTBOX_CREATE, B.PRIVATE_WRITE, B.CONFIG_WRITE},
    "task create": SENDING | {
        B.OUTBOX_CREATE, B.LOG_CREATE, B.LOG_ANCHOR, B.LOG_APPEND, B.KEY_WRITE, B.STORE_STAMP, B.BLOB_PUT, B.BLOB_GET,
        B.BLOB_UNPIN, B.CHILD_MODEL, B.MODEL_ADOPT, B.PRIVATE_WRITE},
    "models get": frozenset({B.FINAL_WRITE}),
    "export": frozenset({B.LOG_EXPORT}),
    "task list": frozenset({B.VIEW_DROP}),
}
HOMES = frozenset({B.HOME_STAMP, B.STORE_STAMP, B.SALVAGE_MOVE})     # once, or only where something is damaged
OFTEN = frozenset({     # passed many times, for other reasons each time: worth a second kill later on
    B.LOG_APPEND, B.JOURNAL_RECORD, B.OUTBOX_ADD, B.TX_SEND, B.TX_LANDED, B.MODEL_ADOPT, B.BLOB_GET,
})


def both(steps: Iterable[Boundary], passing: int = 1) -> list[str]:
    """Failpoints before and after each step."""
    number = "" if passing == 1 else f":{passing}"
    return [f"{step}.{side}{number}" for step in sorted(steps) for side in ("before", "after")]
