"""Sealing and opening an envelope of 6.65 MB for 3 recipients, against the bare work on the same bytes in one run.

    python -m tests.benchmarks.envelope

Bare work: AES-256-GCM encryption and decryption in memory, one SHA-256, and the file copied once for each direction.
Unlike the bare work, the envelope is also synced to disk, twice. Judged is the ratio of the medians: at most 3.
"""

import hashlib
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agents.crypto.envelope import Context, Kind, max_envelope_bytes, open_envelope, seal
from agents.crypto.keys import generate_encryption_key, key_id, public_der
from tests.benchmarks.limits import Figure, judge

PLAINTEXT_BYTES = 6_654_072  # the CNN of McMahan et al. as canonical weights
REPEATS = 15


def bare(content: bytes, source: Path, sealed: Path, opened: Path) -> None:
    cipher, nonce = AESGCM(bytes(32)), bytes(12)
    cipher.decrypt(nonce, cipher.encrypt(nonce, content, None), None)
    hashlib.sha256(content).digest()
    shutil.copyfile(source, sealed)
    shutil.copyfile(sealed, opened)


def timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> int:
    content = os.urandom(PLAINTEXT_BYTES)
    keys = [generate_encryption_key() for _ in range(3)]
    recipients = [(bytes([index]) * 20, public_der(key)) for index, key in enumerate(keys)]
    context = Context(31337, bytes(20), 1, 1, bytes(20), Kind.MODEL)
    mine = {key_id(recipients[1][1]): keys[1]}
    with tempfile.TemporaryDirectory() as scratch:
        source, sealed, opened = (Path(scratch, name) for name in ("source", "sealed", "opened"))
        source.write_bytes(content)

        def envelope() -> None:
            seal(source, sealed, context, recipients)
            open_envelope(
                sealed,
                opened,
                context,
                recipients[1][0],
                mine,
                expected_hash=digest,
                expected_length=PLAINTEXT_BYTES,
                max_bytes=max_envelope_bytes(PLAINTEXT_BYTES),
            )

        digest = hashlib.sha256(content).digest()
        pairs = [(timed(lambda: bare(content, source, sealed, opened)), timed(envelope)) for _ in range(REPEATS)]
    floor, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
    return judge(
        "envelope",
        [Figure("ratio", ours / floor, 3)],
        f"seal + open of {PLAINTEXT_BYTES} bytes for 3 recipients {ours * 1e3:.1f} ms, bare {floor * 1e3:.1f} ms",
    )


if __name__ == "__main__":
    raise SystemExit(main())
