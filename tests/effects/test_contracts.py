"""Our contracts on a real EVM: calls through the outbox, errors by name, deployment that can be resumed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from eth_account import Account

from agents.effects.calldata import encode_call
from agents.effects.contracts import ContractChain
from agents.effects.deployment import Deployment, check_factory, check_task, deploy_contracts
from agents.effects.fees import FeePolicy
from agents.effects.outbox import InsufficientFunds, Outbox, Timing
from agents.effects.ports import Call, Fatal, Rejected, Transient
from agents.effects.signer import AccountSigner
from agents.effects.slots import Payload
from agents.effects.wall_clock import WallClock
from bfl_events.commitment import Creation, task_address
from bfl_events.rpc import Rpc
from bfl_events.schema import Params, Phase
from tests.anvil import ACCOUNTS, CID, KEY, TERMS, Anvil, deploy, start_anvil

CHAIN_ID = 31337
ETHER = 10**18
KEYS = (
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
)


@asynccontextmanager
async def opened(url: str, path: Path, key: str = KEYS[0], **options: object) -> AsyncIterator[ContractChain]:
    """A chain for one of anvil's accounts, with its outbox running."""
    async with Rpc([url], chain_id=CHAIN_ID) as rpc:
        outbox = Outbox(rpc, AccountSigner(Account.from_key(key)), path, chain_id=CHAIN_ID, clock=WallClock(),
                        timing=Timing(interval_s=0.2, stuck_s=1.0), **options)            # type: ignore[arg-type]
        async with outbox:
            yield ContractChain(rpc, outbox)


@pytest.fixture(scope="module")
def anvil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    with start_anvil(tmp_path_factory.mktemp("anvil")) as running:
        yield running


@pytest.fixture(scope="module")
def deployment(anvil: Anvil) -> Deployment:
    found = deploy(anvil.url, ACCOUNTS[9])
    return Deployment(found.transitions, found.implementation, found.factory, {})


@pytest.fixture
async def chain(anvil: Anvil, tmp_path: Path) -> AsyncIterator[ContractChain]:
    async with opened(anvil.url, tmp_path / "outbox.sqlite") as chain:
        yield chain


def creation(anvil: Anvil, nonce: int, requester: str = ACCOUNTS[0], **changes: object) -> Creation:
    now = int(anvil.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
    values = {**TERMS, "hardStop": now + 365 * 86_400, **changes}
    return Creation(requester, nonce.to_bytes(32, "big"), Params(*values.values()), CID, CID, KEY, 3 * ETHER)


async def joined(anvil: Anvil, tmp_path: Path, task: str, seats: range) -> None:
    for seat in seats:
        async with opened(anvil.url, tmp_path / f"worker-{seat}.sqlite", KEYS[seat]) as worker:
            await worker.send(f"join:{task}", Call(task, "joinTask", (ACCOUNTS[seat], KEY, ()), ETHER))


# ---- calls and errors


async def test_a_task_is_created_where_it_was_predicted_and_only_once(
    chain: ContractChain, anvil: Anvil, deployment: Deployment
) -> None:
    terms = creation(anvil, 1)
    created = await chain.create_task(deployment.factory, terms)
    assert created.address == task_address(deployment.factory, deployment.implementation, terms)
    assert created.receipt is not None
    assert await chain.create_task(deployment.factory, terms) == type(created)(created.address, None)
    assert await chain.balance(created.address) == 3 * ETHER
    await check_task(chain, created.address, deployment.implementation)


async def test_reads_come_as_named_values(chain: ContractChain, anvil: Anvil, deployment: Deployment) -> None:
    task = (await chain.create_task(deployment.factory, creation(anvil, 2))).address
    core = await chain.read(task, "core")
    assert core["phase"] == Phase.JOINING
    assert (await chain.read(task, "params"))["trainWindow"] == 600
    assert await chain.read(task, "requester") == ACCOUNTS[0]
    assert await chain.read(task, "getSubmissions") == ([], [])
    assert await chain.read(task, "workers", 0) == {
        "account": "0x" + "00" * 20, "joinRound": 0, "strikes": 0, "missStreak": 0, "lowStreak": 0, "unopened": 0,
        "status": 0, "bond": 0, "credit": 0, "commitment": bytes(32), "payout": "0x" + "00" * 20,
    }


async def test_a_call_that_would_revert_is_rejected_by_name_and_signs_nothing(
    chain: ContractChain, anvil: Anvil, deployment: Deployment
) -> None:
    task = (await chain.create_task(deployment.factory, creation(anvil, 3))).address
    before = anvil.rpc("eth_getTransactionCount", ACCOUNTS[0], "latest")
    for call, error, arguments in (
        (Call(task, "commitModel", (1, 1, bytes(32), bytes(32))), "WrongPhase", (Phase.JOINING,)),
        (Call(task, "withdraw", (ACCOUNTS[5],)), "NothingToWithdraw", ()),
        (Call(task, "joinTask", (ACCOUNTS[0], KEY, ()), ETHER), "NotAllowed", ()),
    ):
        with pytest.raises(Rejected) as rejected:
            await chain.send(f"x:{call.function}", call)
        assert (rejected.value.error, rejected.value.arguments) == (error, arguments)
    assert anvil.rpc("eth_getTransactionCount", ACCOUNTS[0], "latest") == before


async def test_bad_terms_name_the_field(chain: ContractChain, anvil: Anvil, deployment: Deployment) -> None:
    with pytest.raises(Rejected, match=r"BadParams\(trainWindow\)"):
        await chain.create_task(deployment.factory, creation(anvil, 4, trainWindow=0))


async def test_a_mined_revert_is_explained_and_frees_the_key(
    chain: ContractChain, anvil: Anvil, deployment: Deployment
) -> None:
    task = (await chain.create_task(deployment.factory, creation(anvil, 5))).address
    for _ in range(2):
        with pytest.raises(Rejected, match="NothingDue"):
            await chain.send("next", Call(task, "nextRound", gas=500_000))


async def test_a_deadline_call_is_sent_though_the_estimate_would_refuse_it(
    chain: ContractChain, anvil: Anvil, deployment: Deployment, tmp_path: Path
) -> None:
    """At `latest` the deadline has not passed yet; in the next block it has (PROTOCOL 2.6)."""
    task = (await chain.create_task(deployment.factory, creation(anvil, 6, joinWindow=60))).address
    await joined(anvil, tmp_path, task, range(1, 4))
    deadline = (await chain.read(task, "core"))["deadline"]
    with pytest.raises(Rejected):
        await ContractChain.send(chain, "starts-too-early", Call(task, "joinTask", (ACCOUNTS[0], KEY, ()), ETHER))
    anvil.rpc("evm_setNextBlockTimestamp", deadline + 1)
    await chain.send(f"start:{task}:{deadline}", Call(task, "startTask", gas=1_000_000))
    assert (await chain.read(task, "core"))["phase"] == Phase.TRAIN


async def test_the_same_key_is_one_transaction(chain: ContractChain, anvil: Anvil, deployment: Deployment) -> None:
    task = (await chain.create_task(deployment.factory, creation(anvil, 7))).address
    before = int(anvil.rpc("eth_getTransactionCount", ACCOUNTS[0], "latest"), 16)
    receipts = [await chain.send("cancel", Call(task, "cancelTask")) for _ in range(3)]
    assert len(set(receipts)) == 1
    assert int(anvil.rpc("eth_getTransactionCount", ACCOUNTS[0], "latest"), 16) == before + 1


async def test_money_is_not_sent_where_there_is_no_contract(chain: ContractChain) -> None:
    with pytest.raises(Transient, match="no contract at"):
        await chain.send("lost", Call("0x" + "12" * 20, "joinTask", (ACCOUNTS[0], KEY, ()), ETHER))
    with pytest.raises(Rejected, match="NoContract"):
        await chain.read("0x" + "12" * 20, "core")


async def test_an_unfunded_account_hears_what_to_do(anvil: Anvil, deployment: Deployment, tmp_path: Path) -> None:
    poor = Account.create()
    async with opened(anvil.url, tmp_path / "o.sqlite", poor.key) as chain:
        terms = creation(anvil, 8, requester=poor.address)
        with pytest.raises(InsufficientFunds, match=f"account {poor.address} .*send it"):
            await chain.create_task(deployment.factory, terms)
        anvil.rpc("anvil_setBalance", poor.address, hex(10 * ETHER))
        assert (await chain.create_task(deployment.factory, terms)).receipt is not None


async def test_send_to_receipt_takes_milliseconds(chain: ContractChain, anvil: Anvil, deployment: Deployment) -> None:
    task = (await chain.create_task(deployment.factory, creation(anvil, 9))).address
    spent = []
    for round in range(20):
        began = time.perf_counter()
        await chain.send(f"n{round}", Call(task, "rotateKey", (KEY,)))
        spent.append(time.perf_counter() - began)
    assert sorted(spent)[10] < 0.1, spent          # 0.01 s on an idle machine


# ---- deployment


async def test_a_deployment_is_recognised_and_deploying_again_costs_nothing(chain: ContractChain, anvil: Anvil) -> None:
    first = await deploy_contracts(chain)
    block = anvil.rpc("eth_blockNumber")
    assert await deploy_contracts(chain) == first
    assert anvil.rpc("eth_blockNumber") == block
    found = await check_factory(chain, first.factory)
    assert (found.library, found.implementation, found.factory) == (first.library, first.implementation, first.factory)
    assert set(first.gas_used) == {"Transitions", "FLTask", "FLTaskFactory"}
    assert (await deploy_contracts(chain, series="another")).factory != first.factory


async def test_a_deployment_that_was_killed_half_way_goes_on(anvil: Anvil, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def die(event: str, fields: Mapping[str, object]) -> None:
        if event == "signed" and "FLTask:" in str(fields["key"]):
            raise Killed

    before = int(anvil.rpc("eth_getTransactionCount", ACCOUNTS[0], "latest"), 16)
    with pytest.raises(Killed):
        async with opened(anvil.url, tmp_path / "o.sqlite", report=die) as chain:
            await deploy_contracts(chain)
    async with opened(anvil.url, tmp_path / "o.sqlite") as chain:
        await check_factory(chain, (await deploy_contracts(chain)).factory)
    assert int(anvil.rpc("eth_getTransactionCount", ACCOUNTS[0], "latest"), 16) == before + 3


async def test_what_is_not_our_factory_is_refused_with_a_sentence(
    chain: ContractChain, anvil: Anvil, deployment: Deployment
) -> None:
    with pytest.raises(Fatal, match="there is no contract at 0x1212") as nothing:
        await check_factory(chain, "0x" + "12" * 20)
    with pytest.raises(Fatal, match="another contract, or another version") as other:
        await check_factory(chain, deployment.implementation)
    assert nothing.value.exit_code == other.value.exit_code == 14
    code = anvil.rpc("eth_getCode", deployment.factory, "latest")
    for forged in (code + "00", code[:-2] + "ff", code.replace(deployment.implementation[2:].lower(), "34" * 20)):
        anvil.rpc("anvil_setCode", "0x" + "56" * 20, forged)
        with pytest.raises(Fatal):
            await check_factory(chain, "0x" + "56" * 20)
    with pytest.raises(Fatal, match="another contract"):
        await check_task(chain, deployment.factory, deployment.implementation)


async def test_a_library_with_other_code_is_found_out(
    chain: ContractChain, anvil: Anvil, deployment: Deployment
) -> None:
    code = anvil.rpc("eth_getCode", deployment.library, "latest")
    anvil.rpc("anvil_setCode", deployment.library, code[:-2] + ("00" if code[-2:] != "00" else "01"))
    try:
        with pytest.raises(Fatal, match="Transitions"):
            await check_factory(chain, deployment.factory)
    finally:
        anvil.rpc("anvil_setCode", deployment.library, code)


# ---- a rough sea


async def test_under_kills_freezes_reorgs_and_lost_pools_every_call_counts_once(tmp_path: Path) -> None:
    """A counter that counts doubles: each intent sends one wei. Outbox killed, node frozen, chain reorganised."""
    target = "0x" + "77" * 20
    with start_anvil(tmp_path, block_time=1, mixed_mining=True) as anvil:
        anvil.rpc("anvil_setCode", target, "0x00")
        keys = [f"ping:{i}" for i in range(24)]
        heard = asyncio.Semaphore(0)
        for life in range(6):
            async with opened(anvil.url, tmp_path / "o.sqlite", report=lambda *_: heard.release()) as chain:
                wanted = keys[: 4 * (life + 1)]
                sending = [asyncio.create_task(_ping(chain, key, target)) for key in wanted]
                for _ in range(5 + life):                   # die at different places of the work
                    await asyncio.wait_for(heard.acquire(), 10)
                await asyncio.to_thread(_strike, anvil, life)
                await asyncio.wait(sending, timeout=0.25 if life < 5 else 20)
                for task in sending:
                    task.cancel()
                ends = await asyncio.gather(*sending, return_exceptions=True)
        assert all(not isinstance(end, BaseException) for end in ends), ends
        assert int(anvil.rpc("eth_getBalance", target, "latest"), 16) == len(keys)
        assert int(anvil.rpc("eth_getTransactionCount", ACCOUNTS[0], "latest"), 16) == len(keys)


async def _ping(chain: ContractChain, key: str, target: str) -> None:
    async def prepare() -> Payload:
        return Payload(target, encode_call("withdraw", (ACCOUNTS[0],)), 1, 60_000)

    while True:
        try:
            await chain._outbox.send(key, prepare)
            return
        except Transient:
            await asyncio.sleep(0.05)


def _strike(anvil: Anvil, life: int) -> None:
    match life:
        case 0:
            anvil.rpc("anvil_dropAllTransactions")
        case 1 | 3:
            depth = min(3, int(anvil.rpc("eth_blockNumber"), 16) - 1)
            if depth > 0:
                anvil.rpc("anvil_reorg", depth, [])
        case 2:
            anvil.freeze()
            threading.Timer(0.5, anvil.thaw).start()
        case 4:
            anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(30 * 10**9))


async def test_the_operators_fee_limit_holds_on_a_real_node(
    anvil: Anvil, deployment: Deployment, tmp_path: Path
) -> None:
    async with opened(anvil.url, tmp_path / "o.sqlite", fees=FeePolicy(max_fee_gwei=0.001)) as chain:
        with pytest.raises(Transient, match="above the limit"):
            await chain.create_task(deployment.factory, creation(anvil, 10))
