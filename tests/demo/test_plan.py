"""What a demo asks for: terms that agents accept, homes that they can read, and wishes that make sense."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from agents.cli import terms
from agents.cli.failures import Failure
from agents.cli.session import Session
from agents.demo.entry import Wish, demonstrate
from agents.demo.homes import make_homes
from agents.demo.plan import FUNDS_WEI, Plan
from agents.home import Home
from agents.settings import Policy, load
from tests.cli.command import Operator


@pytest.mark.parametrize("task", ["digits", "mnist"])
@pytest.mark.parametrize("workers", [2, 3, 5, 30])
@pytest.mark.parametrize("rounds", [1, 5, 100])
def test_agents_with_default_policies_accept_the_terms(tmp_path: Path, task: str, workers: int, rounds: int) -> None:
    plan = Plan(tmp_path, workers=workers, rounds=rounds, task=task)
    members = tuple(f"0x{number:040x}" for number in range(1, workers + 1))
    (tmp_path / "task.toml").write_text(plan.specification(members))
    draft, policy = terms.read(tmp_path / "task.toml"), Policy()
    assert draft.params.rounds == rounds
    assert draft.params.max_workers == draft.params.min_workers == workers
    assert 0 < draft.params.collateral <= min(policy.max_collateral_wei, 5 * draft.reward // workers)
    assert draft.reward + draft.params.collateral < FUNDS_WEI
    assert len(draft.allowed) == workers
    if rounds > 1 and workers in (3, 5):
        assert terms.price(draft.params, draft.reward, workers, invited=True).warnings == ()
    if task == "digits":
        assert (draft.params.dev_tol, draft.params.tie_band) == (3000, 1000)


def test_homes_are_complete_private_and_share_only_the_store(tmp_path: Path) -> None:
    plan = Plan(tmp_path, workers=3, malicious=1, seed=4)
    people = make_homes(plan, "http://127.0.0.1:1", 31337)
    assert [(one.name, one.role, one.attack) for one in people] == [
        ("requester", "requester", None), ("worker-1", "worker", None), ("worker-2", "worker", None),
        ("worker-3", "worker", "label-flip")]
    assert len({one.address for one in people}) == 4
    for one in people:
        settings = load(one.home)
        assert settings.role == one.role
        assert settings.account.address == one.address
        assert settings.chain.confirmations == 0
        assert settings.policy.requesters == (people[0].address,)
        assert Path(settings.store_address.removeprefix("local:")).resolve() == tmp_path / "blobs"
        assert settings.store.retain_rounds > plan.rounds
        assert one.home.password.stat().st_mode & 0o777 == 0o600
    parts = [load(one.home).learning.partition for one in people[1:]]
    assert [(part.index, part.of, part.seed) for part in parts if part is not None] == [(0, 3, 4), (1, 3, 4), (2, 3, 4)]
    assert "partition" not in tomllib.loads(people[0].home.config.read_text()).get("learning", {})


def wish(**changes: object) -> Wish:
    usual = {"workers": 3, "rounds": 5, "task": "digits", "data_dir": None, "malicious": 0, "attacks": ("noise",),
             "seed": 0, "keep": None}
    return Wish(**{**usual, **changes})     # type: ignore[arg-type]


def test_results_never_overwrite_anything(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(Failure, match="is not empty") as told:
        demonstrate(wish(keep=tmp_path), Session(Home(tmp_path)))
    assert told.value.exit == 2
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_demo_without_an_honest_worker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="Somebody has to be honest"):
        demonstrate(wish(malicious=3), Session(Home(tmp_path)))


def test_a_missing_data_directory_is_said_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="is no directory"):
        demonstrate(wish(task="mnist", data_dir=tmp_path / "nothing", keep=tmp_path / "out"), Session(Home(tmp_path)))
    assert not (tmp_path / "out").exists()


def test_cheats_play_the_attacks_in_turn(tmp_path: Path) -> None:
    plan = Plan(tmp_path, workers=5, malicious=3, attacks=("noise", "lazy"))
    assert [plan.attack_of(name) for name in ("requester", *plan.worker_names)] == [
        None, None, None, "noise", "lazy", "noise"]


def test_an_attack_that_is_none_is_refused_with_the_names_of_those_that_are(tmp_path: Path) -> None:
    answer = Operator(tmp_path)("demo", "--attack", "noise,shouting")
    assert answer.code == 2
    assert "'shouting' is no attack" in answer.err
    assert "liar-low" in answer.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("chaos", ["kill,rp", "all", "kill;rpc", ","])
def test_faults_that_there_are_not_are_refused_by_name(tmp_path: Path, chaos: str) -> None:
    wish = Wish(3, 1, "digits", None, 0, ("label-flip",), 0, tmp_path / "kept", chaos)
    with pytest.raises(Failure, match="is no list of faults") as told:
        demonstrate(wish, Session(Home(tmp_path)))
    assert "kill, rpc, store, reorg" in told.value.why
    assert not (tmp_path / "kept").exists()


def test_rounds_under_chaos_are_longer(tmp_path: Path) -> None:
    short, long = (Plan(tmp_path, long_rounds=one).specification(()) for one in (False, True))
    epochs = [tomllib.loads(text)["training"]["local_epochs"] for text in (short, long)]
    assert epochs[1] == 6 * epochs[0]
