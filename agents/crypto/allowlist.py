"""Allow-lists as OpenZeppelin's StandardMerkleTree of ["address"] builds them. Pure; knows no contract.

leaf = keccak(keccak(abi.encode(address))); leaves sorted, laid from the end of a heap; pairs hashed in sorted order.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from eth_utils.crypto import keccak

_ADDRESS_BYTES: Final = 20


def merkle_root(addresses: Iterable[bytes]) -> bytes:
    """The 32-byte root over 20-byte addresses, in any order. Raises ValueError: none, one twice, a wrong length."""
    return _tree(addresses)[0]


def merkle_proof(addresses: Iterable[bytes], address: bytes) -> list[bytes]:
    """What `joinTask` needs to show that `address` is listed: the siblings from leaf to root. Raises ValueError."""
    tree = _tree(addresses)
    try:
        at = tree.index(_leaf(address), len(tree) // 2)
    except ValueError:
        raise ValueError(f"0x{address.hex()} is not on the allow-list") from None
    proof = []
    while at > 0:
        proof.append(tree[at + 1 if at % 2 else at - 1])
        at = (at - 1) // 2
    return proof


def verify_proof(root: bytes, address: bytes, proof: Sequence[bytes]) -> bool:
    """What the contract checks."""
    node = _leaf(address)
    for sibling in proof:
        node = _pair(node, sibling)
    return node == root


def _tree(addresses: Iterable[bytes]) -> list[bytes]:
    leaves = sorted(_leaf(address) for address in addresses)
    if not leaves:
        raise ValueError("an allow-list names at least one address")
    if len(set(leaves)) != len(leaves):
        raise ValueError("an address stands on the allow-list twice")
    tree = [b""] * (len(leaves) - 1) + leaves[::-1]
    for at in reversed(range(len(leaves) - 1)):
        tree[at] = _pair(tree[2 * at + 1], tree[2 * at + 2])
    return tree


def _leaf(address: bytes) -> bytes:
    if len(address) != _ADDRESS_BYTES:
        raise ValueError(f"an address has {_ADDRESS_BYTES} bytes, not {len(address)}")
    return keccak(keccak(address.rjust(32, b"\0")))


def _pair(a: bytes, b: bytes) -> bytes:
    return keccak(min(a, b) + max(a, b))
