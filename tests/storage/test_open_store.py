"""Which addresses open which store, and what is said of the others."""

from pathlib import Path

import pytest

from agents.storage import InvalidAddress, open_source, open_store
from agents.storage.gateway import Gateway
from agents.storage.kubo import KuboStore
from agents.storage.local import LocalStore


@pytest.mark.parametrize("directory", ["/srv/blobs", "blobs", "~/blobs"])
def test_local_opens_the_embedded_store(directory: str) -> None:
    store = open_store(f"local:{directory}", owner="alice", deadline=1)
    assert isinstance(store, LocalStore)
    assert store._directory == Path(directory).expanduser().absolute()


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("/ip4/127.0.0.1/tcp/5001", "http://127.0.0.1:5001"),
        ("/ip4/127.0.0.1/tcp/5001/", "http://127.0.0.1:5001"),
        ("/ip6/::1/tcp/5001", "http://[::1]:5001"),
        ("/dns/kubo/tcp/5001/http", "http://kubo:5001"),
        ("/dns4/kubo.example/tcp/443/https", "https://kubo.example"),
        ("/dns4/kubo.example/tcp/443/tls/http", "https://kubo.example"),
        ("http://127.0.0.1:5001", "http://127.0.0.1:5001"),
        ("http://127.0.0.1:5001/api/v0/", "http://127.0.0.1:5001"),
        ("https://kubo.example", "https://kubo.example"),
    ],
)
async def test_multiaddrs_and_urls_open_kubo(address: str, origin: str) -> None:
    store = open_store(address, owner="alice", deadline=1)
    assert isinstance(store, KuboStore)
    assert str(store._origin) == origin
    assert str(store._connected().api_url).startswith(origin)
    await store.close()


@pytest.mark.parametrize(
    "address",
    [
        "",
        "local:",
        "/ip4/127.0.0.1",
        "/ip4/127.0.0.1/tcp/0",
        "/ip4/127.0.0.1/tcp/99999",
        "/ip4/127.0.0.1/tcp/5001/ws",
        "/ip4/127.0.0.1/udp/5001",
        "/srv/blobs",
        "127.0.0.1:5001",
        "ftp://host:21",
        "http://",
        "http://host:port",
        "http://host:5001/other",
        "http://host:5001/?key=1",
        "ipfs",
    ],
)
def test_other_addresses_are_refused_with_the_forms_that_work(address: str) -> None:
    with pytest.raises(ValueError, match="local:DIRECTORY"):
        open_store(address, owner="alice", deadline=1)


@pytest.mark.parametrize(
    "address", ["gateway:", "gateway:ipfs.example", "gateway:ftp://host", "gateway:http://", "gateway:http://host/?key=1"]
)
def test_what_is_no_gateway_is_refused(address: str) -> None:
    with pytest.raises(InvalidAddress, match="gateway:https://HOST"):
        open_source(address, owner="alice", deadline=1)


async def test_a_store_or_a_gateway_can_be_read_from() -> None:
    for address, kind in (("gateway:https://ipfs.example", Gateway), ("http://127.0.0.1:5001", KuboStore)):
        source = open_source(address, owner="alice", deadline=1)
        assert isinstance(source, kind)
        await source.close()


def test_a_refusal_does_not_repeat_a_password() -> None:
    with pytest.raises(ValueError) as caught:
        open_store("http://agent:s3cret@host:5001/other", owner="alice", deadline=1)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("owner", ["", "..", "a/b", ".hidden", "a" * 65, "a b", "ä"])
@pytest.mark.parametrize("address", ["local:blobs", "http://127.0.0.1:5001"])
def test_an_owner_is_a_plain_name(address: str, owner: str) -> None:
    with pytest.raises(ValueError, match="owner"):
        open_store(address, owner=owner, deadline=1)


def test_a_deadline_is_positive() -> None:
    with pytest.raises(ValueError, match="deadline"):
        open_store("local:blobs", owner="alice", deadline=0)


def test_the_embedded_store_loads_neither_aiohttp_nor_aioipfs() -> None:
    import subprocess
    import sys

    program = (
        "import sys; from agents.storage import open_store; open_store('local:x', owner='a', deadline=1);"
        "assert not {'aiohttp', 'aioipfs'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])
