"""Whether the store still holds what the journal says was put there; and putting back what can be put back.

Owns the comparison at a start. Must not wait for a store that does not answer: it is asked again at the next start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from agents.core.intents import Done, Published, TermsReady
from agents.effects.journal import Journal
from agents.effects.model_files import ModelFiles
from agents.effects.ports import Transient
from agents.effects.scratch import Scratch
from agents.storage.cid import cid_of_file
from agents.storage.store import StorageError

PATIENCE_S = 2.0
LARGEST_HASHED = 64 * 1024**2      # public files above are only looked for when something else is gone


class Holdings(Protocol):
    """What of `agents.storage.store.BlobStore` is asked here."""

    async def has(self, cid: bytes) -> bool: ...
    async def put(self, path: Path) -> bytes: ...


async def take_stock(journal: Journal, files: ModelFiles, store: Holdings, scratch: Scratch) -> tuple[int, int]:
    """(envelopes that are gone, public blobs that were put back).

    A journalled envelope that is gone is forgotten, so that one that is still due is sealed and published again; one
    whose address stands on the chain stays lost, and peers who lack its model ask for it. Specifications and initial
    models are put back from the journal and the model folder: the same bytes have the same CID.
    """
    gone = restored = 0
    with suppress(OSError, StorageError, Transient):     # a full disk too: whoever needs it next says so
        async with asyncio.timeout(PATIENCE_S):
            for key, published in _envelopes(journal):
                if not await store.has(published.cid):
                    journal.forget(key)
                    gone += 1
            with scratch.folder() as folder:
                for source in _public(journal, files, folder / "document"):
                    if not gone and source.stat().st_size > LARGEST_HASHED:
                        continue
                    if not await store.has(await asyncio.to_thread(cid_of_file, source)):
                        await store.put(source)
                        restored += 1
    return gone, restored


def _envelopes(journal: Journal) -> list[tuple[str, Published]]:
    """What was published in rounds that are not cleared, by the key of the intent that did it."""
    outcomes = journal.outcomes()
    return [(key, one) for key, one in outcomes.items() if isinstance(one, Published)
            and (place := _place(key)) is not None and not isinstance(outcomes.get(":".join(("clear", *place))), Done)]


def _place(key: str) -> tuple[str, str] | None:
    """(task, round) of a publishing intent's key; None for a note of what was only about to be published."""
    match key.split(":"):
        case ["publish", task, round, *_] | ["copy", task, _, round, *_]:
            return task, round
        case _:
            return None


def _public(journal: Journal, files: ModelFiles, scratch: Path) -> Iterator[Path]:
    for key, outcome in journal.outcomes().items():
        if isinstance(outcome, TermsReady):
            scratch.write_bytes(outcome.document.encode())
            yield scratch
            model = files.path(bytes.fromhex(key.split(":")[3]))
            if model.exists():
                yield model
