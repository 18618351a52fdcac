"""The commands against a real EVM: deploying, reading, explaining, paying out; and when the chain objects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agents.cli.exits import Exit
from tests.anvil import ACCOUNTS, TERMS, Anvil, create_task, deploy, join, rpc
from tests.cli.command import Operator, nothing_changed
from tests.cli.played import logs_of, pass_time, round_without_the_first, started

KEYS = (
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
)


@pytest.fixture(scope="module")
def factory(anvil: Anvil) -> str:
    return deploy(anvil.url).factory


@pytest.fixture
def settled(anvil: Anvil, tmp_path: Path) -> Operator:
    """anvil's second account, on this chain, without a factory."""
    return at_home(tmp_path / "worker", anvil.url, KEYS[1])


@pytest.fixture
def worker(settled: Operator, factory: str) -> Operator:
    config = settled.home / "config.toml"
    config.write_text(config.read_text().replace('# factory = "0x…"', f'factory = "{factory}"\nchain_id = 31337'))
    return settled


def at_home(home: Path, url: str, key: str) -> Operator:
    operator = Operator(home)
    operator.ok("init", "--profile", "development", "--rpc", url)
    operator.ok("account", "import", "-", "--light-kdf", stdin=key)
    return operator


def test_a_factory_is_deployed_once_and_written_into_the_configuration(settled: Operator) -> None:
    refused = settled("contracts", "deploy")
    assert (refused.code, "Repeat it with --yes" in refused.err) == (Exit.USAGE, True)
    first = settled.ok("contracts", "deploy", "--yes")
    assert f'factory = "{first["factory"]}"' in (settled.home / "config.toml").read_text()
    doctor = settled("doctor", "--json")
    assert doctor.code == 0, doctor.out
    again = settled.ok("contracts", "deploy", "--yes")
    assert (again["factory"], again["start_block"]) == (first["factory"], first["start_block"])
    assert settled.ok("contracts", "deploy", "--yes", "--series", "second")["factory"] != first["factory"]
    assert settled.ok("task", "list") == {"tasks": []}


def test_doctor_finds_nothing_wrong_and_names_each_part(worker: Operator) -> None:
    answer = worker("doctor")
    assert answer.code == 0, answer.out
    for part in ("config", "account", "password", "rpc[0]", "contract", "balance", "store", "clock", "disk"):
        assert part in answer.out
    assert "All is well." in answer.out or "warnings" in answer.out


def test_doctor_names_a_wrong_chain_a_missing_contract_and_a_wrong_password(worker: Operator) -> None:
    wrong = worker("doctor", "--chain-id", "5", "--json")
    assert wrong.code == Exit.PREFLIGHT
    assert {c["part"]: c for c in wrong.json["checks"]}["rpc[0]"]["result"] == "chain 31337, expected 5"
    nothing = worker("doctor", "--factory", "0x" + "12" * 20, "--json")
    assert "no contract" in {c["part"]: c for c in nothing.json["checks"]}["contract"]["result"]
    other = worker("doctor", "--factory", ACCOUNTS[5], "--json")
    assert other.code == Exit.PREFLIGHT
    (worker.home / "secrets" / "password").write_text("wrong\n")
    spoiled = worker("doctor", "--json")
    assert {c["part"]: c for c in spoiled.json["checks"]}["password"]["state"] == "FAIL"


def test_another_contract_at_the_factorys_address_is_recognised(worker: Operator, anvil: Anvil, factory: str) -> None:
    task = create_task(anvil.url, factory)
    checks = worker("doctor", "--factory", task.address, "--json").json["checks"]
    assert "not the FLTaskFactory" in {c["part"]: c for c in checks}["contract"]["result"]


def test_tasks_are_listed_shown_and_found_by_the_beginning_of_their_address(
    worker: Operator, anvil: Anvil, factory: str
) -> None:
    task = create_task(anvil.url, factory)
    join(task, ACCOUNTS[1])
    listed = {entry["task"]: entry for entry in worker.ok("task", "list")["tasks"]}
    assert listed[task.address]["you"] == "worker"
    assert listed[task.address]["reward_wei"] == str(3 * 10**18)
    shown = worker.ok("task", "show", task.address[:12].lower())
    assert shown["members"][0] == {
        "worker": ACCOUNTS[1],
        "index": 0,
        "status": "member",
        "bond_wei": str(10**18),
        "credit_wei": "0",
        "payout": ACCOUNTS[1],
        "strikes": 0,
        "missed_in_a_row": 0,
    }
    text = worker("task", "show", task.address).out
    assert "1 ether" in text
    assert ACCOUNTS[1] in text
    assert task.address in worker("task", "list", "--open").out


def test_a_task_that_does_not_exist_is_not_found(worker: Operator) -> None:
    for name in ("0x" + "11" * 20, "0x1111111", ACCOUNTS[1].replace("d", "D")):
        answer = worker("task", "show", name)
        assert answer.code == Exit.USAGE
        assert "task list" in answer.err


def test_the_explanation_of_a_running_round_names_who_is_missing(worker: Operator, anvil: Anvil, factory: str) -> None:
    task = started(anvil.url, factory)
    task.send("commitModel", 1, 1, b"c" * 32, b"m" * 32, sender=ACCOUNTS[2])
    found = worker.ok("rounds", "explain", "--task", task.address)
    assert [entry["worker"] for entry in found["waiting_for"]] == [ACCOUNTS[1], ACCOUNTS[3]]
    assert "it is your turn" in found["you"]
    text = worker("rounds", "explain", "--task", task.address).out
    assert "Waiting for  2 of 3 model commitments" in text
    assert "What happens next:" in text
    assert worker.ok("rounds", "list", "--task", task.address)["rounds"][0]["committed"] == 1
    shown = worker.ok("rounds", "show", "1", "--task", task.address)
    assert [member["committed"] for member in shown["members"]] == [False, True, False]
    assert worker("rounds", "show", "7", "--task", task.address).code == Exit.USAGE


def test_leaving_while_joining_returns_the_bond_at_once(worker: Operator, anvil: Anvil, factory: str) -> None:
    task = create_task(anvil.url, factory)
    join(task, ACCOUNTS[1])
    asked = worker("task", "leave", task.address)
    assert (asked.code, "1 ether" in asked.err) == (Exit.USAGE, True)
    before = int(rpc(anvil.url, "eth_getBalance", ACCOUNTS[1], "latest"), 16)
    left = worker.ok("task", "leave", task.address, "--yes")
    after = int(rpc(anvil.url, "eth_getBalance", ACCOUNTS[1], "latest"), 16)
    assert after == before + 10**18 - int(left["cost_wei"])
    assert worker("task", "leave", task.address, "--yes").code == Exit.USAGE


def test_with_a_wrong_password_nothing_is_signed(worker: Operator, anvil: Anvil, factory: str) -> None:
    task = create_task(anvil.url, factory)
    join(task, ACCOUNTS[1])
    (worker.home / "secrets" / "password").write_text("wrong\n")
    with nothing_changed(worker, anvil.url, ACCOUNTS[1]):
        answer = worker("task", "leave", task.address, "--yes", "--json")
    assert answer.code == Exit.ACCOUNT
    assert "password does not open" in answer.error["why"]
    assert task.call("indexPlus1", ACCOUNTS[1]) == 1


def test_an_account_without_ether_is_told_so(worker: Operator, anvil: Anvil, factory: str, tmp_path: Path) -> None:
    poor = at_home(tmp_path / "poor", anvil.url, "01" * 32)
    task = create_task(anvil.url, factory)
    pass_time(anvil.url, TERMS["joinWindow"] + 1)
    (account,) = poor.ok("account", "list")["accounts"]
    with nothing_changed(poor, anvil.url, account["address"]):
        answer = poor("task", "start", task.address, "--yes", "--json", "--factory", factory)
    assert answer.code == Exit.FUNDS
    assert "send it" in answer.error["why"]
    assert task.call("core")[0] == 1


def test_leaving_a_running_round_says_what_is_still_owed(worker: Operator, anvil: Anvil, factory: str) -> None:
    task = started(anvil.url, factory)
    answer = worker("task", "leave", task.address, "--yes")
    assert answer.code == 0, answer.err
    assert "excused from this round" in answer.err
    assert "leaving" in worker("task", "show", task.address).out


def test_starting_is_for_the_requester_or_the_deadline(worker: Operator, anvil: Anvil, factory: str) -> None:
    task = create_task(anvil.url, factory, maxWorkers=8)
    for account in ACCOUNTS[1:4]:
        join(task, account)
    early = worker("task", "start", task.address)
    assert early.code == Exit.USAGE
    assert "cannot be started yet" in early.err
    pass_time(anvil.url, TERMS["joinWindow"] + 1)
    assert worker.ok("task", "start", task.address, "--yes")["started"] is True
    assert worker.ok("task", "wait", task.address, "--for", "started")["phase"] == "train"


def test_only_the_requester_cancels(worker: Operator, anvil: Anvil, factory: str, tmp_path: Path) -> None:
    task = create_task(anvil.url, factory)
    refused = worker("task", "cancel", task.address, "--yes")
    assert refused.code == Exit.USAGE
    assert "Only the requester" in refused.err
    requester = at_home(tmp_path / "requester", anvil.url, KEYS[0])
    done = requester.ok("task", "cancel", task.address, "--yes", "--factory", factory)
    assert done["cancelled"] is True
    owed = requester.ok("ledger", "withdraw", "--task", task.address, "--yes", "--factory", factory)
    assert owed["withdrawn_wei"] == str(3 * 10**18)
    again = requester.ok("ledger", "withdraw", "--task", task.address, "--yes", "--factory", factory)
    assert again == {"withdrawn_wei": "0", "transactions": []}


def test_anybody_sends_what_is_owed_to_whom_it_is_owed(
    worker: Operator, tmp_path: Path, anvil: Anvil, factory: str
) -> None:
    """For an account whose key is lost."""
    task = create_task(anvil.url, factory, minWorkers=2)
    join(task, ACCOUNTS[3])
    task.send("cancelTask")
    before = int(anvil.rpc("eth_getBalance", ACCOUNTS[3], "latest"), 16)
    stranger = at_home(tmp_path / "stranger", anvil.url, KEYS[0])
    helped = ("ledger", "withdraw", "--of", ACCOUNTS[3].lower(), "--task", task.address, "--factory", factory)
    done = stranger.ok(*helped, "--yes")
    assert [(one["to"], one["amount_wei"]) for one in done["transactions"]] == [(ACCOUNTS[3], str(10**18))]
    assert int(anvil.rpc("eth_getBalance", ACCOUNTS[3], "latest"), 16) == before + 10**18
    assert stranger.ok(*helped, "--yes")["withdrawn_wei"] == "0"


@pytest.mark.parametrize("command", ["show", "withdraw"])
def test_a_ledger_of_no_account_is_a_mistake_in_typing(worker: Operator, command: str) -> None:
    answer = worker("ledger", command, "--of", "0x123")
    assert (answer.code, "'0x123' is no address" in answer.err) == (Exit.USAGE, True)


def test_the_ledger_adds_up_and_a_penalty_is_explained(worker: Operator, anvil: Anvil, factory: str) -> None:
    """Two of three go through a round; the third misses it and pays for that."""
    task = started(anvil.url, factory, rounds=1, maxMiss=3)
    round_without_the_first(anvil, task)
    penalised = next(log["transactionHash"] for log in logs_of(anvil, task, "WorkerPenalized"))
    (row,) = [entry for entry in worker.ok("ledger", "show")["tasks"] if entry["task"] == task.address]
    assert (row["penalised_wei"], row["missed"], row["paid"]) == (str(5 * 10**16), 1, 0)
    assert row["staked_wei"] == str(95 * 10**16)
    sentences = worker.ok("ledger", "explain", penalised)["what"]
    assert any("lost 0.05 ether" in line and "fault 3 (missed)" in line for line in sentences)
    other = worker.ok("ledger", "show", "--of", ACCOUNTS[2])["tasks"]
    assert int(next(entry for entry in other if entry["task"] == task.address)["earned_wei"]) > 10**18
    unknown = worker("ledger", "explain", "0x" + "ab" * 32)
    assert (unknown.code, "No event of transaction" in unknown.err) == (Exit.USAGE, True)


def test_waiting_ends_with_the_task_or_the_timeout(worker: Operator, anvil: Anvil, factory: str) -> None:
    task = create_task(anvil.url, factory)
    late = worker("task", "wait", task.address, "--for", "round:1", "--timeout", "0.3", "--json")
    assert late.code == Exit.TIMED_OUT
    assert late.error["exit"] == 21
    task.send("cancelTask")
    assert worker("task", "wait", task.address, "--for", "completed").code == Exit.ENDED_BADLY
    assert worker.ok("task", "wait", task.address)["phase"] == "cancelled"


def test_there_is_no_final_model_before_the_end(worker: Operator, anvil: Anvil, factory: str, tmp_path: Path) -> None:
    task = create_task(anvil.url, factory)
    answer = worker("models", "get", "final", "-o", str(tmp_path / "out"), "--task", task.address)
    assert answer.code == Exit.USAGE
    assert "no final model yet" in answer.err
    stranger = tmp_path / "x.safetensors"
    stranger.write_bytes(b"x")
    assert worker("models", "verify", str(stranger), "--task", task.address).code == Exit.DIFFERENCE
    assert not (tmp_path / "out").exists()


def test_joining_is_checked_against_the_policy_before_anything_is_bonded(
    worker: Operator, anvil: Anvil, factory: str
) -> None:
    trap = create_task(anvil.url, factory, feeBps=3_000)
    fair = create_task(anvil.url, factory, collateral=10**15)
    with nothing_changed(worker, anvil.url, ACCOUNTS[1]):
        for asked in (("--dry-run",), ("--yes",)):
            refused = worker("task", "join", trap.address, *asked)
            assert refused.code == Exit.PREFLIGHT
            assert "feeBps 3000 is above 2000" in refused.err
        assert worker.ok("task", "join", fair.address, "--dry-run")["acceptable"] is True
        unasked = worker("task", "join", fair.address)
        assert (unasked.code, "It would bond 0.001 ether" in unasked.err) == (Exit.USAGE, True)
    assert (trap.call("core")[4], fair.call("core")[4]) == (0, 0)


def test_joining_is_refused_while_gas_costs_more_than_the_reward(
    worker: Operator, anvil: Anvil, factory: str
) -> None:
    task = create_task(anvil.url, factory, collateral=10**15)
    anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(10**13))
    anvil.rpc("evm_mine")
    refused = worker("task", "join", task.address, "--dry-run")
    anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(10**9))
    anvil.rpc("evm_mine")
    assert (refused.code, "x the base fee of a worker's" in refused.err) == (Exit.PREFLIGHT, True)
    assert worker.ok("task", "join", task.address, "--dry-run")["acceptable"] is True


def test_without_a_chain_what_was_logged_before_is_shown(worker: Operator, anvil: Anvil, factory: str) -> None:
    task = create_task(anvil.url, factory)
    worker.ok("task", "list")
    answer = worker("task", "list", "--rpc", "http://127.0.0.1:1")
    assert answer.code == 0
    assert task.address in answer.out
    assert "cannot be read" in answer.err


def test_the_wrong_chain_is_noticed_before_anything_is_read(worker: Operator, anvil: Anvil) -> None:
    with nothing_changed(worker, anvil.url, ACCOUNTS[1]):
        answer = worker("task", "list", "--chain-id", "7", "--json")
    assert answer.code == Exit.WRONG_CHAIN
    assert answer.error["exit"] == 14


def test_a_task_can_be_priced_from_the_chain(worker: Operator, anvil: Anvil, factory: str) -> None:
    task = create_task(anvil.url, factory)
    priced = worker.ok("task", "price", task.address, "--workers", "5")
    assert priced["reward_wei"] == str(3 * 10**18)
    assert int(priced["bounds_wei"]["conservative"]) > 0


def test_a_penalty_in_words_is_valid_json_too(worker: Operator, anvil: Anvil, factory: str) -> None:
    task = create_task(anvil.url, factory)
    created = logs_of(anvil, task, "TaskInitialized")[0]["transactionHash"]
    answer = worker("ledger", "explain", created, "--json")
    assert "created with a reward of 3 ether" in json.dumps(answer.json)
