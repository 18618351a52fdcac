"""SPEC.toml: defaults of PROTOCOL 4.4, overrides, refusals, and a nonce that makes creating idempotent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agents.cli import terms
from agents.cli.failures import Failure
from bfl_events.terms import check_params

TEMPLATES = Path(terms.__file__).parent / "templates"
ADDRESS = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
SMALL = '[task]\nid = "x"\nclasses = 2\n[terms]\nrounds = 2\nreward = "1 ether"\n'
NOW = 1_800_000_000


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "spec.toml"
    path.write_text(text)
    return path


def read(tmp_path: Path, text: str) -> terms.Draft:
    return terms.read(write(tmp_path, text))


@pytest.mark.parametrize("name", ["digits", "mnist", "custom"])
def test_the_templates_are_terms_that_the_contract_takes_without_a_warning(tmp_path: Path, name: str) -> None:
    (tmp_path / "task.py").write_text((TEMPLATES / "task.py.txt").read_text())
    draft = read(tmp_path, (TEMPLATES / f"{name}.toml").read_text())
    params = draft.at(NOW)
    assert check_params(params, NOW, draft.reward) == []
    assert terms.price(params, draft.reward, draft.expected_workers, invited=False).warnings == ()


def test_the_presets_and_the_common_validation_set_give_the_defaults(tmp_path: Path) -> None:
    assert read(tmp_path, SMALL).params.dev_tol == 1_500
    assert read(tmp_path, SMALL + 'preset = "non-iid"\n').params.accept_bps == 7_000
    assert read(tmp_path, SMALL + 'preset = "open"\n').params.burn_bps == 10_000
    common = f'[scoring]\ndata = "common"\ncommon_cid = "x"\ncommon_sha256 = "{"0" * 64}"\n'
    assert read(tmp_path, common + SMALL).params.dev_tol == 750


def test_every_parameter_can_be_set(tmp_path: Path) -> None:
    draft = read(
        tmp_path,
        SMALL + 'tie_band = 7\nlate_join = true\ncollateral = "2 gwei"\nhard_stop = 1900000000\ntrain_window = 9\n',
    )
    assert (draft.params.tie_band, draft.params.late_join, draft.params.collateral) == (7, True, 2 * 10**9)
    assert draft.at(NOW).hard_stop == 1_900_000_000
    assert draft.at(NOW).train_window == 9


def test_collateral_and_hard_stop_have_their_defaults(tmp_path: Path) -> None:
    draft = read(tmp_path, SMALL)
    assert draft.params.collateral == min(2 * 10**18 // 2, 5 * 10**18 // 30)
    nominal = draft.params.join_window + 2 * (1_800 + 600 + 1_200 + 600)
    assert draft.at(NOW).hard_stop == NOW + 3 * nominal


def test_decimals_reach_the_specification_as_strings(tmp_path: Path) -> None:
    draft = read(tmp_path, "[training]\nlearning_rate = 0.0125\n" + SMALL)
    assert draft.specification.training.learning_rate == "0.0125"


def test_the_allow_list_is_sorted_checked_and_part_of_the_specification(tmp_path: Path) -> None:
    draft = read(tmp_path, SMALL + f'allow = ["{ADDRESS}", "0x{"11" * 20}", "{ADDRESS.lower()}"]\n')
    assert draft.specification.allowed == (f"0x{'11' * 20}", ADDRESS.lower())
    with pytest.raises(Failure, match="mistyped"):
        read(tmp_path, SMALL + f'allow = ["{ADDRESS.replace("d", "D")}"]\n')


def test_a_reference_file_is_named_by_its_hash(tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text("x = 1\n")
    text = SMALL.replace("classes = 2\n", 'classes = 2\nreference = "task.py"\n')
    assert read(tmp_path, text).specification.reference_sha256 is not None
    with pytest.raises(Failure, match="reference"):
        read(tmp_path, text.replace("task.py", "missing.py"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", r"\[task\] is missing"),
        ("x", "spec.toml"),
        (SMALL + "rewrad = 1\n", "rewrad.*Known"),
        (SMALL.replace("rounds = 2", "rounds = -2"), "terms.rounds is -2"),
        (SMALL.replace("rounds = 2\n", ""), "terms.rounds is missing"),
        (SMALL + "late_join = 1\n", "true or false"),
        (SMALL + 'preset = "fast"\n', "choose one of"),
        (SMALL.replace("1 ether", "1 apple"), "unit"),
        ("[extra]\n" + SMALL, "unknown tables: extra"),
        (SMALL.replace("classes = 2", "clases = 2"), "task.classes is missing"),
        (SMALL.replace('id = "x"\n', 'id = "x"\nspeed = 2\n'), r"\[task\] has unknown keys: speed"),
        ('[training]\noptimizer = "magic"\n' + SMALL, "choose one of sgd"),
        (SMALL + 'allow = "0x"\n', "list of addresses"),
        (SMALL + "max_workers = 1.5\n", "whole number"),
    ],
)
def test_a_bad_file_is_refused_with_the_place_and_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(Failure, match=reason) as error:
        read(tmp_path, text)
    assert error.value.exit == 10


def test_the_same_file_gives_the_same_nonce_and_any_change_another(tmp_path: Path) -> None:
    draft = read(tmp_path, SMALL)
    nonce = draft.nonce(ADDRESS)
    assert nonce == read(tmp_path, SMALL + "# a comment\n").nonce(ADDRESS)
    others = [
        draft.nonce("0x" + "00" * 20),
        draft.nonce(ADDRESS, b"model"),
        replace(draft, reward=draft.reward + 1).nonce(ADDRESS),
        read(tmp_path, SMALL.replace("rounds = 2", "rounds = 3")).nonce(ADDRESS),
        read(tmp_path, SMALL.replace('"x"', '"y"')).nonce(ADDRESS),
    ]
    assert len({nonce, *others}) == len(others) + 1


def test_the_price_warns_of_collateral_that_deters_nobody_or_that_nobody_bonds(tmp_path: Path) -> None:
    draft = read(tmp_path, SMALL)
    few = terms.price(replace(draft.params, collateral=1), draft.reward, 5, invited=True)
    assert "profits on average" in " ".join(few.warnings)
    much = terms.price(replace(draft.params, collateral=10**19), draft.reward, 5, invited=False)
    assert "refuse to join" in " ".join(much.warnings)
    assert "allow-list" in " ".join(much.warnings)
    none = terms.price(replace(draft.params, fee_bps=0, slash_bps=0, miss_bps=0), draft.reward, 5, invited=True)
    assert none.bounds is None
