"""Sealing and opening: who can read, what is refused in which order, and that nothing bad reaches the target."""

import errno
import hashlib
import os
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from hypothesis import HealthCheck, example, given, settings, strategies as st

from agents.crypto import envelope as envelope_module
from agents.crypto.envelope import (
    Context,
    EnvelopeError,
    Reason,
    envelope_size,
    max_envelope_bytes,
    open_envelope,
    seal,
)
from agents.crypto.keys import generate_encryption_key, key_id, public_der
from tests.crypto.conftest import load_key

ALICE, BOB, MALLORY = b"\x11" * 20, b"\x22" * 20, b"\x33" * 20
CHUNK = 1 << 20
PLACE = Context(31337, bytes(range(20)), 7, 9, bytes(range(100, 120)), 0)
quick = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@dataclass(frozen=True)
class Desk:
    """A directory with a sealed envelope, and everything a reader knows from the chain."""

    directory: Path
    plain: bytes
    private_key: RSAPrivateKey

    @property
    def sealed(self) -> Path:
        return self.directory / "sealed"

    @property
    def opened(self) -> Path:
        return self.directory / "opened"

    def open(self, **differently: Any) -> bytes:
        known: dict[str, Any] = {
            "source": self.sealed,
            "target": self.opened,
            "context": PLACE,
            "address": ALICE,
            "private_keys": {key_id(public_der(self.private_key)): self.private_key},
            "expected_hash": hashlib.sha256(self.plain).digest(),
            "expected_length": len(self.plain),
            "max_bytes": max_envelope_bytes(len(self.plain)),
        }
        open_envelope(**(known | differently))
        return self.opened.read_bytes() if self.plain else b""

    def refusal(self, **differently: Any) -> Reason:
        """Why it does not open; and nothing is left of it."""
        with pytest.raises(EnvelopeError) as refused:
            self.open(**differently)
        assert sorted(path.name for path in self.directory.iterdir()) == ["plain", "sealed"]
        return refused.value.reason


def a_desk(directory: Path, plain: bytes, alice: RSAPrivateKey, others: Sequence[tuple[bytes, bytes]] = ()) -> Desk:
    (directory / "plain").write_bytes(plain)
    seal(directory / "plain", directory / "sealed", PLACE, [(ALICE, public_der(alice)), *others])
    return Desk(directory, plain, alice)


@pytest.fixture
def desk(tmp_path: Path, alice: RSAPrivateKey, bob: RSAPrivateKey) -> Desk:
    return a_desk(tmp_path, b"weights" * 20, alice, [(BOB, public_der(bob))])


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Three chunks and a bit."""
    return a_desk(tmp_path_factory.mktemp("large"), os.urandom(3 * CHUNK + 5), load_key("alice"))


def test_every_recipient_reads_the_same(desk: Desk, bob: RSAPrivateKey) -> None:
    assert desk.open() == desk.plain
    assert desk.open(address=BOB, private_keys={key_id(public_der(bob)): bob}) == desk.plain


def test_the_plaintext_is_nobody_elses_to_read(desk: Desk) -> None:
    desk.open()
    assert desk.opened.stat().st_mode & 0o777 == 0o600


def test_an_old_key_still_opens_what_was_sealed_for_it(desk: Desk, alice: RSAPrivateKey, bob: RSAPrivateKey) -> None:
    assert desk.open(private_keys={key_id(public_der(key)): key for key in (bob, alice)}) == desk.plain


@quick
@given(st.data())
def test_any_flipped_bit_is_refused(desk: Desk, data: st.DataObject) -> None:
    whole = desk.sealed.read_bytes()
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    changed = bytearray(whole)
    changed[bit // 8] ^= 1 << bit % 8
    try:
        desk.sealed.write_bytes(changed)
        desk.refusal()
    finally:
        desk.sealed.write_bytes(whole)


@quick
@given(st.data())
def test_any_truncation_is_refused(desk: Desk, data: st.DataObject) -> None:
    whole = desk.sealed.read_bytes()
    try:
        desk.sealed.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
        assert desk.refusal() is Reason.TRUNCATED
    finally:
        desk.sealed.write_bytes(whole)


@quick
@given(st.binary(min_size=1, max_size=2000))
def test_any_extension_is_refused(desk: Desk, tail: bytes) -> None:
    whole = desk.sealed.read_bytes()
    try:
        desk.sealed.write_bytes(whole + tail)
        assert desk.refusal() is Reason.TRAILING_BYTES
    finally:
        desk.sealed.write_bytes(whole)


@quick
@given(st.binary(max_size=3000))
@example(b"FLE1\x01\x01\x00\x04\x00\x00" + b"\x9f" * (256 << 10))
@example(b"FLE1\x01\x01\xff\xff\xff\xff")
def test_hostile_files_are_refused(tmp_path: Path, alice: RSAPrivateKey, content: bytes) -> None:
    (tmp_path / "plain").write_bytes(b"")
    (tmp_path / "sealed").write_bytes(content)
    assert Desk(tmp_path, b"", alice).refusal() in (Reason.MALFORMED, Reason.TRUNCATED)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 2), (0, 2)])
def test_chunks_in_another_order_are_refused(large: Desk, first: int, second: int) -> None:
    whole = large.sealed.read_bytes()
    at = len(whole) - (3 * CHUNK + 5 + 4 * 16)
    pieces = [whole[at + i * (CHUNK + 16) : at + (i + 1) * (CHUNK + 16)] for i in range(4)]
    pieces[first], pieces[second] = pieces[second], pieces[first]
    try:
        large.sealed.write_bytes(whole[:at] + b"".join(pieces))
        assert large.refusal() is Reason.CHUNK_FAILED
    finally:
        large.sealed.write_bytes(whole)


@pytest.mark.parametrize("index", [0, 1, 2, 3])
def test_a_damaged_chunk_leaves_nothing_of_the_chunks_before_it(large: Desk, index: int) -> None:
    whole = large.sealed.read_bytes()
    changed = bytearray(whole)
    changed[len(whole) - (3 * CHUNK + 5 + 4 * 16) + index * (CHUNK + 16)] ^= 1
    try:
        large.sealed.write_bytes(changed)
        assert large.refusal() is Reason.CHUNK_FAILED
    finally:
        large.sealed.write_bytes(whole)


@pytest.mark.parametrize(
    "other",
    [
        replace(PLACE, chain_id=1),
        replace(PLACE, contract=bytes(20)),
        replace(PLACE, round=8),
        replace(PLACE, attempt=10),
        replace(PLACE, sender=bytes(20)),
        replace(PLACE, kind=1, attempt=0),
    ],
)
def test_an_envelope_of_another_place_is_refused(desk: Desk, other: Context) -> None:
    assert desk.refusal(context=other) is Reason.WRONG_CONTEXT


def test_who_replays_an_envelope_is_told_from_where_in_words(desk: Desk) -> None:
    with pytest.raises(EnvelopeError) as refused:
        desk.open(context=replace(PLACE, round=8))
    place = f"task 0x{PLACE.contract.hex()}, round 7, attempt 9, sender 0x{PLACE.sender.hex()}, kind 0"
    assert f"sealed for chain 31337, {place}, expected chain" in str(refused.value)
    assert "b'" not in str(refused.value)


def test_whoever_is_not_a_recipient_is_told_so(desk: Desk) -> None:
    assert desk.refusal(address=MALLORY) is Reason.NOT_A_RECIPIENT


def test_a_recipient_without_the_key_is_told_so(desk: Desk, bob: RSAPrivateKey) -> None:
    assert desk.refusal(private_keys={key_id(public_der(bob)): bob}) is Reason.UNKNOWN_KEY
    assert desk.refusal(private_keys={}) is Reason.UNKNOWN_KEY


def test_a_wrap_for_another_key_is_refused(desk: Desk, alice: RSAPrivateKey, bob: RSAPrivateKey) -> None:
    assert desk.refusal(private_keys={key_id(public_der(alice)): bob}) is Reason.UNWRAP_FAILED


def test_another_recipients_stanza_cannot_be_exchanged(desk: Desk, bob: RSAPrivateKey) -> None:
    """Bob's wrap bent by one bit: Alice, whose own stanza is untouched, refuses the file too."""
    whole = desk.sealed.read_bytes()
    changed = bytearray(whole)
    changed[whole.index(key_id(public_der(bob))) + 50] ^= 1
    desk.sealed.write_bytes(changed)
    assert desk.refusal() is Reason.HEADER_TAMPERED


def test_another_hash_length_or_size_than_the_chains_is_refused(desk: Desk) -> None:
    assert desk.refusal(expected_hash=bytes(32)) is Reason.WRONG_HASH
    assert desk.refusal(expected_length=len(desk.plain) + 1) is Reason.WRONG_LENGTH
    assert desk.refusal(max_bytes=desk.sealed.stat().st_size - 1) is Reason.TOO_LARGE
    assert desk.open(max_bytes=desk.sealed.stat().st_size) == desk.plain


def test_the_reasons_come_in_the_readers_order(desk: Desk, bob: RSAPrivateKey) -> None:
    """Everything is wrong at once; each thing put right reveals the next."""
    wrong: dict[str, Any] = {
        "max_bytes": 10,
        "context": replace(PLACE, round=8),
        "expected_length": 1,
        "address": MALLORY,
        "private_keys": {},
        "expected_hash": bytes(32),
    }
    seen = []
    while wrong:
        seen.append(desk.refusal(**wrong))
        del wrong[next(iter(wrong))]
    assert seen == [
        Reason.TOO_LARGE,
        Reason.WRONG_CONTEXT,
        Reason.WRONG_LENGTH,
        Reason.NOT_A_RECIPIENT,
        Reason.UNKNOWN_KEY,
        Reason.WRONG_HASH,
    ]


def test_a_failure_leaves_an_older_file_as_it_was(desk: Desk) -> None:
    desk.opened.write_bytes(b"older")
    with pytest.raises(EnvelopeError):
        desk.open(expected_hash=bytes(32))
    assert desk.opened.read_bytes() == b"older"


def test_a_full_disk_leaves_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        desk.open()
    with pytest.raises(OSError, match="No space left"):
        seal(desk.directory / "plain", desk.directory / "again", PLACE, [(ALICE, public_der(desk.private_key))])
    assert sorted(path.name for path in desk.directory.iterdir()) == ["plain", "sealed"]


def test_an_unusable_key_is_left_out_and_the_others_read(tmp_path: Path, alice: RSAPrivateKey) -> None:
    desk = a_desk(tmp_path, b"weights", alice, [(BOB, b"\x30\x03garbage"), (MALLORY, b"")])
    assert desk.refusal(address=BOB) is Reason.NOT_A_RECIPIENT
    assert desk.open() == b"weights"


def test_without_a_usable_key_nothing_is_sealed(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"weights")
    for recipients in ([], [(BOB, b"garbage")]):
        with pytest.raises(EnvelopeError) as refused:
            seal(tmp_path / "plain", tmp_path / "sealed", PLACE, recipients)
        assert refused.value.reason is Reason.NO_RECIPIENT
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]


def test_no_recipient_comes_twice_and_an_address_has_20_bytes(tmp_path: Path, alice: RSAPrivateKey) -> None:
    (tmp_path / "plain").write_bytes(b"weights")
    der = public_der(alice)
    for recipients in ([(ALICE, der), (ALICE, der)], [(b"short", der)]):
        with pytest.raises(ValueError):
            seal(tmp_path / "plain", tmp_path / "sealed", PLACE, recipients)


def test_more_recipients_than_a_header_holds_are_refused(tmp_path: Path, alice: RSAPrivateKey) -> None:
    (tmp_path / "plain").write_bytes(b"weights")
    der = public_der(alice)
    with pytest.raises(ValueError, match="too many"):
        seal(tmp_path / "plain", tmp_path / "sealed", PLACE, [(i.to_bytes(20), der) for i in range(700)])
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]


def test_a_roster_of_126_fits_the_header(tmp_path: Path, bob: RSAPrivateKey) -> None:
    (tmp_path / "plain").write_bytes(b"weights")
    size = seal(tmp_path / "plain", tmp_path / "sealed", PLACE, [(i.to_bytes(20), public_der(bob)) for i in range(126)])
    assert size < max_envelope_bytes(7)


@pytest.mark.parametrize("difference", [-1, 1])
def test_a_source_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, alice: RSAPrivateKey, monkeypatch: pytest.MonkeyPatch, difference: int
) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(b"weights")
    chunks = envelope_module._chunks

    def changing(plaintext_bytes: int, nonce_prefix: bytes) -> Iterator[tuple[bytes, int]]:
        os.truncate(plain, plaintext_bytes + difference)
        return chunks(plaintext_bytes, nonce_prefix)

    monkeypatch.setattr(envelope_module, "_chunks", changing)
    with pytest.raises(ValueError, match="while it was read"):
        seal(plain, tmp_path / "sealed", PLACE, [(ALICE, public_der(alice))])
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]


def test_two_envelopes_of_the_same_file_have_nothing_in_common(desk: Desk, alice: RSAPrivateKey) -> None:
    again = desk.directory / "again"
    seal(desk.directory / "plain", again, PLACE, [(ALICE, public_der(alice))])
    assert again.read_bytes()[-64:] != desk.sealed.read_bytes()[-64:]


def test_memory_does_not_grow_with_the_model(tmp_path: Path, alice: RSAPrivateKey) -> None:
    plain = tmp_path / "plain"
    with plain.open("wb") as file:
        file.truncate(24 * CHUNK)
    digest = hashlib.sha256(plain.read_bytes()).digest()
    desk = Desk(tmp_path, b"", alice)
    tracemalloc.start()
    try:
        size = seal(plain, desk.sealed, PLACE, [(ALICE, public_der(alice))])
        desk.open(expected_hash=digest, expected_length=24 * CHUNK, max_bytes=size)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * CHUNK


def test_sizes_are_the_files() -> None:
    assert envelope_size(0, 100) == 10 + 100 + 32 + 16
    assert envelope_size(CHUNK, 100) == 10 + 100 + 32 + CHUNK + 16
    assert envelope_size(CHUNK + 1, 100) == 10 + 100 + 32 + CHUNK + 1 + 32
    assert max_envelope_bytes(5) == envelope_size(5, 256 << 10)


def test_a_key_of_4096_bits_works_and_a_generated_one_is_usable(tmp_path: Path, bob: RSAPrivateKey) -> None:
    assert bob.key_size == 4096
    desk = a_desk(tmp_path, b"weights", bob, [(BOB, public_der(generate_encryption_key()))])
    assert desk.open() == b"weights"
