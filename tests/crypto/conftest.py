"""The keys and the place that the committed vectors use; every other test of this room uses them too."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from agents.crypto.envelope import Context

VECTORS = Path(__file__).parent / "vectors"


def load_key(name: str) -> RSAPrivateKey:
    key = load_pem_private_key((VECTORS / f"{name}.pem").read_bytes(), None)
    assert isinstance(key, RSAPrivateKey)
    return key


@pytest.fixture(scope="session")
def vectors() -> Any:
    return json.loads((VECTORS / "vectors.json").read_text())


@pytest.fixture(scope="session")
def alice() -> RSAPrivateKey:
    return load_key("alice")


@pytest.fixture(scope="session")
def bob() -> RSAPrivateKey:
    return load_key("bob")


@pytest.fixture(scope="session")
def context() -> Context:
    return Context(31337, bytes(range(20)), 7, 9, bytes(range(100, 120)), 0)
