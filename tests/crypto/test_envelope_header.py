"""The header's reading is strict: one byte string for one header, and hostile CBOR costs nothing."""

import io
import tracemalloc
from contextlib import suppress

import cbor2
import pytest
from hypothesis import given, strategies as st

from agents.crypto.envelope_header import (
    CHUNK_BYTES,
    MAX_HEADER_BYTES,
    Context,
    EnvelopeError,
    Header,
    Reason,
    Stanza,
    decode_header,
)

PLACE = [31337, b"\x01" * 20, 7, 9, b"\x02" * 20, 0]
STANZA = [b"\x11" * 20, b"\x33" * 32, b"\x44" * 384]
FIELDS = [PLACE, 1000, CHUNK_BYTES, b"\x55" * 7, [STANZA]]

addresses = st.binary(min_size=20, max_size=20)
contexts = st.builds(
    Context,
    chain_id=st.integers(0, 2**64 - 1),
    contract=addresses,
    round=st.integers(0, 2**32 - 1),
    attempt=st.integers(0, 2**32 - 1),
    sender=addresses,
    kind=st.just(0),
)
stanzas = st.builds(
    Stanza, addresses, st.binary(min_size=32, max_size=32), st.integers(257, 512).map(lambda size: b"\x07" * size)
)
headers = st.builds(
    Header,
    contexts,
    st.integers(0, CHUNK_BYTES << 32),
    st.binary(min_size=7, max_size=7),
    st.lists(stanzas, max_size=4, unique_by=lambda stanza: stanza.address).map(
        lambda some: tuple(sorted(some, key=lambda stanza: stanza.address))
    ),
)


def refused(data: bytes) -> None:
    with pytest.raises(EnvelopeError) as error:
        decode_header(data)
    assert error.value.reason is Reason.MALFORMED


def changed(*path: int, to: object) -> bytes:
    """The good header with one item replaced."""
    fields = [list(PLACE), *FIELDS[1:4], [list(STANZA)]]
    item: list[object] = fields
    for index in path[:-1]:
        item = item[index]  # type: ignore[assignment]
    item[path[-1]] = to
    return cbor2.dumps(fields, canonical=True)


@given(headers)
def test_what_is_encoded_is_decoded(header: Header) -> None:
    assert decode_header(header.encoded()) == header


@given(headers)
def test_the_encoding_is_the_canonical_one(header: Header) -> None:
    assert cbor2.dumps(cbor2.loads(header.encoded()), canonical=True) == header.encoded()


@given(headers, st.data())
def test_whatever_else_is_accepted_is_canonical_too(header: Header, data: st.DataObject) -> None:
    encoded = bytearray(header.encoded())
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with suppress(EnvelopeError):
        assert decode_header(bytes(encoded)).encoded() == encoded


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    refused(data)


def test_the_good_header_is_good() -> None:
    assert decode_header(cbor2.dumps(FIELDS, canonical=True)).stanzas == (Stanza(*STANZA),)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(changed(0, 0, to=-1), id="negative number"),
        pytest.param(changed(0, 0, to=2**64), id="bignum, which is a tag"),
        pytest.param(changed(0, 0, to=1.0), id="float"),
        pytest.param(changed(0, 0, to=None), id="null"),
        pytest.param(changed(0, 0, to=True), id="boolean"),
        pytest.param(changed(0, 1, to=b"\x01" * 19), id="short address"),
        pytest.param(changed(0, 1, to="\x01" * 20), id="text for bytes"),
        pytest.param(changed(0, 2, to=2**32), id="round beyond 32 bits"),
        pytest.param(changed(0, 5, to=4), id="unknown kind"),
        pytest.param(changed(0, 5, to=1), id="attempt with a kind that has none"),
        pytest.param(changed(0, to=[*PLACE, 0]), id="context of seven"),
        pytest.param(changed(0, to={}), id="map"),
        pytest.param(changed(1, to=(CHUNK_BYTES << 32) + 1), id="more chunks than the counter counts"),
        pytest.param(changed(2, to=CHUNK_BYTES - 1), id="another chunk length"),
        pytest.param(changed(2, to=2**40), id="a chunk of a terabyte"),
        pytest.param(changed(3, to=b"\x55" * 8), id="long nonce prefix"),
        pytest.param(changed(4, to=[STANZA, STANZA]), id="recipient twice"),
        pytest.param(changed(4, to=[[b"\x12" * 20, *STANZA[1:]], STANZA]), id="recipients not in order"),
        pytest.param(changed(4, 0, 1, to=b"\x33" * 31), id="short key id"),
        pytest.param(changed(4, 0, 2, to=b"\x44" * 256), id="wrap of RSA-2048"),
        pytest.param(changed(4, 0, 2, to=b"\x44" * 513), id="wrap beyond RSA-4096"),
        pytest.param(changed(4, 0, to=[*STANZA, b""]), id="stanza of four"),
        pytest.param(changed(4, to=cbor2.CBORTag(1, [STANZA])), id="tag"),
        pytest.param(cbor2.dumps([*FIELDS, 0], canonical=True), id="six fields"),
        pytest.param(cbor2.dumps(FIELDS, canonical=True) + b"\x00", id="byte behind the end"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_malformed_headers_are_refused(data: bytes) -> None:
    refused(data)


@pytest.mark.parametrize(
    ("canonical", "other"),
    [
        (b"\x85\x86", b"\x85\x98\x06"),  # array of 6 with a length byte
        (b"\x85\x86", b"\x85\x9f"),  # indefinite array
        (b"\x85\x86", b"\x98\x05\x86"),
        (b"\x19\x7a\x69", b"\x1a\x00\x00\x7a\x69"),  # 31337 in four bytes
        (b"\x19\x7a\x69", b"\x1b\x00\x00\x00\x00\x00\x00\x7a\x69"),
        (b"\x07\x09", b"\x18\x07\x09"),
        (b"\x54\x01", b"\x58\x14\x01"),  # bstr of 20 with a length byte
        (b"\x54\x01", b"\x5f\x54\x01"),  # indefinite string
        (b"\x58\x20\x33", b"\x59\x00\x20\x33"),
    ],
)
def test_other_spellings_of_the_same_header_are_refused(canonical: bytes, other: bytes) -> None:
    good = cbor2.dumps(FIELDS, canonical=True)
    assert canonical in good
    refused(good.replace(canonical, other, 1))


@pytest.mark.parametrize(
    "data",
    [
        b"\x85\x86\x1a\x00\x00\x7a\x69\x5b" + b"\xff" * 8,  # a string of 2^64 bytes
        b"\x9b" + b"\xff" * 8,  # an array of 2^64
        b"\x81" * MAX_HEADER_BYTES,  # as deep as it is long
        b"\x9f" * MAX_HEADER_BYTES,
        b"\xd8\x1c" * (MAX_HEADER_BYTES // 2),
        cbor2.dumps(FIELDS, canonical=True)[: -1 - len(cbor2.dumps(STANZA))] + b"\x9b\x00\x00\x00\xff" + bytes(4),
        bytes(MAX_HEADER_BYTES + 1),
    ],
)
def test_hostile_lengths_and_depths_cost_nothing(data: bytes) -> None:
    tracemalloc.start()
    try:
        refused(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize(
    "field",
    [
        {"chain_id": -1},
        {"chain_id": 2**64},
        {"contract": b""},
        {"round": -1},
        {"attempt": 2**32},
        {"sender": bytes(32)},
        {"kind": 4},
        {"kind": 1},
    ],
)
def test_a_context_that_no_chain_has_cannot_be_made(field: dict[str, object]) -> None:
    good = {"chain_id": 1, "contract": bytes(20), "round": 1, "attempt": 1, "sender": bytes(20), "kind": 0}
    assert Context(**good)
    with pytest.raises(ValueError):
        Context(**good | field)


def test_a_stream_decoder_agrees_on_where_the_header_ends() -> None:
    encoded = cbor2.dumps(FIELDS, canonical=True)
    stream = io.BytesIO(encoded + b"chunks")
    cbor2.load(stream)
    assert decode_header(encoded).encoded() == encoded
