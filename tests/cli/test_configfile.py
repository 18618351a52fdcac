"""Single values change; everything else in config.toml stays as the operator wrote it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from agents.cli.configfile import set_values, with_values
from agents.cli.failures import Failure

TEXT = """\
# mine
role = "worker"

[chain]   # the chain
rpc = ["http://a"]  # one
#factory = "old"

[policy]
factory = 3
"""


def test_a_value_is_replaced_and_comments_stay() -> None:
    changed = with_values(TEXT, "chain", {"rpc": ["http://b", "http://c"]})
    assert 'rpc = ["http://b", "http://c"]  # one' in changed
    assert changed.replace('["http://b", "http://c"]', '["http://a"]') == TEXT


def test_a_new_value_goes_into_its_own_table() -> None:
    table = tomllib.loads(with_values(TEXT, "chain", {"factory": "0x1"}))
    assert table["chain"] == {"factory": "0x1", "rpc": ["http://a"]}
    assert table["policy"] == {"factory": 3}


def test_a_value_that_is_only_shown_as_a_comment_takes_the_comments_place() -> None:
    changed = with_values(TEXT, "chain", {"factory": "0x1"})
    assert 'factory = "0x1"\n' in changed
    assert "#factory" not in changed


def test_a_missing_table_is_appended() -> None:
    assert tomllib.loads(with_values(TEXT, "account", {"address": "0x2"}))["account"] == {"address": "0x2"}
    assert tomllib.loads(with_values("", "chain", {"chain_id": 5, "x": True}))["chain"] == {"chain_id": 5, "x": True}


@given(st.text(st.characters(exclude_categories=("Cs", "Cc"))), st.integers(-(2**40), 2**40))
def test_what_is_written_is_read_back(text: str, number: int) -> None:
    changed = with_values(TEXT, "chain", {"a": text, "b": number})
    assert tomllib.loads(changed)["chain"] == {"a": text, "b": number, "rpc": ["http://a"]}


def test_the_file_is_private_and_a_form_that_cannot_be_edited_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    set_values(path, "chain", {"factory": "0x1"})
    assert path.stat().st_mode & 0o077 == 0
    path.write_text('chain = { rpc = ["http://a"] }\n')
    with pytest.raises(Failure, match="by hand: chain.factory"):
        set_values(path, "chain", {"factory": "0x1"})
    assert path.read_text() == 'chain = { rpc = ["http://a"] }\n'
    assert [file.name for file in tmp_path.iterdir()] == ["config.toml"]
