"""Models in and out: fetch, verify and open a peer's envelope; seal and publish one's own.

Bytes that come in are hostile until their hash equals the chain's; what they mean is judged in the learning child.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from agents.core.intents import FetchModel, ModelReady, Published, Refused
from agents.crypto.envelope import Context, EnvelopeError, max_envelope_bytes, open_envelope, seal
from agents.effects.model_files import ModelFiles, digest_of
from agents.effects.ports import Blobs, Source, Transient
from agents.effects.scratch import Scratch
from agents.effects.seals import raw_address
from agents.storage.cid import cid_of_file
from agents.storage.store import BlobCorrupt, BlobMissing, BlobTooLarge, InvalidCid, StorageError, StoreFull
from bfl_events.schema import Address

Recipients = tuple[tuple[Address, bytes], ...]
Remember = Callable[[Published], None]


class Exchange:
    """One agent's side of the exchange. `keys()` gives its private keys by key id, old ones included."""

    def __init__(
        self, blobs: Blobs, files: ModelFiles, keys: Callable[[], Mapping[bytes, RSAPrivateKey]], work: Path,
        *, chain_id: int, account: Address, routes: Sequence[Source] = (),
    ) -> None:
        self._blobs, self._files, self._keys, self._scratch = blobs, files, keys, Scratch(work)
        self._chain_id, self._account, self._routes = chain_id, account, routes
        work.mkdir(parents=True, exist_ok=True)
        self._scratch.sweep()

    async def fetch(self, wanted: FetchModel, model_bytes: int) -> ModelReady | Refused:
        """V1 to V3 of PROTOCOL 3.4. `model_bytes`: length of the task's models. Refused lasts; raises Transient."""
        if wanted.model_hash in self._files.held():
            return ModelReady(wanted.model_hash)
        largest = max_envelope_bytes(model_bytes)
        if wanted.size > largest:
            return Refused(f"the envelope is announced with {wanted.size} bytes; at most {largest} are possible (V1)")
        with self._scratch.folder() as folder:
            envelope, model = folder / "envelope", folder / "model"
            try:
                size = await self._get(wanted.cid, envelope, wanted.size or largest)
                if wanted.size and size != wanted.size:
                    return Refused(f"the envelope has {size} bytes, not the {wanted.size} announced (V1)")
                context = self._context(wanted.task, wanted.round, wanted.attempt, wanted.sender, wanted.kind)
                await asyncio.to_thread(
                    open_envelope, envelope, model, context, raw_address(self._account), self._keys(),
                    expected_hash=wanted.model_hash, expected_length=model_bytes, max_bytes=largest,
                )
                self._files.adopt(model, wanted.model_hash)
            except EnvelopeError as error:
                return Refused(f"{error} (V2, V3)")
            except (BlobTooLarge, InvalidCid) as error:
                return Refused(f"{error} (V1)")
        return ModelReady(wanted.model_hash)

    async def publish(
        self, task: Address, round: int, attempt: int, kind: int, model_hash: bytes, recipients: Recipients,
        remember: Remember,
    ) -> Published:
        """Seal, pin, and read back before anybody is told. Raises Transient; EnvelopeError if nobody could open it.

        No two envelopes are alike, so `remember` hears of this one before the store does: a life that follows a kill
        asks `published` for it, instead of leaving it pinned for ever.
        """
        context, source = self._context(task, round, attempt, self._account, kind), self._files.path(model_hash)
        if await asyncio.to_thread(digest_of, source) != model_hash:      # what is opened and does not fit is slashed
            self._files.set_aside(model_hash)
            raise Transient(f"the file of model {model_hash.hex()} was damaged; it was moved aside and is made again")
        with self._scratch.folder() as folder:
            envelope, copy = folder / "envelope", folder / "copy"
            size = await asyncio.to_thread(
                seal, source, envelope, context, [(raw_address(a), key) for a, key in recipients]
            )
            sealed = Published(await asyncio.to_thread(cid_of_file, envelope), size)
            remember(sealed)
            await self._put(envelope)
            await self._get(sealed.cid, copy, size)
        return sealed

    async def published(self, sealed: Published) -> bool:
        """Whether this envelope lies in the store, whole, and is pinned now. Raises Transient."""
        with self._scratch.folder() as folder:
            try:
                if not await self._blobs.has(sealed.cid):    # some stores search long for what nobody has
                    return False
                await self._blobs.get(sealed.cid, folder / "copy", max_bytes=sealed.size)
                await self._blobs.pin(sealed.cid)
            except (BlobMissing, BlobCorrupt):
                return False
            except StorageError as error:
                raise _trouble(error) from error
        return True

    async def confirm(self, published: Published) -> None:
        """Read an envelope through every route, as others would have to, so that a publisher that is cut off learns it
        before it has promised anything (PROTOCOL 1, T17b). Raises Transient, after it was provided once more."""
        for route in self._routes:
            with self._scratch.folder() as folder:
                try:
                    await route.get(published.cid, folder / "copy", max_bytes=published.size)
                except StoreFull as error:               # here, not there
                    raise _trouble(error) from error
                except StorageError as error:
                    raise Transient(
                        "the sealed model is in the own store, but cannot be read by another route: "
                        f"{error}. It is not opened on chain before that works. {await self._provided(published.cid)}",
                        part="read-back",
                    ) from error

    async def _provided(self, cid: bytes) -> str:
        try:
            await self._blobs.provide(cid)
        except StorageError as error:
            return f"It could not be provided again either: {error}"
        return "It was provided again"

    async def read_public(self, cid: bytes, sha256: bytes, max_bytes: int) -> Path | Refused:
        """Public bytes (specification, initial model, validation set) to a scratch file that the caller removes."""
        with self._scratch.folder() as folder:
            out = folder / "blob"
            try:
                size = await self._get(cid, out, max_bytes)
            except (BlobTooLarge, InvalidCid) as error:
                return Refused(str(error))
            if await asyncio.to_thread(digest_of, out) == sha256:
                return out.replace(self._scratch.file())
        return Refused(f"the {size} bytes at its CID do not have the hash on chain, {sha256.hex()}")

    async def keep(self, *cids: bytes) -> None:
        """Pin what was read here too: every member keeps it available for the others (PROTOCOL 8)."""
        try:
            for cid in cids:
                await self._blobs.pin(cid)
        except StorageError as error:
            raise _trouble(error) from error

    async def forget(self, cids: tuple[bytes, ...], models: tuple[bytes, ...]) -> None:
        """Unpin blobs and delete model files."""
        for cid in cids:
            try:
                await self._blobs.unpin(cid)
            except StorageError as error:
                raise _trouble(error) from error
        for model_hash in models:
            self._files.remove(model_hash)

    def _context(self, task: Address, round: int, attempt: int, sender: Address, kind: int) -> Context:
        return Context(self._chain_id, raw_address(task), round, attempt, raw_address(sender), kind)

    async def _get(self, cid: bytes, out: Path, max_bytes: int) -> int:
        try:
            return await self._blobs.get(cid, out, max_bytes=max_bytes)
        except (BlobTooLarge, InvalidCid):
            raise
        except StorageError as error:
            raise _trouble(error) from error

    async def _put(self, path: Path) -> bytes:
        try:
            return await self._blobs.put(path)
        except StorageError as error:
            raise _trouble(error) from error


def _trouble(error: StorageError) -> Transient:
    """A blob that is not there yet is nobody's fault; a store that does not answer is worth an operator's look."""
    match error:
        case BlobMissing() | BlobCorrupt():
            return Transient(str(error))
        case StoreFull():
            return Transient(str(error), part="disk")
        case _:
            return Transient(str(error), part="store")
