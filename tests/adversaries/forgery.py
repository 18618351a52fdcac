"""Bytes that a hostile member publishes in place of a model, each with what an honest agent must say of it.

Owns the forgeries and the words expected for them. Knows the task's model (`tests.crash.workbench`), sends nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agents.crypto import envelope as fle1
from agents.crypto.envelope import Context
from agents.crypto.envelope_header import Header
from agents.crypto.keys import generate_encryption_key, public_der
from agents.learning import weights
from tests.crash.workbench import CLASSES, FEATURES, Weights
from tests.system.recompute import floats

Readers = Sequence[tuple[bytes, bytes]]        # address, DER key
NOBODY = public_der(generate_encryption_key())


@dataclass(frozen=True)
class Mail:
    """What an honest member would seal: for whom, and bound to what."""

    context: Context
    readers: Readers


@dataclass(frozen=True)
class Opening:
    """What `openModel` says besides the model's hash, and the envelope that lies in the store."""

    envelope: bytes
    size: int
    cid: bytes | None = None


Make = Callable[[bytes], bytes]
Seal = Callable[[bytes, Mail], Opening]


@dataclass(frozen=True)
class Forgery:
    """`model` makes the plaintext that is committed from the round's base; `seal` what is opened. `reason`: what every
    honest agent must say of it."""

    name: str
    reason: str
    seal: Seal
    model: Make


def written(arrays: Weights) -> bytes:
    """Canonical bytes."""
    with TemporaryDirectory() as folder:
        weights.write_arrays(Path(folder, "model"), arrays)
        return Path(folder, "model").read_bytes()


def stepped(base: bytes) -> bytes:
    """A sound model: a small step from the base."""
    head, values = floats(base)
    moved = values + np.random.default_rng(list(os.urandom(8))).normal(0, 0.05, len(values))
    return base[:head] + moved.astype("<f4").tobytes()


def with_value(value: float) -> Make:
    def make(base: bytes) -> bytes:
        return base[:-4] + np.float32(value).tobytes()

    return make


def sealed(model: bytes, mail: Mail) -> bytes:
    with TemporaryDirectory() as folder:
        source, target = Path(folder, "model"), Path(folder, "envelope")
        source.write_bytes(model)
        fle1.seal(source, target, mail.context, mail.readers)
        return target.read_bytes()


def honest(model: bytes, mail: Mail) -> Opening:
    return told(sealed(model, mail))


def told(envelope: bytes) -> Opening:
    return Opening(envelope, len(envelope))


# ---- envelopes ------------------------------------------------------------------------------------------------------


def torn(change: Make) -> Seal:
    """A sound envelope whose bytes were changed afterwards."""
    return lambda model, mail: told(change(sealed(model, mail)))


def misaddressed(change: Callable[[Mail], Mail]) -> Seal:
    """Whole, but sealed for others or for another place."""
    return lambda model, mail: told(sealed(model, change(mail)))


def misannounced(bytes_more: int) -> Seal:
    """Whole; the chain is told of another size."""
    def seal(model: bytes, mail: Mail) -> Opening:
        opening = honest(model, mail)
        return replace(opening, size=opening.size + bytes_more)

    return seal


def _elsewhere(mail: Mail) -> Mail:
    """Of the round before: a replay."""
    return replace(mail, context=replace(mail.context, attempt=mail.context.attempt - 1))


def _for_strangers(mail: Mail) -> Mail:
    return replace(mail, readers=[(b"\x11" * 20, NOBODY)])


def _for_unknown_keys(mail: Mail) -> Mail:
    return replace(mail, readers=[(address, NOBODY) for address, _ in mail.readers])


def _last_bit_flipped(envelope: bytes) -> bytes:
    return envelope[:-1] + bytes([envelope[-1] ^ 1])


def without_cid(model: bytes, mail: Mail) -> Opening:
    return replace(honest(model, mail), cid=b"\xff" * 36)


def two_content_keys(victims: Callable[[bytes], bool]) -> Seal:
    """Two plaintexts in one envelope: the victims' stanzas wrap another content key than the one that the payload and
    the header's MAC were made with. Without key commitment they would decrypt other bytes than the rest (PROTOCOL 6).
    """
    def seal(model: bytes, mail: Mail) -> Opening:
        ctx, prefix = mail.context.encoded(), os.urandom(7)
        right, wrong = os.urandom(32), os.urandom(32)
        stanzas = tuple(stanza for reader in sorted(mail.readers)
                        for stanza in fle1._wrapped(wrong if victims(reader[0]) else right, ctx, [reader]))
        front = fle1._front(Header(mail.context, len(model), prefix, stanzas).encoded())
        keys = fle1._derive(right, ctx)
        front += hmac.digest(keys.header, front, "sha256")
        ((nonce, _),) = fle1._chunks(len(model), prefix)
        return told(front + AESGCM(keys.payload).encrypt(nonce, model, hashlib.sha256(front).digest()))

    return seal


def another_model(model: bytes, mail: Mail) -> Opening:
    return honest(stepped(model), mail)


ENVELOPES = (
    Forgery("truncated", "truncated: the file has", torn(lambda e: e[:-1]), stepped),
    Forgery("trailing bytes", "trailing bytes: the file has", torn(lambda e: e + b"\0"), stepped),
    Forgery("another context", ", attempt 0, sender 0x", misaddressed(_elsewhere), stepped),
    Forgery("other recipients", "not a recipient: 0x", misaddressed(_for_strangers), stepped),
    Forgery("two plaintexts", "header tampered: the header's MAC does not belong to this content key",
            two_content_keys(lambda _: True), stepped),
    Forgery("another model than committed", "wrong hash: the plaintext's SHA-256 is", another_model, stepped),
    Forgery("random bytes", "malformed: starts with", lambda *_: told(os.urandom(1200)), stepped),
    Forgery("an envelope too large to be one", "the envelope is announced with 10000", misannounced(10**9), stepped),
    Forgery("unknown keys", "unknown key: sealed for the key", misaddressed(_for_unknown_keys), stepped),
    Forgery("a flipped bit", "chunk failed: the chunk with nonce", torn(_last_bit_flipped), stepped),
    Forgery("longer than announced", "bytes allowed (V1)", misannounced(-1), stepped),
    Forgery("no CID", "not a CIDv1 of SHA-256 with codec raw or dag-pb: it starts with", without_cid, stepped),
)


# ---- models, in sound envelopes -------------------------------------------------------------------------------------


class Bomb:
    """Whoever unpickles it is killed by it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.abort, ()


def _pickle(base: bytes) -> bytes:
    return pickle.dumps(Bomb())


def _pickle_of_the_right_length(base: bytes) -> bytes:
    return _pickle(base).ljust(len(base), b"\0")


def _other_shapes(base: bytes) -> bytes:
    return written({"w": np.zeros((FEATURES, CLASSES), np.float32), "b": np.zeros(CLASSES, np.float32)})


def _other_types(base: bytes) -> bytes:
    return base.replace(b"F32", b"I32")


MODELS = (
    Forgery("a pickle of the right length", "V4: the header is not that of this task's models", honest,
            _pickle_of_the_right_length),
    Forgery("other shapes", "V4: the header is not that of this task's models", honest, _other_shapes),
    Forgery("NaN", "V4: w holds a value that is not finite", honest, with_value(np.nan)),
    Forgery("a step beyond all measure", "V5: its step has norm", honest, with_value(1e30)),
    Forgery("other types", "V4: the header is not that of this task's models", honest, _other_types),
    Forgery("a pickle", "wrong length: holds", honest, _pickle),
    Forgery("an oversized model", "wrong length: holds", honest, lambda base: base + bytes(200_000)),
    Forgery("bytes behind the model", "wrong length: holds", honest, lambda base: base + b"\0"),
)

