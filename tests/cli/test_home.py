"""A new home, its account and keys, and what is said when something about them is wrong."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agents.cli.exits import Exit
from agents.crypto.accounts import load_account
from agents.crypto.keys import generate_encryption_key, key_id, public_der, save_encryption_key
from agents.crypto.keystore import LIGHT_SCRYPT, read_password
from agents.settings import Settings
from tests.cli.command import Operator

KEY = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"
ADDRESS = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
DIGITS = Path(__file__).resolve().parents[2] / "agents/cli/templates/digits.toml"


def test_init_writes_a_private_home_once_and_changes_nothing_the_second_time(newcomer: Operator) -> None:
    first = newcomer.ok(
        "init",
        "--template",
        "pytorch",
        "--role",
        "requester",
        "--rpc",
        "http://127.0.0.1:7",
        "--new-account",
        "--light-kdf",
    )
    assert sorted(Path(path).name for path in first["written"]) == ["config.toml", "password", "task.py", "task.toml"]
    assert 'role = "requester"' in (newcomer.home / "config.toml").read_text()
    for path in [newcomer.home, *newcomer.home.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    before = newcomer.files()
    again = newcomer.ok("init", "--template", "pytorch", "--new-account")
    assert again["written"] == []
    assert again["address"] == first["address"]
    assert newcomer.files() == before


def test_the_written_configuration_is_one_that_can_be_read(operator: Operator) -> None:
    assert operator("status").code == 0
    assert operator.ok("task", "price", str(DIGITS))["warnings"] == []


def test_an_imported_key_opens_with_the_homes_password_and_is_not_printed(newcomer: Operator, tmp_path: Path) -> None:
    newcomer.ok("init")
    answer = newcomer("account", "import", "-", "--light-kdf", stdin=f"0x{KEY}\n")
    assert answer.code == 0
    assert answer.out.startswith(ADDRESS)
    assert KEY not in answer.out + answer.err
    secret = read_password(newcomer.home / "secrets" / "password")
    assert load_account(newcomer.home / "keystore", bytes.fromhex(ADDRESS[2:]), secret).hex() == KEY
    assert newcomer.ok("account", "list")["accounts"][0]["address"] == ADDRESS


def test_a_key_file_of_somebody_else_is_opened_with_its_own_password(newcomer: Operator, tmp_path: Path) -> None:
    other = Operator(tmp_path / "other")
    other.ok("init", "--new-account", "--light-kdf")
    (keyfile,) = other.ok("account", "list")["accounts"]
    newcomer.ok("init")
    before = newcomer.files()
    wrong = newcomer("account", "import", keyfile["path"], "--json")
    assert wrong.code == Exit.ACCOUNT
    assert "password does not open" in wrong.error["why"]
    assert newcomer.files() == before
    made = newcomer.ok(
        "account",
        "import",
        keyfile["path"],
        "--source-password-file",
        str(other.home / "secrets" / "password"),
        "--light-kdf",
    )
    assert made["address"] == keyfile["address"]
    twice = newcomer(
        "account", "import", keyfile["path"], "--source-password-file", str(other.home / "secrets" / "password")
    )
    assert twice.code == Exit.ACCOUNT
    assert "already" in twice.err


@pytest.mark.parametrize("text", ["", "zz", "00" * 32, "ff" * 32, KEY[:-2]])
def test_what_is_no_private_key_is_refused(newcomer: Operator, text: str) -> None:
    newcomer.ok("init")
    before = newcomer.files()
    answer = newcomer("account", "import", "-", stdin=text)
    assert (answer.code, newcomer.files()) == (Exit.ACCOUNT, before)
    assert "no private key" in answer.err
    assert not text or text not in answer.err


def test_no_command_takes_a_key_on_its_command_line(newcomer: Operator) -> None:
    assert "--private-key" not in newcomer("account", "import", "--help").out
    assert newcomer("account", "new", "--key", KEY).code == Exit.USAGE


def test_without_a_password_no_account_is_made(newcomer: Operator) -> None:
    answer = newcomer("account", "new", "--json")
    assert answer.code == Exit.ACCOUNT
    assert "does not exist" in answer.error["what"]
    assert "bfl-agent init" in answer.error["do"]
    assert not newcomer.home.exists()


def test_two_accounts_must_be_told_apart(operator: Operator) -> None:
    operator.ok("account", "new", "--light-kdf")
    answer = operator("doctor", "--json")
    account = next(check for check in answer.json["checks"] if check["part"] == "account")
    assert (account["state"], answer.code) == ("FAIL", Exit.PREFLIGHT)
    assert "not clear which account" in account["result"]


def test_a_rotated_key_is_stored_and_the_old_one_kept(operator: Operator) -> None:
    old = generate_encryption_key(2056)
    folder, secret = operator.home / "keystore" / "encryption", read_password(operator.home / "secrets" / "password")
    save_encryption_key(folder, old, secret, created=datetime(2026, 1, 1, tzinfo=UTC), scrypt_n=LIGHT_SCRYPT)
    second = operator.ok("keys", "rotate")
    shown = operator.ok("keys", "show")["keys"]
    assert [key["key_id"] for key in shown] == [second["key_id"][:16], key_id(public_der(old)).hex()[:16]]
    assert second["announced"] == []


def test_status_says_that_nobody_runs_and_probes_can_tell(operator: Operator) -> None:
    assert operator.ok("status")["running"] is False
    assert "bfl-agent run" in operator("status").out
    assert operator("status", "--check").code == Exit.PREFLIGHT


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["task", "lst"], Exit.USAGE, "No such command"),
        (["task"], Exit.USAGE, "Missing command"),
        (["task", "list"], Exit.CONFIGURATION, "No factory is configured"),
        (["models", "get", "best", "-o", "x"], Exit.USAGE, "best"),
        (["init", "--template", "java"], Exit.USAGE, "pytorch"),
        (["run", "--task", "0x12"], Exit.USAGE, "no address"),
        (["ledger", "explain", "0x12"], Exit.USAGE, "no transaction hash"),
        (["task", "wait", "--for", "tea"], Exit.USAGE, "nothing to wait for"),
        (["task", "list", "--rpc", "ftp://x"], Exit.CONFIGURATION, "chain.rpc.0 (in a flag)"),
        (["task", "price", "missing.toml"], Exit.CONFIGURATION, "does not exist"),
        (["task", "list", "--factory", ADDRESS], Exit.NO_RPC, "No RPC endpoint answers"),
    ],
)
def test_errors_say_what_happened_in_words_and_as_json(
    operator: Operator, arguments: list[str], code: int, words: str
) -> None:
    before = operator.files()
    spoken, machine = operator(*arguments), operator(*arguments, "--json")
    assert (spoken.code, machine.code) == (code, code)
    assert words in spoken.err
    assert spoken.err.startswith("✗ ")
    assert machine.error["exit"] == code
    assert words in json.dumps(machine.error, ensure_ascii=False)
    assert {name: content for name, content in operator.files().items() if not name.startswith("networks")} == before


@pytest.mark.parametrize(
    "words", [["--help"], ["status"], ["doctor"], ["task", "price", "agents/cli/templates/digits.toml"]]
)
def test_quick_commands_import_no_torch_and_web3_only_to_ask_the_chain(operator: Operator, words: list[str]) -> None:
    heavy = ("torch", "sklearn") if words == ["doctor"] else ("torch", "sklearn", "web3")
    code = (
        "import sys; from agents.cli.app import invoke; invoke(sys.argv[1:]);"
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--home", str(operator.home)], capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"


def test_a_misspelt_setting_is_refused_by_every_command(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    config = operator.home / "config.toml"
    config.write_text(config.read_text().replace("[chain]", "[chain]\nconfirmatons = 3"))
    answer = operator("account", "new", "--json")
    assert answer.code == Exit.CONFIGURATION
    assert "Did you mean chain.confirmations?" in answer.error["why"]
    assert len(operator.ok("account", "list")["accounts"]) == 1


def test_run_hands_over_to_the_agent_and_ends_with_its_code(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = []

    async def run(settings: Settings, *, task: str | None = None) -> int:
        served.append((settings.role, task))
        return 23

    monkeypatch.setattr("agents.composition.run", run)
    assert operator("--role", "requester", "--task", ADDRESS.lower()).code == 23
    assert operator("run").code == 23
    assert served == [("requester", ADDRESS), ("worker", None)]


def test_a_bug_leaves_a_redacted_traceback_and_one_sentence(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("at https://u:secret@rpc/KEY")

    monkeypatch.setattr("agents.identity.identities", broken)
    answer = operator("account", "list")
    assert answer.code == Exit.BUG
    assert "This is a bug: RuntimeError" in answer.err
    (trace,) = (operator.home / "logs").glob("crash-*.txt")
    assert "Traceback" in trace.read_text()
    assert "secret" not in trace.read_text()
    assert "secret" not in answer.err


def test_help_is_there_for_every_command(newcomer: Operator) -> None:
    for words in (
        [],
        ["task"],
        ["task", "create"],
        ["rounds", "explain"],
        ["models", "get"],
        ["ledger", "withdraw"],
        ["account", "import"],
        ["keys", "rotate"],
        ["contracts", "deploy"],
        ["init"],
        ["doctor"],
        ["run"],
        ["status"],
    ):
        answer = newcomer(*words, "--help")
        assert answer.code == 0
        assert "Usage: " in answer.out
