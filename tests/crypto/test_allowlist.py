"""Roots and proofs equal those of @openzeppelin/merkle-tree 1.0.8, StandardMerkleTree.of(…, ["address"])."""

import random

import pytest
from hypothesis import given, strategies as st

from agents.crypto.allowlist import merkle_proof, merkle_root, verify_proof

ROOTS = {
    1: "f321ce56216c8215eea40ec9a074b88b9a702f8faf64fc45c6d4882f9c02eab7",
    2: "676c0964686b9164103457620ea47bb5079a424b0a162cb6f8b3652bca3064b3",
    3: "5d0ee50e4de96b94659c16ff3acf389d3cf381648d8a18dbd0020329a3a5adc5",
    5: "bf89c89bec1148deb7aff7b6422cfa8276a15eed83cc56dea1cd68e914160756",
    8: "189c761ca655b4a3bf38b14725fa701c6cb00f6c3da87edf650d3c0f63fbe88c",
    13: "9fd4004d56095f59da2f6378386ff6bfc8bed45135a34ad264ca159dc7ad004e",
}
PROOF_OF_THE_LAST_OF_13 = [
    "32c861c4bc4bf28599b1ecaea098f7439b2cb006507f8f41ce824a29e84ef099",
    "f6082448f9740da54e3c98f5aa6444a224e8e3716787fc4234c0264212afdf4f",
    "c81e7bec6ddbf7d0afd7237c354939797ecdb6c15573d6c509a8b33a5391c33e",
    "5d3d30ec020bbdcadeec9a6fbb8d03db981bbb58fdda15fd44c2ef635d4cca19",
]
lists = st.lists(st.binary(min_size=20, max_size=20), min_size=1, max_size=20, unique=True)


def numbered(count: int) -> list[bytes]:
    return [bytes([i + 1]) * 20 for i in range(count)]


@pytest.mark.parametrize(("count", "root"), ROOTS.items())
def test_a_root_is_openzeppelins(count: int, root: str) -> None:
    assert merkle_root(numbered(count)).hex() == root


def test_a_proof_is_openzeppelins() -> None:
    assert [node.hex() for node in merkle_proof(numbered(13), b"\x0d" * 20)] == PROOF_OF_THE_LAST_OF_13


@given(lists)
def test_every_member_has_a_proof(addresses: list[bytes]) -> None:
    root = merkle_root(addresses)
    assert all(verify_proof(root, address, merkle_proof(addresses, address)) for address in addresses)


@given(lists, st.randoms())
def test_the_order_of_the_list_does_not_matter(addresses: list[bytes], dice: random.Random) -> None:
    shuffled = list(addresses)
    dice.shuffle(shuffled)
    assert merkle_root(shuffled) == merkle_root(addresses)


@given(lists, st.binary(min_size=20, max_size=20))
def test_a_proof_proves_nobody_else(addresses: list[bytes], stranger: bytes) -> None:
    if stranger not in addresses:
        proof = merkle_proof(addresses, addresses[0])
        assert not verify_proof(merkle_root(addresses), stranger, proof)
        with pytest.raises(ValueError, match="allow-list"):
            merkle_proof(addresses, stranger)


@pytest.mark.parametrize("addresses", [[], [b"\x01" * 20] * 2, [b"short"]])
def test_a_list_that_is_none_is_refused(addresses: list[bytes]) -> None:
    with pytest.raises(ValueError):
        merkle_root(addresses)
