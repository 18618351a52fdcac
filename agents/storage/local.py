"""The embedded store: a directory that several agents on one machine may share. Owns its layout; fetches nothing.

`pins/<owner>/<cid>` is the blob itself, one hard link for each owner: a pin is a link, and the file system frees the
bytes with the last one. Every change is one atomic step, so there are no locks and nothing to recover after a kill.
"""

import asyncio
import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Final, TypeVar

from agents.storage.cid import UnixFsHasher, chunks, parse, to_text
from agents.storage.download import Download
from agents.storage.format import refuse_newer, stamp_store
from agents.storage.partfile import PartFile, disk_errors, sweep
from agents.storage.store import (
    PROBE_BYTES,
    BlobCorrupt,
    BlobMissing,
    StorageError,
    StoreUnavailable,
    check_owner,
    probe_content,
)
from bfl_events.boundaries import Boundary, passing
from bfl_events.durable import sync_directory

_NO_HARD_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)
_T = TypeVar("_T")


class _Abandoned(Exception):
    """The caller no longer waits: the thread cleans up and ends."""


class LocalStore:
    """A BlobStore in a directory. A blob that nobody has put is missing at once: callers decide when to look again.

    `owner` says whose pins are touched; `deadline` is in seconds for each call. Nothing is touched before the first.
    """

    def __init__(self, directory: Path, *, owner: str, deadline: float) -> None:
        self._directory = directory
        self._pins = directory / "pins"
        self._mine = self._pins / check_owner(owner)
        self._parts = directory / "parts"
        self._quarantine = directory / "quarantine"
        self._deadline = deadline
        self._ready = False

    async def put(self, path: Path) -> bytes:
        return await self._off_loop(lambda stop: self._put(path, stop))

    async def get(self, cid: bytes, out: Path, *, max_bytes: int) -> int:
        parse(cid)
        return await self._off_loop(lambda stop: self._get(cid, out, max_bytes, stop))

    async def pin(self, cid: bytes) -> None:
        name = to_text(cid)
        await self._off_loop(lambda _: self._pin(name))

    async def unpin(self, cid: bytes) -> None:
        name = to_text(cid)
        await self._off_loop(lambda _: self._unpin(name))

    async def has(self, cid: bytes) -> bool:
        name = to_text(cid)
        return await self._off_loop(lambda _: self._has(name))

    async def provide(self, cid: bytes) -> None:
        """Who looks into the directory sees it already."""

    async def probe(self) -> str:
        return await self._off_loop(self._probe)

    async def close(self) -> None:
        """Nothing is held open between calls."""

    async def _off_loop(self, work: Callable[[Event], _T]) -> _T:
        """Run blocking work in a thread; after deadline or cancellation it ends by itself at the next chunk."""
        stop = Event()
        try:
            async with asyncio.timeout(self._deadline):
                return await asyncio.to_thread(self._prepared, work, stop)
        except TimeoutError as error:
            raise StoreUnavailable(f"the store {self._directory} took longer than {self._deadline:g} s") from error
        finally:
            stop.set()

    def _prepared(self, work: Callable[[Event], _T], stop: Event) -> _T:
        if not self._ready:
            refuse_newer(self._directory)
            with disk_errors(f"opening the store {self._directory}"):
                for directory in (self._mine, self._parts, self._quarantine):
                    directory.mkdir(parents=True, exist_ok=True)
                sweep(self._parts)
                stamp_store(self._directory)
            self._ready = True
        return work(stop)

    def _put(self, path: Path, stop: Event) -> bytes:
        doing = f"writing to the store {self._directory}"
        hasher = UnixFsHasher()
        with disk_errors(doing):
            part = PartFile(self._parts)
        try:
            for chunk in _until(stop, chunks(path)):
                hasher.update(chunk)
                with disk_errors(doing):
                    part.write(chunk)
            cid = hasher.cid()
            with disk_errors(doing):
                part.commit(self._mine / to_text(cid), Boundary.BLOB_PUT)
        finally:
            part.discard()
        return cid

    def _get(self, cid: bytes, out: Path, max_bytes: int, stop: Event) -> int:
        """Try every owner's copy. A bad one is set aside, and the next good one takes the place of my bad one."""
        name = to_text(cid)
        failure: StorageError = BlobMissing(f"{name} is not in the store {self._directory}")
        with disk_errors(f"reading from the store {self._directory}"):
            mine_was_there = (self._mine / name).exists()
            for copy in self._copies(name):
                try:
                    size = _deliver(copy, Download(cid, out, max_bytes), stop)
                except FileNotFoundError:  # its owner unpinned it meanwhile
                    continue
                except BlobCorrupt as error:
                    failure = error
                    with passing(Boundary.BLOB_QUARANTINE):
                        copy.replace(self._quarantine / f"{name}.{copy.parent.name}.{secrets.token_hex(4)}")
                    continue
                if mine_was_there:
                    self._pin(name)
                return size
        raise failure

    def _copies(self, name: str) -> Iterator[Path]:
        """Mine first: it is the one I answer for."""
        others = sorted(path for path in self._pins.iterdir() if path != self._mine)
        for path in (self._mine, *others):
            if (path / name).exists():
                yield path / name

    def _has(self, name: str) -> bool:
        with disk_errors(f"reading from the store {self._directory}"):
            return any(self._copies(name))

    def _pin(self, name: str) -> None:
        with disk_errors(f"pinning in the store {self._directory}"):
            for copy in self._copies(name):
                try:
                    self._link(copy, self._mine / name)
                except FileNotFoundError:  # its owner unpinned it meanwhile
                    continue
                return
        raise BlobMissing(f"{name} is not in the store {self._directory}")

    def _link(self, copy: Path, pin: Path) -> None:
        if copy == pin:
            return
        try:
            with passing(Boundary.BLOB_PIN):
                os.link(copy, pin)
                sync_directory(self._mine)
        except FileExistsError:
            return
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            self._duplicate(copy, pin)

    def _duplicate(self, copy: Path, pin: Path) -> None:
        part = PartFile(self._parts)
        try:
            for chunk in chunks(copy):
                part.write(chunk)
            part.commit(pin, Boundary.BLOB_PIN)
        finally:
            part.discard()

    def _unpin(self, name: str) -> None:
        with disk_errors(f"unpinning in the store {self._directory}"), passing(Boundary.BLOB_UNPIN):
            (self._mine / name).unlink(missing_ok=True)
            sync_directory(self._mine)

    def _probe(self, stop: Event) -> str:
        with disk_errors(f"probing the store {self._directory}"), tempfile.TemporaryDirectory() as scratch:
            source, back = Path(scratch, "source"), Path(scratch, "back")
            source.write_bytes(probe_content(self._mine.name))
            cid = self._put(source, stop)
            try:
                self._get(cid, back, PROBE_BYTES, stop)
            finally:
                self._unpin(to_text(cid))
            pinned = sum(1 for _ in self._mine.iterdir())
            free = shutil.disk_usage(self._directory).free / 2**30
        return f"embedded store {self._directory}: {pinned} blobs pinned by {self._mine.name}, {free:.1f} GiB free"


def _deliver(copy: Path, download: Download, stop: Event) -> int:
    try:
        download.expect(copy.stat().st_size)
        for chunk in _until(stop, chunks(copy)):
            download.write(chunk)
        return download.finish()
    finally:
        download.discard()


def _until(stop: Event, stream: Iterator[bytes]) -> Iterator[bytes]:
    for chunk in stream:
        if stop.is_set():
            raise _Abandoned
        yield chunk
