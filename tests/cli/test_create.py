"""Creating a task with the real learning child, the embedded store and a real EVM: once, whatever happens."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from agents.cli import terms
from agents.cli.exits import Exit
from agents.core.specification import parse
from agents.crypto.allowlist import merkle_root
from agents.effects.contracts import ContractChain, CreatedTask, Creation
from agents.effects.ports import Transient
from tests.anvil import ACCOUNTS, Anvil, Contract, deploy, rpc
from tests.cli.command import Operator, nothing_changed

KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
DIGITS = (Path(terms.__file__).parent / "templates" / "digits.toml").read_text()


@pytest.fixture
def requester(anvil: Anvil, tmp_path: Path) -> Operator:
    operator = Operator(tmp_path / "requester")
    operator.ok("init", "--profile", "development", "--rpc", anvil.url, "--role", "requester")
    operator.ok("account", "import", "-", "--light-kdf", stdin=KEY)
    config = operator.home / "config.toml"
    factory = deploy(anvil.url).factory
    config.write_text(config.read_text().replace('# factory = "0x…"', f'factory = "{factory}"'))
    return operator


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "digits.toml"
    path.write_text(DIGITS)
    return path


def balance(anvil: Anvil, account: str = ACCOUNTS[0]) -> int:
    return int(rpc(anvil.url, "eth_getBalance", account, "latest"), 16)


def test_a_task_is_created_funded_published_and_found_again(requester: Operator, anvil: Anvil, spec: Path) -> None:
    invited = [ACCOUNTS[1], ACCOUNTS[2]]
    spec.write_text(DIGITS + f'allow = ["{invited[0]}", "{invited[1]}"]\n')
    made = requester.ok("task", "create", str(spec), "--yes")
    task = Contract(anvil.url, made["task"], "FLTask")
    assert made["created"] is True
    assert balance(anvil, made["task"]) == 2 * 10**16
    (shown,) = requester.ok("task", "list")["tasks"]
    assert (shown["task"], shown["phase"], shown["you"]) == (made["task"], "joining", "requester")
    assert task.call("requester").lower() == ACCOUNTS[0].lower()
    _check_published(requester, shown)
    before = balance(anvil)
    root = merkle_root(bytes.fromhex(address[2:]) for address in invited)
    assert shown["params"]["allow_root"] == f"0x{root.hex()}"
    spec.write_text("# a comment changes nothing\n" + spec.read_text())
    again = requester.ok("task", "create", str(spec), "--yes")
    assert (again["task"], again["created"]) == (made["task"], False)
    assert balance(anvil) == before
    model = requester.home / "g.safetensors"
    model.write_bytes(next((requester.home / "networks").rglob("models/*.safetensors")).read_bytes())
    assert requester.ok("models", "verify", str(model))["matches"] == [{"task": made["task"], "model": "initial model"}]


def test_what_was_about_to_be_created_stays_the_same_task_whatever_changed_since(
    requester: Operator, spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction may be on its way already: with another key in it, it would be a second task, paid for as well."""
    tried: list[Creation] = []

    async def no_answer(_: ContractChain, __: str, creation: Creation) -> CreatedTask:
        tried.append(creation)
        raise Transient("the chain does not answer")

    monkeypatch.setattr(ContractChain, "create_task", no_answer)
    assert requester("task", "create", str(spec), "--yes").code == Exit.NO_RPC
    requester.ok("keys", "rotate")
    assert requester("task", "create", str(spec), "--yes").code == Exit.NO_RPC
    assert tried[0] == tried[1]


def _check_published(requester: Operator, shown: dict[str, str]) -> None:
    """The specification and the model are pinned under the CIDs and hashes that the chain holds."""
    params = shown["params"]
    assert isinstance(params, dict)
    blobs = {
        hashlib.sha256(path.read_bytes()).hexdigest(): path
        for path in (requester.home / "blobs").rglob("*")
        if path.is_file()
    }
    specification = blobs[params["spec_hash"].removeprefix("0x")].read_bytes()
    assert parse(specification).task == "digits"
    assert params["model_hash"].removeprefix("0x") in blobs


def test_a_dry_run_and_a_refused_question_change_nothing(requester: Operator, anvil: Anvil, spec: Path) -> None:
    requester.ok("task", "list")
    with nothing_changed(requester, anvil.url, ACCOUNTS[0]):
        shown = requester.ok("task", "create", str(spec), "--dry-run")
        assert shown["warnings"] == []
        answer = requester("task", "create", str(spec))
        assert answer.code == Exit.USAGE
        assert "conservative bound" in answer.err
        assert requester.ok("task", "list")["tasks"] == []


def test_an_account_that_cannot_pay_is_told_how_much_is_missing(requester: Operator, anvil: Anvil, spec: Path) -> None:
    spec.write_text(DIGITS.replace('"0.02 ether"', '"20000 ether"'))
    with nothing_changed(requester, anvil.url, ACCOUNTS[0]):
        answer = requester("task", "create", str(spec), "--yes", "--json")
    assert answer.code == Exit.FUNDS
    assert "20000" in answer.error["why"]
    assert requester.ok("task", "list")["tasks"] == []


def test_terms_that_the_contract_would_refuse_are_refused_before_anything_is_published(
    requester: Operator, anvil: Anvil, spec: Path
) -> None:
    spec.write_text(DIGITS.replace("min_active = 2", "min_active = 9"))
    with nothing_changed(requester, anvil.url, ACCOUNTS[0]):
        answer = requester("task", "create", str(spec), "--yes", "--json")
    assert answer.code == Exit.CONFIGURATION
    assert "minActive 9" in answer.error["why"]
    assert not (requester.home / "blobs").exists()


def test_a_task_that_is_not_installed_here_cannot_be_created(requester: Operator, anvil: Anvil, spec: Path) -> None:
    spec.write_text(DIGITS.replace('id = "digits"', 'id = "nothing"'))
    with nothing_changed(requester, anvil.url, ACCOUNTS[0]):
        answer = requester("task", "create", str(spec), "--yes", "--json")
    assert answer.code == Exit.PLUGIN
    assert "nothing" in answer.error["why"]


def test_a_task_file_that_raises_is_named_with_its_line(requester: Operator, anvil: Anvil, spec: Path) -> None:
    (requester.home / "broken.py").write_text(
        "def build_model(config):\n    return 1 / 0\n\ndef load_data(config):\n    pass\n"
    )
    config = requester.home / "config.toml"
    config.write_text(config.read_text().replace('# my-task = "task.py"', 'broken = "broken.py"'))
    spec.write_text(DIGITS.replace('id = "digits"', 'id = "broken"'))
    with nothing_changed(requester, anvil.url, ACCOUNTS[0]):
        answer = requester("task", "create", str(spec), "--yes", "--json")
    assert answer.code == Exit.PLUGIN
    assert "ZeroDivisionError" in answer.error["why"]
    assert "broken.py, line 2" in answer.error["why"]


def test_a_store_that_does_not_answer_stops_before_any_money_moves(
    requester: Operator, anvil: Anvil, spec: Path
) -> None:
    with nothing_changed(requester, anvil.url, ACCOUNTS[0]):
        answer = requester("task", "create", str(spec), "--yes", "--json", "--store", "http://127.0.0.1:1")
    assert answer.code == Exit.STORE
    assert "store" in answer.error["do"]
    assert requester.ok("task", "list")["tasks"] == []


def test_a_model_that_does_not_fit_is_refused(requester: Operator, anvil: Anvil, spec: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    model.write_bytes(b"\x80\x04pickle")
    with nothing_changed(requester, anvil.url, ACCOUNTS[0]):
        answer = requester("task", "create", str(spec), "--yes", "--model", str(model), "--json")
    assert answer.code == Exit.PLUGIN
    assert "no initial model" in answer.error["what"]


def test_doctor_tries_the_tasks_code_on_this_sites_data(requester: Operator, spec: Path) -> None:
    checks = requester("doctor", "--data", str(spec), "--json").json["checks"]
    data = next(check for check in checks if check["part"] == "data")
    assert data["state"] == "ok", data
    assert "10 of 10 labels" in data["result"]
