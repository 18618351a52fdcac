"""The specification's grammar: canonical both ways, and hostile bytes get a sentence."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from agents.core.specification import BadSpecification, Scoring, Specification, Training, parse

SPECIFICATION = Specification(task="digits", classes=10, config={"width": 32})


def altered(**changes: object) -> bytes:
    document = SPECIFICATION.document() | changes
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


@given(
    st.builds(
        Specification,
        task=st.text(min_size=1, max_size=64).filter(lambda text: text.isprintable()),
        classes=st.integers(0, 100_000),
        training=st.builds(Training, local_epochs=st.integers(1, 50), optimizer=st.sampled_from(["sgd", "adamw"])),
        scoring=st.builds(Scoring, accuracy=st.integers(1, 9), data=st.sampled_from(["own", "test"])),
        aggregation=st.sampled_from(["mean", "median"]),
        allowed=st.just(("0x" + "ab" * 20,)),
    )
)
def test_what_is_encoded_is_parsed_to_the_same(specification: Specification) -> None:
    assert parse(specification.encode()) == specification


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x80\x04}", "not JSON"),
        (b"[" * 5000, "not JSON"),
        (b"x" * 300_000, "300000 bytes"),
        (SPECIFICATION.encode() + b" ", "not canonical"),
        (altered(extra=1), "unknown keys: 'extra'"),
        (altered(version=2), "version is 2"),
        (altered(config={"rate": 0.5}), "not an integer"),
        (altered(classes="ten"), "classes is 'ten'"),
        (altered(training={"learning_rate": "NaN"}), "decimal string from 0 to 100"),
        (altered(scoring={"data": "common"}), "common_cid"),
        (altered(allowed=["0x12"]), "not a lower-case 0x address"),
        (altered(allowed=["0x" + "b" * 40, "0x" + "a" * 40]), "sorted"),
        (altered(task="__import__('os').system('true')" * 9), "1 to 64 characters"),
    ],
)
def test_hostile_bytes_get_a_sentence(data: bytes, says: str) -> None:
    with pytest.raises(BadSpecification, match=says):
        parse(data)


@given(st.binary(max_size=200))
def test_random_bytes_never_do_anything_else(data: bytes) -> None:
    with pytest.raises(BadSpecification):
        parse(data)
