"""The requester gets the attested model, checked; and says what is wrong when it cannot."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from agents.cli.exits import Exit
from agents.crypto.envelope import Context, seal
from agents.crypto.keys import generate_encryption_key, public_der, save_encryption_key
from agents.crypto.keystore import LIGHT_SCRYPT, read_password
from agents.storage import open_store
from tests import anvil as chain
from tests.anvil import ACCOUNTS, Anvil, Contract, deploy
from tests.cli.command import Operator
from tests.cli.played import round_without_the_first, started

REQUESTER = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
FINAL = b"the final model " * 4_000
GENESIS = b"the first model " * 4_000


@dataclass(frozen=True)
class Ended:
    """A task of one round in which workers 2 and 3 attested FINAL, sealed for the requester."""

    requester: Operator
    task: Contract
    blobs: Path


@pytest.fixture
def key() -> RSAPrivateKey:
    return generate_encryption_key(2056)


@pytest.fixture
def ended(anvil: Anvil, tmp_path: Path, key: RSAPrivateKey, monkeypatch: pytest.MonkeyPatch) -> Ended:
    requester, factory = home(tmp_path / "requester", anvil, key)
    store = Store(requester.home / "blobs", tmp_path)
    monkeypatch.setattr(chain, "KEY", public_der(key))
    monkeypatch.setattr(chain, "CID", store.put(GENESIS))
    task = started(anvil.url, factory, rounds=1, modelHash=hashlib.sha256(GENESIS).digest())
    round_without_the_first(anvil, task)
    for account in ACCOUNTS[2:4]:
        cid = store.put_sealed(FINAL, task, account, public_der(key))
        task.send("attestFinal", hashlib.sha256(FINAL).digest(), cid, sender=account)
    return Ended(requester, task, requester.home / "blobs")


@dataclass(frozen=True)
class Store:
    """Puts bytes into the requester's store, as an attester on the same machine would."""

    folder: Path
    scratch: Path

    def put(self, content: bytes) -> bytes:
        path = self.scratch / "content"
        path.write_bytes(content)

        async def put() -> bytes:
            return await open_store(f"local:{self.folder}", owner="attester", deadline=10).put(path)

        return asyncio.run(put())

    def put_sealed(self, model: bytes, task: Contract, sender: str, recipient: bytes) -> bytes:
        plain, sealed = self.scratch / "plain", self.scratch / "sealed"
        plain.write_bytes(model)
        context = Context(31337, bytes.fromhex(task.address[2:]), 1, 0, bytes.fromhex(sender[2:]), 2)
        seal(plain, sealed, context, [(bytes.fromhex(ACCOUNTS[0][2:]), recipient)])
        return self.put(sealed.read_bytes())


def home(path: Path, anvil: Anvil, key: RSAPrivateKey) -> tuple[Operator, str]:
    operator, factory = Operator(path), deploy(anvil.url).factory
    operator.ok("init", "--profile", "development", "--rpc", anvil.url)
    operator.ok("account", "import", "-", "--light-kdf", stdin=REQUESTER)
    config = operator.home / "config.toml"
    config.write_text(config.read_text().replace('# factory = "0x…"', f'factory = "{factory}"'))
    secret, now = read_password(operator.home / "secrets" / "password"), datetime.now(UTC)
    save_encryption_key(operator.home / "keystore" / "encryption", key, secret, created=now, scrypt_n=LIGHT_SCRYPT)
    return operator, factory


def get(ended: Ended, output: Path, *more: str) -> tuple[int, str]:
    answer = ended.requester("models", "get", "final", "-o", str(output), "--task", ended.task.address, *more)
    return answer.code, answer.out + answer.err


def test_the_attested_model_is_fetched_opened_checked_and_written(ended: Ended, tmp_path: Path) -> None:
    output = tmp_path / "model.safetensors"
    code, text = get(ended, output)
    assert code == 0, text
    assert output.read_bytes() == FINAL
    assert "attested by 2 members" in text
    assert ended.requester.ok("models", "get", "final", "-o", str(output), "--task", ended.task.address) == {
        "task": ended.task.address, "file": str(output), "model_hash": hashlib.sha256(FINAL).hexdigest(),
        "attested": True, "votes": 2,
    }
    assert ended.requester.ok("models", "verify", str(output))["matches"][0]["model"].startswith("final model")


def test_a_lost_envelope_is_replaced_by_another_attesters(ended: Ended, tmp_path: Path) -> None:
    lose_an_envelope(ended)
    code, text = get(ended, tmp_path / "model.safetensors")
    assert code == 0, text


def test_if_all_are_lost_the_command_says_so_and_writes_nothing(ended: Ended, tmp_path: Path) -> None:
    lose_an_envelope(ended)
    lose_an_envelope(ended)
    code, text = get(ended, tmp_path / "model.safetensors")
    assert code == Exit.STORE
    assert "could not be brought" in text
    assert not (tmp_path / "model.safetensors").exists()


def test_a_result_that_is_here_already_is_copied_without_the_store(ended: Ended, tmp_path: Path) -> None:
    results = ended.requester.home / "results"
    results.mkdir(exist_ok=True)
    (results / f"{ended.task.address}.safetensors").write_bytes(FINAL)
    assert get(ended, tmp_path / "model.safetensors", "--store", "local:/nowhere/at/all")[0] == 0


def test_a_spoiled_result_is_not_believed(ended: Ended, tmp_path: Path) -> None:
    results = ended.requester.home / "results"
    results.mkdir(exist_ok=True)
    (results / f"{ended.task.address}.safetensors").write_bytes(FINAL + b"!")
    assert get(ended, tmp_path / "model.safetensors")[0] == 0
    assert (tmp_path / "model.safetensors").read_bytes() == FINAL


def test_without_a_majority_the_operator_must_ask_for_it(
    anvil: Anvil, tmp_path: Path, key: RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    requester, factory = home(tmp_path / "requester", anvil, key)
    store = Store(requester.home / "blobs", tmp_path)
    monkeypatch.setattr(chain, "CID", store.put(GENESIS))
    task = started(anvil.url, factory, rounds=1, modelHash=hashlib.sha256(GENESIS).digest())
    round_without_the_first(anvil, task)
    digest = hashlib.sha256(FINAL).digest()
    task.send("attestFinal", digest, store.put_sealed(FINAL, task, ACCOUNTS[2], public_der(key)), sender=ACCOUNTS[2])
    ended = Ended(requester, task, requester.home / "blobs")
    code, text = get(ended, tmp_path / "model")
    assert code == Exit.ENDED_BADLY
    assert "--unattested" in text
    code, text = get(ended, tmp_path / "model", "--unattested")
    assert code == 0, text
    assert "NO MAJORITY" in text


def lose_an_envelope(ended: Ended) -> None:
    envelope = next(path for path in ended.blobs.rglob("*") if path.is_file() and path.read_bytes()[:4] == b"FLE1")
    envelope.unlink()
