"""Writes tests/crypto/vectors: what another implementation of FLE1 can be checked with. The results are committed.

    python tests/crypto/make_vectors.py

Written from PROTOCOL 6 and 8 alone, not with agents/crypto. The keys are for tests only.
"""

import hashlib
import hmac
import json
import os
import struct
from pathlib import Path

import cbor2
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HERE = Path(__file__).parent / "vectors"
CONTEXT = [31337, bytes(range(20)), 7, 9, bytes(range(100, 120)), 0]
ALICE, BOB = b"\x11" * 20, b"\x22" * 20
CHUNK = 1 << 20


def main() -> None:
    HERE.mkdir(exist_ok=True)
    keys = {ALICE: key("alice", 3072), BOB: key("bob", 4096)}
    entries = {
        "one_chunk": b"FLE1 test vector: one chunk, two recipients\n",
        "empty": b"",
        "exact_chunk": hashlib.shake_256(b"FLE1 exact").digest(CHUNK),
        "two_chunks": hashlib.shake_256(b"FLE1 two").digest(CHUNK + 1),
    }
    context = dict(zip(("chainId", "contract", "round", "attempt", "sender", "kind"), map(shown, CONTEXT), strict=True))
    vectors: dict[str, object] = {
        "context": context,
        "ctx": cbor2.dumps(CONTEXT, canonical=True).hex(),
        "addresses": {"alice": ALICE.hex(), "bob": BOB.hex()},
        "envelopes": {name: envelope(name, plain, keys) for name, plain in entries.items()},
        "two_plaintexts": two_plaintexts(keys),
    }
    (HERE / "vectors.json").write_text(json.dumps(vectors, indent=1) + "\n")


def shown(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


def key(name: str, bits: int) -> rsa.RSAPrivateKey:
    private = rsa.generate_private_key(65537, bits)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (HERE / f"{name}.pem").write_bytes(pem)
    return private


def der(private: rsa.RSAPrivateKey) -> bytes:
    return private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def derive(cek: bytes) -> tuple[bytes, bytes]:
    salt = hashlib.sha256(cbor2.dumps(CONTEXT, canonical=True)).digest()
    secret = hmac.digest(salt, cek, "sha256")
    return tuple(hmac.digest(secret, info + b"\x01", "sha256") for info in (b"FLE1 hdr", b"FLE1 pay"))


def front(length: int, prefix: bytes, keys: dict[bytes, rsa.RSAPrivateKey], ceks: dict[bytes, bytes]) -> bytes:
    """Everything up to and including the MAC, which is made with the first recipient's content key."""
    ctx = cbor2.dumps(CONTEXT, canonical=True)
    stanzas = []
    for address, private in sorted(keys.items()):
        key_id = hashlib.sha256(der(private)).digest()
        label = hashlib.sha256(b"FLE1 wrap" + ctx + address + key_id).digest()
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label)
        stanzas.append([address, key_id, private.public_key().encrypt(ceks[address], oaep)])
    header = cbor2.dumps([CONTEXT, length, CHUNK, prefix, stanzas], canonical=True)
    data = b"FLE1" + bytes([1, 1]) + struct.pack(">I", len(header)) + header
    return data + hmac.digest(derive(ceks[ALICE])[0], data, "sha256")


def envelope(name: str, plain: bytes, keys: dict[bytes, rsa.RSAPrivateKey]) -> dict[str, object]:
    """A small one is committed whole; of a large one the front, from which the rest follows."""
    cek, prefix = os.urandom(32), os.urandom(7)
    data = front(len(plain), prefix, keys, dict.fromkeys(keys, cek))
    sealed = data + chunks(plain, prefix, cek, data)
    small = len(sealed) < CHUNK
    (HERE / (f"{name}.fle1" if small else f"{name}.front")).write_bytes(sealed if small else data)
    return {
        "cek": cek.hex(),
        "plaintextBytes": len(plain),
        "plaintextSha256": hashlib.sha256(plain).hexdigest(),
        "envelopeBytes": len(sealed),
        "envelopeSha256": hashlib.sha256(sealed).hexdigest(),
    }


def chunks(plain: bytes, prefix: bytes, cek: bytes, before: bytes) -> bytes:
    cipher, aad = AESGCM(derive(cek)[1]), hashlib.sha256(before).digest()
    last = max(1, -(-len(plain) // CHUNK)) - 1
    sealed = bytearray()
    for i in range(last + 1):
        nonce = prefix + struct.pack(">IB", i, i == last)
        sealed += cipher.encrypt(nonce, plain[i * CHUNK : (i + 1) * CHUNK], aad)
    return bytes(sealed)


def two_plaintexts(keys: dict[bytes, rsa.RSAPrivateKey]) -> dict[str, object]:
    """AES-GCM does not commit to its key: one ciphertext and tag that authenticate under two keys.

    The first half of the ciphertext is chosen for Alice, the second for Bob, and one more block so that both tags are
    equal: a linear equation in GF(2^128) (Dodis, Grubbs, Ristenpart, Woodage 2018).
    """
    ceks, prefix = {ALICE: os.urandom(32), BOB: os.urandom(32)}, os.urandom(7)
    for_alice, for_bob = b"to Alice: accept this model, ok.", b"to Bob: this is another model..."
    length = len(for_alice) + len(for_bob) + 16
    data = front(length, prefix, keys, ceks)
    nonce, aad = prefix + struct.pack(">IB", 0, 1), hashlib.sha256(data).digest()
    payload = [derive(ceks[address])[1] for address in (ALICE, BOB)]
    streams = [keystream(k, nonce, length) for k in payload]
    body = xor(for_alice, streams[0]) + xor(for_bob, streams[1][len(for_alice) :])
    lengths = struct.pack(">QQ", 8 * len(aad), 8 * length)
    hash_keys = [int.from_bytes(block(k, bytes(16))) for k in payload]
    masks = [int.from_bytes(block(k, nonce + b"\0\0\0\1")) for k in payload]
    known = [ghash(h, aad + body + bytes(16) + lengths) ^ mask for h, mask in zip(hash_keys, masks, strict=True)]
    squares = [multiply(h, h) for h in hash_keys]
    free = multiply(known[0] ^ known[1], inverse(squares[0] ^ squares[1]))
    body += free.to_bytes(16)
    tag = (ghash(hash_keys[0], aad + body + lengths) ^ masks[0]).to_bytes(16)
    (HERE / "two_plaintexts.fle1").write_bytes(data + body + tag)
    plains = [AESGCM(k).decrypt(nonce, body + tag, aad) for k in payload]
    return {
        "frontBytes": len(data),
        "nonce": nonce.hex(),
        "ceks": {"alice": ceks[ALICE].hex(), "bob": ceks[BOB].hex()},
        "plaintexts": {"alice": plains[0].hex(), "bob": plains[1].hex()},
    }


def block(key_: bytes, data: bytes) -> bytes:
    return Cipher(algorithms.AES(key_), modes.ECB()).encryptor().update(data)


def keystream(key_: bytes, nonce: bytes, length: int) -> bytes:
    counters = b"".join(nonce + struct.pack(">I", 2 + i) for i in range(-(-length // 16)))
    return block(key_, counters)[:length]


def xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=False))


def multiply(a: int, b: int) -> int:
    """In GF(2^128) with GCM's reflected bits (NIST SP 800-38D, 6.3)."""
    product = 0
    for bit in range(127, -1, -1):
        if a >> bit & 1:
            product ^= b
        b = b >> 1 ^ (0xE1 << 120 if b & 1 else 0)
    return product


def inverse(a: int) -> int:
    result, power = 1 << 127, a
    for _ in range(127):  # a^(2^128 - 2) = a^2 * a^4 * ... * a^(2^127)
        power = multiply(power, power)
        result = multiply(result, power)
    return result


def ghash(h: int, data: bytes) -> int:
    state = 0
    for at in range(0, len(data), 16):
        state = multiply(state ^ int.from_bytes(data[at : at + 16]), h)
    return state


if __name__ == "__main__":
    main()
