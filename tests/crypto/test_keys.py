"""Encryption keys: which are usable, and their files under a password."""

import base64
import shutil
import subprocess
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given, settings, strategies as st

from agents.crypto.keys import (
    generate_encryption_key,
    key_id,
    load_encryption_keys,
    public_der,
    save_encryption_key,
    usable_public_key,
)
from agents.crypto.keystore import LIGHT_SCRYPT, STRONG_SCRYPT, KeyDamaged, KeyNotFound, WrongPassword
from tests.crypto.conftest import load_key

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
DER = public_der(load_key("alice"))


def spki(public_key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey) -> bytes:
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def rsa_spki(n: int, e: int) -> bytes:
    """Written by hand: `cryptography` would not make these."""

    def der(tag: int, body: bytes) -> bytes:
        return bytes([tag, 0x82]) + len(body).to_bytes(2) + body

    def integer(value: int) -> bytes:
        return der(2, value.to_bytes(value.bit_length() // 8 + 1))

    algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
    return der(0x30, algorithm + der(3, b"\x00" + der(0x30, integer(n) + integer(e))))


def test_good_keys_are_usable(alice: RSAPrivateKey, bob: RSAPrivateKey) -> None:
    for key in (alice, bob):
        usable = usable_public_key(public_der(key))
        assert usable is not None
        assert usable.public_numbers() == key.public_key().public_numbers()


def test_a_key_id_is_the_hash_of_the_der() -> None:
    assert len(key_id(DER)) == 32
    assert key_id(DER) != key_id(DER + b"\0")


@pytest.mark.parametrize(
    "der",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"garbage", id="garbage"),
        pytest.param(DER[:-1], id="truncated"),
        pytest.param(DER + b"\0", id="trailing byte"),
        pytest.param(b"\x30\x83\x00" + DER[2:], id="length not in its shortest form"),
        pytest.param(base64.b64encode(DER), id="base64"),
        pytest.param(spki(ec.generate_private_key(ec.SECP256R1()).public_key()), id="elliptic curve"),
        pytest.param(spki(ed25519.Ed25519PrivateKey.generate().public_key()), id="ed25519"),
        pytest.param(spki(rsa.generate_private_key(65537, 2048).public_key()), id="2048 bits"),
        pytest.param(rsa_spki((1 << 511) + 1, 65537), id="512 bits"),
        pytest.param(rsa_spki((1 << 4096) + 1, 65537), id="4097 bits"),
        pytest.param(rsa_spki((1 << 8191) + 1, 65537), id="8192 bits"),
        pytest.param(rsa_spki((1 << 3071) + 2, 65537), id="even modulus"),
        pytest.param(rsa_spki((1 << 3071) + 1, 1), id="exponent 1: no encryption at all"),
        pytest.param(rsa_spki((1 << 3071) + 1, 3), id="exponent 3"),
        pytest.param(rsa_spki((1 << 3071) + 1, 65538), id="even exponent"),
        pytest.param(rsa_spki((1 << 3071) + 1, (1 << 3000) + 1), id="exponent that costs a second"),
    ],
)
def test_unusable_keys_are_left_out(der: bytes) -> None:
    assert usable_public_key(der) is None


@settings(deadline=None)
@given(st.integers(0, 8 * len(DER) - 1))
def test_a_hostile_key_never_makes_wrapping_fail(bit: int) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    changed = bytearray(DER)
    changed[bit // 8] ^= 1 << bit % 8
    key = usable_public_key(bytes(changed))
    if key is not None:
        wrap = key.encrypt(bytes(32), padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), bytes(32)))
        assert 257 <= len(wrap) <= 512


@pytest.mark.parametrize("bits", [1024, 2048, 4097])
def test_generating_a_key_that_nobody_would_use_is_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="bits"):
        generate_encryption_key(bits)


def test_keys_are_kept_newest_first_and_for_their_owner_only(
    tmp_path: Path, alice: RSAPrivateKey, bob: RSAPrivateKey
) -> None:
    keystore = tmp_path / "home" / "keystore"
    old = save_encryption_key(keystore, bob, "correct horse", created=NOON, scrypt_n=LIGHT_SCRYPT)
    later = (NOON + timedelta(seconds=1)).astimezone(timezone(-timedelta(hours=5)))
    new = save_encryption_key(keystore, alice, "correct horse", created=later, scrypt_n=LIGHT_SCRYPT)
    assert old.name == f"RSA--2026-11-23T12-00-00.000000000Z--{key_id(public_der(bob)).hex()[:16]}.pem"
    loaded = load_encryption_keys(keystore, "correct horse")
    assert list(loaded) == [key_id(public_der(alice)), key_id(public_der(bob))]
    assert loaded[key_id(public_der(bob))].private_numbers() == bob.private_numbers()
    assert new.stat().st_mode & 0o777 == 0o600
    assert keystore.stat().st_mode & 0o777 == 0o700
    assert not list(keystore.glob(".*.part"))


def test_a_wrong_password_is_named(tmp_path: Path, alice: RSAPrivateKey) -> None:
    path = save_encryption_key(tmp_path, alice, "correct horse", created=NOON, scrypt_n=LIGHT_SCRYPT)
    for password in ("wrong", ""):
        with pytest.raises((WrongPassword, KeyDamaged), match=path.name):
            load_encryption_keys(tmp_path, password)


def test_an_empty_keystore_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(KeyNotFound, match="keys rotate"):
        load_encryption_keys(tmp_path / "nowhere", "password")


@pytest.mark.parametrize("content", [b"", b"garbage", b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n"])
def test_a_damaged_key_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "RSA--2026-11-23T12-00-00.000000000Z--0123456789abcdef.pem"
    path.write_bytes(content)
    with pytest.raises(KeyDamaged, match=path.name):
        load_encryption_keys(tmp_path, "password")


def test_a_key_file_in_clear_is_refused(tmp_path: Path, alice: RSAPrivateKey) -> None:
    path = tmp_path / "RSA--2026-11-23T12-00-00.000000000Z--0123456789abcdef.pem"
    path.write_bytes(alice.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(KeyDamaged, match="not encrypted"):
        load_encryption_keys(tmp_path, "password")


def test_an_elliptic_curve_key_is_no_encryption_key(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption

    path = tmp_path / "RSA--2026-11-23T12-00-00.000000000Z--0123456789abcdef.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")))
    with pytest.raises(KeyDamaged, match="no RSA key"):
        load_encryption_keys(tmp_path, "password")


def test_the_password_costs_as_much_to_guess_as_an_accounts(tmp_path: Path, alice: RSAPrivateKey) -> None:
    """scrypt with N * p = 2^18 stands in the file: 1.2.840.113549.1.5.13 over 1.3.6.1.4.1.11591.4.11."""
    path = save_encryption_key(tmp_path, alice, "correct horse", created=NOON)
    der = base64.b64decode(b"".join(path.read_bytes().splitlines()[1:-1]))
    assert bytes.fromhex("2a864886f70d01050d") in der
    assert bytes.fromhex("2b06010401da47040b") in der
    assert bytes.fromhex("02024000020108020110") in der
    assert STRONG_SCRYPT == 0x4000 * 0x10
    assert len(load_encryption_keys(tmp_path, "correct horse")) == 1


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no `openssl` on PATH")
def test_openssl_opens_the_file(tmp_path: Path, alice: RSAPrivateKey) -> None:
    path = save_encryption_key(tmp_path, alice, "correct horse", created=NOON)
    done = subprocess.run(
        ["openssl", "pkey", "-in", path, "-passin", "pass:correct horse", "-pubout", "-outform", "DER"],
        check=True,
        capture_output=True,
    )
    assert done.stdout == public_der(alice)


def test_a_naive_time_of_creation_is_refused(tmp_path: Path, alice: RSAPrivateKey) -> None:
    with pytest.raises(ValueError, match="time zone"):
        save_encryption_key(tmp_path, alice, "x", created=NOON.replace(tzinfo=None), scrypt_n=LIGHT_SCRYPT)
    assert not list(tmp_path.iterdir())
