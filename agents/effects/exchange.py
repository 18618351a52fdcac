"""Models in and out: fetch, verify and open a peer's envelope; seal and publish one's own.

Bytes that come in are hostile until their hash equals the chain's; what they mean is judged in the learning child.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from agents.core.intents import FetchModel, ModelReady, Published, Refused
from agents.crypto.envelope import Context, EnvelopeError, max_envelope_bytes, open_envelope, seal
from agents.effects.model_files import ModelFiles, digest_of
from agents.effects.ports import Blobs, Source, Transient
from agents.effects.seals import raw_address
from agents.storage.store import BlobCorrupt, BlobMissing, BlobTooLarge, InvalidCid, StorageError, StoreFull
from bfl_events.schema import Address

OPENED = 0            # the kind of envelope that openModel names
Recipients = tuple[tuple[Address, bytes], ...]


class Exchange:
    """One agent's side of the exchange. `keys()` gives its private keys by key id, old ones included.

    `routes`: other ways to the same content. A model is not published before it was read through each of them.
    """

    def __init__(
        self, blobs: Blobs, files: ModelFiles, keys: Callable[[], Mapping[bytes, RSAPrivateKey]], work: Path,
        *, chain_id: int, account: Address, routes: Sequence[Source] = (),
    ) -> None:
        self._blobs, self._files, self._keys, self._work = blobs, files, keys, work
        self._chain_id, self._account, self._routes = chain_id, account, routes
        self._unseen: tuple[object, Published] | None = None
        work.mkdir(parents=True, exist_ok=True)
        for leftover in work.iterdir():
            leftover.unlink()

    async def fetch(self, wanted: FetchModel, model_bytes: int) -> ModelReady | Refused:
        """V1 to V3 of PROTOCOL 3.4. `model_bytes`: length of the task's models. Refused lasts; raises Transient."""
        if wanted.model_hash in self._files.held():
            return ModelReady(wanted.model_hash)
        largest = max_envelope_bytes(model_bytes)
        if wanted.size > largest:
            return Refused(f"the envelope is announced with {wanted.size} bytes; at most {largest} are possible (V1)")
        envelope, model = self._scratch(), self._scratch()
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
        finally:
            envelope.unlink(missing_ok=True)
            model.unlink(missing_ok=True)
        return ModelReady(wanted.model_hash)

    async def publish(
        self, task: Address, round: int, attempt: int, kind: int, model_hash: bytes, recipients: Recipients
    ) -> Published:
        """Seal, pin, and read back before anybody is told. Raises Transient; EnvelopeError if nobody could open it.

        What is opened on chain (kind 0) is read back through every route, so that a publisher that is cut off learns it
        before it has promised anything (PROTOCOL 1, T17b). Another try is with the same envelope: it may be on its way.
        """
        context = self._context(task, round, attempt, self._account, kind)
        sealing = (context, model_hash, recipients)
        if self._unseen is not None and self._unseen[0] == sealing:
            published = self._unseen[1]
        else:
            published = await self._seal(context, model_hash, recipients)
        if kind == OPENED and self._routes:
            self._unseen = (sealing, published)
            for route in self._routes:
                await self._see(route, published)
            self._unseen = None
        return published

    async def _seal(self, context: Context, model_hash: bytes, recipients: Recipients) -> Published:
        source = self._files.path(model_hash)
        if await asyncio.to_thread(digest_of, source) != model_hash:      # what is opened and does not fit is slashed
            self._files.set_aside(model_hash)
            raise Transient(f"the file of model {model_hash.hex()} was damaged; it was moved aside and is made again")
        envelope, copy = self._scratch(), self._scratch()
        try:
            size = await asyncio.to_thread(
                seal, source, envelope, context, [(raw_address(a), key) for a, key in recipients]
            )
            cid = await self._put(envelope)
            await self._get(cid, copy, size)
        finally:
            envelope.unlink(missing_ok=True)
            copy.unlink(missing_ok=True)
        return Published(cid, size)

    async def _see(self, route: Source, published: Published) -> None:
        """Read the envelope as others would have to. Raises Transient, after it was provided once more."""
        copy = self._scratch()
        try:
            await route.get(published.cid, copy, max_bytes=published.size)
        except StorageError as error:
            raise Transient(
                f"the sealed model is in the own store, but cannot be read by another route: {error}. It is not opened "
                f"on chain before that works. {await self._provided(published.cid)}", part="read-back"
            ) from error
        finally:
            copy.unlink(missing_ok=True)

    async def _provided(self, cid: bytes) -> str:
        try:
            await self._blobs.provide(cid)
        except StorageError as error:
            return f"It could not be provided again either: {error}"
        return "It was provided again"

    async def read_public(self, cid: bytes, sha256: bytes, max_bytes: int) -> Path | Refused:
        """Public bytes (specification, initial model, validation set) to a scratch file that the caller removes.

        What has the right hash is pinned here too: every member keeps it available for the others (PROTOCOL 8).
        """
        out = self._scratch()
        try:
            size = await self._get(cid, out, max_bytes)
        except (BlobTooLarge, InvalidCid) as error:
            return Refused(str(error))
        if await asyncio.to_thread(digest_of, out) == sha256:
            await self._pin(cid)
            return out
        out.unlink()
        return Refused(f"the {size} bytes at its CID do not have the hash on chain, {sha256.hex()}")

    async def forget(self, cids: tuple[bytes, ...], models: tuple[bytes, ...]) -> None:
        """Unpin blobs and delete model files."""
        for cid in cids:
            try:
                await self._blobs.unpin(cid)
            except StorageError as error:
                raise _trouble(error) from error
        for model_hash in models:
            self._files.remove(model_hash)

    def _scratch(self) -> Path:
        return self._work / uuid4().hex

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

    async def _pin(self, cid: bytes) -> None:
        try:
            await self._blobs.pin(cid)
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
