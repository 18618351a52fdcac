"""Commitments equal the contract's, salts are their own for every place; both against values computed elsewhere."""

import pytest
from hypothesis import given, strategies as st

from agents.crypto.commitment import MODEL, SCORES, SaltKey, model_commitment, score_commitment

CONTRACT = bytes(range(20))
SENDER = bytes(range(100, 120))
HASH, SALT = b"\xaa" * 32, b"\xbb" * 32
FULL = [2**256 - 1, 0, 42]


# cast keccak $(cast abi-encode 'f(string,uint256,address,uint32,uint32,address,bytes32,bytes32)' FLModel …)
@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ((31337, CONTRACT, 7, 9, SENDER), "530a8d1ab3fb014bc8de986c238bc47656b3b9276188e000fda9260d73fbdcc4"),
        ((1, CONTRACT, 2**32 - 1, 1, SENDER), "936fb0a9b9ba25c91d8f7012a76d638e69143ad0c48bf4e14a65a93a4f1c160a"),
    ],
)
def test_a_model_commitment_is_the_contracts(place: tuple[int, bytes, int, int, bytes], expected: str) -> None:
    assert model_commitment(*place, HASH, SALT).hex() == expected


# cast keccak $(cast abi-encode 'f(string,uint256,address,uint32,uint32,address,uint256[],bytes32)' FLScore …)
@pytest.mark.parametrize(
    ("place", "row", "expected"),
    [
        ((31337, CONTRACT, 7, 9, SENDER), [], "821b72b4c927efe2637764d613aef39c1babec29bf210cf608c9fa3f0635cb1f"),
        ((31337, CONTRACT, 7, 9, SENDER), [1], "cb1a91f759339d890d8b6e1ab8e99ab5c917126104b8a4643a88efbc93b029ff"),
        ((31337, CONTRACT, 7, 9, SENDER), FULL, "785620fa04c238b0284d7d9f223da90c3a64d33f666f888d6cf9141305afd50c"),
        ((1, CONTRACT, 2**32 - 1, 1, SENDER), [], "5f4d5486c4c6fafe560340f55972e41b5e8678129e07fe1dab3a5b866ca084bc"),
        ((1, CONTRACT, 2**32 - 1, 1, SENDER), [1], "63908bb8d577a5f88731c3bb9c8447c159c7f340f1a2f7946f0c41e51214aaf6"),
        ((1, CONTRACT, 2**32 - 1, 1, SENDER), FULL, "3b9f9185cd4121713be3cbaa2a01212d0253cb51abe5aade77848c6568fada41"),
    ],
)
def test_a_score_commitment_is_the_contracts(
    place: tuple[int, bytes, int, int, bytes], row: list[int], expected: str
) -> None:
    assert score_commitment(*place, row, SALT).hex() == expected


# openssl kdf … HKDF with info "bfl-agent salt v1" over 32 bytes of 0x11, then openssl dgst -sha256 -mac HMAC
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (MODEL, "83ea9c6a2c9d6fd58afb876019b960497761c0f52600c38edf117a4ab2f285f7"),
        (SCORES, "0a27e9863236599a9dce24b2e46e466474803eb8feba8ebe6ff93e09a9ad52d4"),
    ],
)
def test_a_salt_follows_from_the_account_key_and_the_place(kind: int, expected: str) -> None:
    assert SaltKey.derive(b"\x11" * 32).salt(kind, 31337, CONTRACT, 7, 9).hex() == expected


places = st.tuples(
    st.sampled_from([MODEL, SCORES]),
    st.integers(0, 2**256 - 1),
    st.binary(min_size=20, max_size=20),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
)


@given(places, places)
def test_different_places_have_different_salts(
    one: tuple[int, int, bytes, int, int], other: tuple[int, int, bytes, int, int]
) -> None:
    key = SaltKey.derive(b"\x11" * 32)
    assert (key.salt(*one) == key.salt(*other)) == (one == other)


def test_a_salt_key_does_not_show_itself() -> None:
    key = SaltKey.derive(b"\x11" * 32)
    assert "f82dfc1b" not in repr(key).lower()
    assert "\\xf8" not in repr(key)


@pytest.mark.parametrize("size", [0, 19, 21, 32])
def test_an_address_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="contract"):
        model_commitment(1, bytes(size), 1, 1, SENDER, HASH, SALT)
    with pytest.raises(ValueError, match="sender"):
        score_commitment(1, CONTRACT, 1, 1, bytes(size), [1], SALT)
    with pytest.raises(ValueError, match="contract"):
        SaltKey.derive(b"\x11" * 32).salt(MODEL, 1, bytes(size), 1, 1)


def test_hashes_and_salts_have_32_bytes_and_kinds_are_two() -> None:
    with pytest.raises(ValueError, match="model_hash"):
        model_commitment(1, CONTRACT, 1, 1, SENDER, bytes(31), SALT)
    with pytest.raises(ValueError, match="salt"):
        score_commitment(1, CONTRACT, 1, 1, SENDER, [], bytes(33))
    with pytest.raises(ValueError, match="account_private_key"):
        SaltKey.derive(b"short")
    with pytest.raises(ValueError, match="kind"):
        SaltKey.derive(b"\x11" * 32).salt(2, 1, CONTRACT, 1, 1)
