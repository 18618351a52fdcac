"""Settings: precedence, refusals that say where and what was meant, and the layout of the home."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from pydantic import ValidationError

from agents.home import Home
from agents.notation import checksum_address, ether, wei
from agents.settings import Settings, SettingsError, find_home, load

ADDRESS = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.delenv("BFL_HOME", raising=False)
    return Home(tmp_path)


@pytest.fixture
def write(home: Home) -> Callable[[str], None]:
    def text(content: str) -> None:
        home.config.write_text(content)

    return text


def test_an_empty_home_has_usable_defaults(home: Home) -> None:
    settings = load(home)
    assert settings.chain.rpc == ("http://127.0.0.1:8545",)
    assert settings.chain.doorbells == ("ws://127.0.0.1:8545",)
    assert settings.chain.confirmations == 2
    assert settings.store_address == f"local:{home.root / 'blobs'}"
    assert settings.policy.max_fee_bps == 2_000


def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default(
    home: Home,
    write: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write("[chain]\nconfirmations = 5\npoll_s = 3.0\ndeadline_s = 7\n")
    monkeypatch.setenv("BFL_CHAIN__CONFIRMATIONS", "6")
    monkeypatch.setenv("BFL_CHAIN__POLL_S", "4")
    chain = load(home, {"chain": {"confirmations": 7}}).chain
    assert (chain.confirmations, chain.poll_s, chain.deadline_s, chain.start_block) == (7, 4, 7, 0)


def test_lists_come_from_the_environment_with_commas(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BFL_CHAIN__RPC", "https://a.example/key, http://b.example:1")
    monkeypatch.setenv("BFL_POLICY__REQUESTERS", ADDRESS.lower())
    settings = load(home)
    assert settings.chain.doorbells == ("wss://a.example/key", "ws://b.example:1")
    assert settings.policy.requesters == (ADDRESS,)


def test_tables_with_free_keys_come_from_the_environment(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BFL_LEARNING__PLUGINS", '{"mine": "task.py", "theirs": "their.task"}')
    assert load(home).plugins == {"mine": str(home.root / "task.py"), "theirs": "their.task"}


def test_the_development_profile_needs_no_confirmations_unless_told(home: Home) -> None:
    assert load(home, {"profile": "development"}).chain.confirmations == 0
    assert load(home, {"profile": "development", "chain": {"confirmations": 1}}).chain.confirmations == 1


def test_an_unknown_key_in_the_file_is_refused_with_a_suggestion(home: Home, write: Callable[[str], None]) -> None:
    write("[chain]\nconfirmation = 3\n")
    with pytest.raises(
        SettingsError, match=r"chain.confirmation \(in .*config.toml\) is unknown. Did you mean chain.confirm"
    ) as e:
        load(home)
    assert e.value.exit_code == 10


def test_an_unknown_variable_is_refused_with_a_suggestion(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BFL_CHIAN__RPC", "http://x")
    with pytest.raises(SettingsError, match="BFL_CHIAN__RPC is unknown. Did you mean BFL_CHAIN__RPC"):
        load(home)


def test_routes_for_reading_back_are_located_like_the_store_and_are_other_ones(
    home: Home, write: Callable[[str], None]
) -> None:
    write('[store]\nread_back = ["local:mirror", "gateway:https://ipfs.example"]\n')
    assert load(home).routes == (f"local:{home.root / 'mirror'}", "gateway:https://ipfs.example")
    write('[store]\nread_back = "local:blobs"\n')
    with pytest.raises(SettingsError, match="names the store itself"):
        load(home)


def test_every_problem_is_named_with_the_source_it_came_from(
    home: Home,
    write: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write('[chain]\nrpc = ["ftp://x"]\n[account]\naddress = "0x12"\n')
    monkeypatch.setenv("BFL_STORE__RETAIN_ROUNDS", "1")
    with pytest.raises(SettingsError) as error:
        load(home, {"policy": {"max_fee_bps": 10_001}})
    text = str(error.value)
    assert "4 settings are not valid" in text
    assert "chain.rpc.0 (in" in text
    assert "store.retain_rounds (in the environment)" in text
    assert "policy.max_fee_bps (in a flag)" in text
    assert "0x and 40 hex digits" in text


@pytest.mark.parametrize(
    "content", ["a = ", "\x00", "[chain]\nrpc = []\n", "home = '/x'", '[account]\npassword = "x"\n']
)
def test_a_bad_file_is_refused_and_left_as_it_was(home: Home, write: Callable[[str], None], content: str) -> None:
    write(content)
    with pytest.raises(SettingsError, match="config.toml|chain.rpc"):
        load(home)
    assert home.config.read_text() == content


def test_a_password_from_the_environment_is_never_shown(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BFL_ACCOUNT__PASSWORD", "correct horse")
    settings = load(home)
    assert settings.account.password is not None
    assert settings.account.password.get_secret_value() == "correct horse"
    assert "correct horse" not in repr(settings)


def test_settings_do_not_change(home: Home) -> None:
    settings = load(home)
    with pytest.raises(ValidationError):
        settings.role = "requester"
    with pytest.raises(ValidationError):
        settings.chain.poll_s = 1
    assert isinstance(settings, Settings)


@pytest.mark.parametrize(
    "partition",
    [
        {"index": 3, "of": 3},
        {"kind": "size", "index": 0, "of": 2, "shares": [1.0]},
        {"kind": "other", "index": 0, "of": 1},
    ],
)
def test_a_partition_that_makes_no_sense_is_refused(home: Home, partition: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="learning.partition"):
        load(home, {"learning": {"partition": partition}})


def test_the_home_is_the_flag_then_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BFL_HOME", str(tmp_path / "variable"))
    assert find_home().root == tmp_path / "variable"
    assert find_home(tmp_path / "flag").root == tmp_path / "flag"
    assert load(find_home()).home.root == tmp_path / "variable"


def test_the_layout_keeps_networks_apart_and_directories_private(tmp_path: Path) -> None:
    home = Home(tmp_path / "h").create()
    network = home.network(31337, ADDRESS).create()
    assert network.root == home.root / "networks" / "31337-70997970"
    assert home.keystore.stat().st_mode & 0o077 == 0
    assert network.models.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3 ether", 3 * 10**18),
        ("0.5 eth", 5 * 10**17),
        ("20 gwei", 20 * 10**9),
        ("7", 7),
        (7, 7),
        ("0", 0),
    ],
)
def test_amounts_are_read_exactly(text: object, expected: int) -> None:
    assert wei(text) == expected


@pytest.mark.parametrize(
    "text", ["", "1.5", "-1", "1e40 ether", "3 apples", "NaN", "Infinity ether", True, 1.5, None, "1 2 3", "0.1 wei"]
)
def test_what_is_no_whole_amount_of_wei_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="amount|unit|whole"):
        wei(text)


@given(st.integers(0, 2**128 - 1))
def test_showing_ether_loses_no_wei(amount: int) -> None:
    assert wei(f"{ether(amount)} ether") == amount


def test_addresses_are_checked_by_their_own_checksum() -> None:
    assert checksum_address(ADDRESS.lower()) == ADDRESS
    assert checksum_address(ADDRESS) == ADDRESS
    with pytest.raises(ValueError, match="mistyped"):
        checksum_address(ADDRESS.replace("d", "D"))
