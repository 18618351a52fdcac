"""The committed FLE1 files open as they must, and what we seal is what PROTOCOL 6 writes."""

import hashlib
import hmac
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agents.crypto.envelope import Context, EnvelopeError, Reason, max_envelope_bytes, open_envelope, seal
from agents.crypto.keys import key_id, public_der
from tests.crypto import make_vectors
from tests.crypto.conftest import VECTORS

PLAINTEXTS = {
    "one_chunk": b"FLE1 test vector: one chunk, two recipients\n",
    "empty": b"",
    "exact_chunk": hashlib.shake_256(b"FLE1 exact").digest(1 << 20),
    "two_chunks": hashlib.shake_256(b"FLE1 two").digest((1 << 20) + 1),
}


def nonce_prefix(front: bytes) -> bytes:
    return cbor2.loads(front[10:-32])[3]


def whole(name: str, vector: dict[str, Any]) -> bytes:
    """A committed envelope, the chunks of a large one made again."""
    if (VECTORS / f"{name}.fle1").exists():
        return (VECTORS / f"{name}.fle1").read_bytes()
    front, cek = (VECTORS / f"{name}.front").read_bytes(), bytes.fromhex(vector["cek"])
    return front + make_vectors.chunks(PLAINTEXTS[name], nonce_prefix(front), cek, front)


@pytest.mark.parametrize("name", PLAINTEXTS)
@pytest.mark.parametrize("reader", ["alice", "bob"])
def test_a_committed_envelope_opens(
    tmp_path: Path, vectors: Any, context: Context, request: pytest.FixtureRequest, name: str, reader: str
) -> None:
    vector, private_key = vectors["envelopes"][name], request.getfixturevalue(reader)
    sealed = tmp_path / "sealed"
    sealed.write_bytes(whole(name, vector))
    assert hashlib.sha256(sealed.read_bytes()).hexdigest() == vector["envelopeSha256"]
    assert sealed.stat().st_size == vector["envelopeBytes"]
    open_envelope(
        sealed,
        tmp_path / "opened",
        context,
        bytes.fromhex(vectors["addresses"][reader]),
        {key_id(public_der(private_key)): private_key},
        expected_hash=bytes.fromhex(vector["plaintextSha256"]),
        expected_length=vector["plaintextBytes"],
        max_bytes=vector["envelopeBytes"],
    )
    assert (tmp_path / "opened").read_bytes() == PLAINTEXTS[name]


def test_the_context_has_the_committed_encoding(vectors: Any, context: Context) -> None:
    assert context.encoded().hex() == vectors["ctx"]


@pytest.mark.parametrize("length", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (3 << 20) + 5])
def test_what_we_seal_is_what_the_protocol_writes(
    tmp_path: Path, context: Context, bob: RSAPrivateKey, alice: RSAPrivateKey, length: int
) -> None:
    """Everything but OAEP's own randomness is made again from the drawn bytes, independently."""
    plain = hashlib.shake_256(b"any").digest(length)
    (tmp_path / "plain").write_bytes(plain)
    drawn = {32: b"\x0c" * 32, 7: b"\x0e" * 7}
    recipients = [(make_vectors.BOB, public_der(bob)), (make_vectors.ALICE, public_der(alice))]
    size = seal(tmp_path / "plain", tmp_path / "sealed", context, recipients, randomness=drawn.__getitem__)
    sealed = (tmp_path / "sealed").read_bytes()
    assert size == len(sealed) <= max_envelope_bytes(length)
    header_bytes = int.from_bytes(sealed[6:10])
    assert sealed[:6] == b"FLE1\x01\x01"
    fields = cbor2.loads(sealed[10 : 10 + header_bytes])
    stanzas = fields[4]
    assert fields[:4] == [make_vectors.CONTEXT, length, 1 << 20, drawn[7]]
    assert [stanza[0] for stanza in stanzas] == [make_vectors.ALICE, make_vectors.BOB]
    for (address, recipient_key, wrap), private_key in zip(stanzas, (alice, bob), strict=True):
        ctx = cbor2.dumps(make_vectors.CONTEXT, canonical=True)
        label = hashlib.sha256(b"FLE1 wrap" + ctx + address + recipient_key).digest()
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label)
        assert private_key.decrypt(wrap, oaep) == drawn[32]
    front = sealed[: 10 + header_bytes]
    mac = hmac.digest(make_vectors.derive(drawn[32])[0], front, "sha256")
    assert sealed == front + mac + make_vectors.chunks(plain, drawn[7], drawn[32], front + mac)


def test_a_file_that_plain_aes_gcm_opens_under_two_keys_is_refused(
    tmp_path: Path, vectors: Any, context: Context, alice: RSAPrivateKey, bob: RSAPrivateKey
) -> None:
    vector = vectors["two_plaintexts"]
    path = VECTORS / "two_plaintexts.fle1"
    front, chunk = path.read_bytes()[: vector["frontBytes"]], path.read_bytes()[vector["frontBytes"] :]
    plains = {name: bytes.fromhex(plain) for name, plain in vector["plaintexts"].items()}
    for name, cek in vector["ceks"].items():
        payload_key = make_vectors.derive(bytes.fromhex(cek))[1]
        accepted = AESGCM(payload_key).decrypt(bytes.fromhex(vector["nonce"]), chunk, hashlib.sha256(front).digest())
        assert accepted == plains[name]
    assert plains["alice"].startswith(b"to Alice:")
    assert b"to Bob:" in plains["bob"]

    def opened_by(name: str, private_key: RSAPrivateKey, expected: bytes) -> bytes:
        open_envelope(
            path,
            tmp_path / name,
            context,
            bytes.fromhex(vectors["addresses"][name]),
            {key_id(public_der(private_key)): private_key},
            expected_hash=hashlib.sha256(expected).digest(),
            expected_length=len(expected),
            max_bytes=path.stat().st_size,
        )
        return (tmp_path / name).read_bytes()

    assert opened_by("alice", alice, plains["alice"]) == plains["alice"]
    with pytest.raises(EnvelopeError) as refused:
        opened_by("bob", bob, plains["bob"])
    assert refused.value.reason is Reason.HEADER_TAMPERED
    assert not (tmp_path / "bob").exists()
