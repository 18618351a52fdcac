"""PROTOCOL 5 and 6 once more, in a few lines of numpy, from the blobs, the agents' keys and the event log alone.

Shares no code with the agents' own sealing, reading and averaging.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cbor2
import numpy as np
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from bfl_events.schema import ModelSubmitted


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def open_envelope(file: bytes, address: bytes, keys: Mapping[bytes, RSAPrivateKey]) -> bytes:
    """The plaintext that `address` can read with its keys (by SHA-256 of the public key)."""
    assert file[:6] == b"FLE1\x01\x01"
    end = 10 + int.from_bytes(file[6:10], "big")
    context, length, chunk, prefix, recipients = cbor2.loads(file[10:end])
    ctx = cbor2.dumps(context, canonical=True)
    (key_id, wrapped), = [(key_id, wrapped) for account, key_id, wrapped in recipients if account == address]
    label = sha256(b"FLE1 wrap" + ctx + address + key_id)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label)
    cek = keys[key_id].decrypt(wrapped, oaep)
    extract = hmac.HMAC(sha256(ctx), hashes.SHA256())
    extract.update(cek)
    secret = extract.finalize()
    header_key = HKDFExpand(hashes.SHA256(), 32, b"FLE1 hdr").derive(secret)
    payload_key = HKDFExpand(hashes.SHA256(), 32, b"FLE1 pay").derive(secret)
    mac = hmac.HMAC(header_key, hashes.SHA256())
    mac.update(file[:end])
    mac.verify(file[end:end + 32])
    aad, at, plain = sha256(file[:end + 32]), end + 32, b""
    for number in range(count := max(1, -(-length // chunk))):
        size = min(chunk, length - number * chunk) + 16
        nonce = prefix + number.to_bytes(4, "big") + (b"\x01" if number == count - 1 else b"\x00")
        plain += AESGCM(payload_key).decrypt(nonce, file[at:at + size], aad)
        at += size
    assert at == len(file)
    return plain


def fold(v: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    while len(v) > 1:
        v = np.append(v, 0.0) if len(v) % 2 else v
        v = v[:len(v) // 2] + v[len(v) // 2:]
    return v


def floats(model: bytes) -> tuple[int, np.ndarray[Any, Any]]:
    """Where the float32 data begins, and all of it in the order of names (canonical files hold nothing else here)."""
    head = 8 + int.from_bytes(model[:8], "little")
    header: dict[str, Any] = json.loads(model[8:head])
    assert all(entry["dtype"] == "F32" for entry in header.values())
    assert list(header) == sorted(header)
    return head, np.frombuffer(model[head:], "<f4")


def clipped_mean(base: bytes, models: list[bytes]) -> bytes:
    """The next global model's bytes, from the accepted models in ascending index."""
    head, weights = floats(base)
    g = weights.astype(np.float64)
    steps = [floats(model)[1].astype(np.float64) - g for model in models]
    squares = [[fold(c * c)[0] for c in np.split(step, range(2**20, len(step), 2**20))] for step in steps]
    norms = [np.sqrt(fold(np.array(parts))[0]) for parts in squares]
    tau = 2 * sorted(norms)[(len(norms) - 1) // 2]
    acc = np.zeros_like(g)
    for step, norm in zip(steps, norms, strict=True):
        acc = acc + (step if norm <= tau else step * (tau / norm))
    return base[:head] + (g + acc / np.float64(len(models))).astype("<f4").tobytes() if models else base


def blob(store: Path, cid: bytes) -> bytes:
    """A blob of the embedded store, where every pin is the file itself."""
    name = "b" + base64.b32encode(cid).decode().lower().rstrip("=")
    return next(store.glob(f"pins/*/{name}")).read_bytes()


def opened_by(
    demo: Path, address: str, keys: Mapping[bytes, RSAPrivateKey], published: Iterable[ModelSubmitted]
) -> dict[str, bytes]:
    """By worker: all models of a round that one of them can read; its own from its home, others from envelopes."""
    found = {}
    for event in published:
        if event.worker == address:
            model = next(demo.glob(f"worker-*/networks/*/models/{event.model_hash.hex()}.safetensors")).read_bytes()
        else:
            model = open_envelope(blob(demo / "blobs", event.cid), bytes.fromhex(address[2:]), keys)
        assert sha256(model) == event.model_hash
        found[event.worker] = model
    return found
