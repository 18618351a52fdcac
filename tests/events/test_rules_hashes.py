"""Keccak-256 and the contract's byte layouts, against published vectors and independent implementations."""

from __future__ import annotations

from dataclasses import astuple, fields
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak
from eth_utils.address import to_checksum_address
from hypothesis import given, strategies as st

from bfl_events.commitment import (
    Creation,
    Place,
    address_bytes,
    audit_seed,
    checksum_address,
    model_commitment,
    score_commitment,
    task_address,
)
from bfl_events.evolve import Evolve, evolver
from bfl_events.keccak import keccak256
from bfl_events.state import Position, TaskState
from tests.events.ballots import terms
from tests.events.states import state
from tests.simulation.play import CID, FACTORY, IMPLEMENTATION, REQUESTER, account

words = st.integers(0, 2**256 - 1)
hashes = st.binary(min_size=32, max_size=32)
places = st.builds(Place, st.integers(1, 2**64), st.just(account(9)), st.integers(1, 2**32 - 1),
                   st.integers(1, 2**32 - 1))


@pytest.mark.parametrize(("message", "digest"), [
    (b"", "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
    (b"abc", "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"),
    (b"testing", "5f16f4c7f149ac4f9510d9cf8cf384038ad348b3bcdc01915f95de12df9d1b02"),
    (b"The quick brown fox jumps over the lazy dog",
     "4d741b6f1eb29cb2a9b9911c82f56fa8d73b04959d3d9d222895df6c0b28aa15"),
])
def test_keccak_gives_the_published_digests(message: bytes, digest: str) -> None:
    assert keccak256(message).hex() == digest


@pytest.mark.parametrize("length", [0, 1, 7, 8, 134, 135, 136, 137, 271, 272, 273, 1000])
def test_keccak_pads_right_around_every_block_boundary(length: int) -> None:
    message = bytes(k % 251 for k in range(length))
    assert keccak256(message) == keccak(message)


@given(st.binary(min_size=20, max_size=20))
def test_checksums_are_eip_55(raw: bytes) -> None:
    assert checksum_address(raw) == to_checksum_address(raw)
    assert address_bytes(checksum_address(raw)) == raw


@pytest.mark.parametrize("text", ["", "0x", "0x12", "12" * 20, "0x" + "12" * 21])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        address_bytes(text)


def test_an_address_has_20_bytes() -> None:
    with pytest.raises(ValueError, match="20 bytes"):
        checksum_address(bytes(19))


@given(places, hashes, hashes)
def test_a_models_commitment_is_solidity_s_abi_encode(place: Place, model_hash: bytes, salt: bytes) -> None:
    layout = ["string", "uint256", "address", "uint32", "uint32", "address", "bytes32", "bytes32"]
    values = ["FLModel", place.chain_id, place.task, place.round, place.attempt, account(1), model_hash, salt]
    assert model_commitment(place, account(1), model_hash, salt) == keccak(encode(layout, values))


@given(places, st.lists(words, max_size=8), hashes)
def test_a_rows_commitment_is_solidity_s_abi_encode(place: Place, row: list[int], salt: bytes) -> None:
    layout = ["string", "uint256", "address", "uint32", "uint32", "address", "uint256[]", "bytes32"]
    values = ["FLScore", place.chain_id, place.task, place.round, place.attempt, account(1), row, salt]
    assert score_commitment(place, account(1), row, salt) == keccak(encode(layout, values))


@given(words, places)
def test_the_audit_seed_is_solidity_s_abi_encode(prevrandao: int, place: Place) -> None:
    layout = ["uint256", "uint256", "address", "uint32", "uint32"]
    values = [prevrandao, place.chain_id, place.task, place.round, place.attempt]
    assert audit_seed(prevrandao, place) == keccak(encode(layout, values))


@given(st.binary(max_size=64), st.binary(max_size=64), st.binary(min_size=1, max_size=500), st.integers(0, 2**120))
def test_a_tasks_address_is_create2_of_a_clone_salted_with_its_terms(
    spec: bytes, model: bytes, key: bytes, reward: int
) -> None:
    params, nonce = terms(), b"n" * 32
    layout = f"({','.join(['uint256'] * 5 + ['bool'] * 2 + ['uint256'] * 19 + ['bytes32'] * 3)})"
    inner = keccak(encode([layout, "bytes", "bytes", "bytes", "uint256"], [astuple(params), spec, model, key, reward]))
    salt = keccak(encode(["address", "bytes32", "bytes32"], [REQUESTER, nonce, inner]))
    code = "3d602d80600a3d3981f3363d3d373d3d3d363d73" + IMPLEMENTATION[2:] + "5af43d82803e903d91602b57fd5bf3"
    made = keccak(b"\xff" + address_bytes(FACTORY) + salt + keccak(bytes.fromhex(code)))[12:]
    creation = Creation(REQUESTER, nonce, params, spec, model, key, reward)
    assert task_address(FACTORY, IMPLEMENTATION, creation) == to_checksum_address(made)


def test_a_changed_term_changes_the_address() -> None:
    creations = [Creation(REQUESTER, bytes(32), terms(dev_tol=tol), CID, CID, b"key", 3) for tol in (1500, 1501)]
    assert len({task_address(FACTORY, IMPLEMENTATION, creation) for creation in creations}) == 2


@pytest.mark.parametrize("before", [state(), Position(1, 2, 3)])
def test_a_copy_with_changes_leaves_the_original_alone(before: TaskState | Position) -> None:
    evolve: Evolve[Any] = evolver(type(before))
    name = fields(before)[0].name
    original = getattr(before, name)
    after = evolve(before, **{name: "other"})
    assert getattr(after, name) == "other"
    assert getattr(before, name) == original
    assert evolve(after, **{name: original}) == before
    with pytest.raises(TypeError, match="nothing"):
        evolve(before, nothing=1)
