"""The composition root: settings become one running agent.

Owns start-up order, shutdown and exit codes. Decides nothing: what is due is `agents.core`'s business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TypeVar

from eth_account import Account
from filelock import FileLock, Timeout
from prometheus_client import CollectorRegistry

from agents import control
from agents.agent import Agent, Charge, Outside
from agents.core.losses import Loss
from agents.core.specification import Specification
from agents.crypto.commitment import SaltKey
from agents.crypto.keystore import KeystoreError
from agents.effects.apprentice import Apprentice
from agents.effects.contracts import ContractChain
from agents.effects.deployment import check_factory
from agents.effects.exchange import Exchange
from agents.effects.fees import FeePolicy
from agents.effects.hands import Workshop
from agents.effects.journal import Journal
from agents.effects.model_files import ModelFiles
from agents.effects.outbox import Outbox
from agents.effects.ports import Fatal, Learner, Transient
from agents.effects.scratch import Scratch
from agents.effects.seals import AccountSeals
from agents.effects.signer import AccountSigner
from agents.effects.stocktaking import take_stock
from agents.effects.wall_clock import WallClock
from agents.formats import refuse_newer, stamp
from agents.health import Health, serve_http
from agents.home import NetworkHome
from agents.identity import choose, password
from agents.keyring import Keyring
from agents.metrics import Metrics
from agents.misconfiguration import SettingsError
from agents.narrator import Narrator
from agents.opening import Opening
from agents.operations import Operator, handlers
from agents.own_history import OwnHistory
from agents.policy import limits_of, site_of, trials_of, unknown_task
from agents.redaction import Redactor
from agents.settings import Settings
from agents.shutdown import Shutdown
from agents.storage import BlobSource, BlobStore, InvalidAddress, open_source, open_store
from agents.telemetry import Log, Marker, Telemetry, open_log
from bfl_events.log import EventLog, Identity, LogDamaged, LogError, LogTooNew
from bfl_events.rpc import Contract, Rpc, Unavailable, WrongChain, WrongContract
from bfl_events.schema import Address
from bfl_events.source import EventSource

LOCKED_EXIT, CONFIGURATION_EXIT, WRONG_CHAIN_EXIT, KEYSTORE_EXIT, NEWER_EXIT = 12, 10, 14, 11, 19


# What ends an agent with a sentence. Transient is among them at the start alone: later the runner retries it.
PERSONS_MATTERS = (
    Fatal, Transient, InvalidAddress, KeystoreError, LogError, SettingsError, WrongChain, WrongContract,
)

_Answer = TypeVar("_Answer")
Disguise = Callable[[Learner], Learner]


async def run(settings: Settings, *, task: Address | None = None, disguise: Disguise = lambda learner: learner) -> int:
    """Serve until told to stop, or until `task` is over. Returns the exit code, and says what a person must mend.

    `disguise` wraps the learning child: the demo's attackers are this agent with a dishonest learner.
    """
    identity = choose(settings.home, settings.account.address)
    secret = password(settings.home, settings.account)
    private = [path for path in (settings.learning.data_dir,) if path is not None]
    bound = {"agent": settings.name or identity.address[:8], "role": settings.role, "address": identity.address}
    refuse_newer(settings.home, settings.store_address)
    settings.home.create()
    stamp(settings.home)
    telemetry = open_log(
        settings.home.log, level=settings.observe.log_level, console=settings.observe.log_format,
        redactor=Redactor([secret], private), bound=bound,
    )
    telemetry.log.info(Marker.AGENT_STARTED, version=version("bfl-agent"))
    health = Health()
    shutdown = Shutdown(settings.run.drain_s, health, telemetry.log)
    try:
        with shutdown.signals(), shutdown.starting():
            async with AsyncExitStack() as stack:
                keyring = await asyncio.to_thread(Keyring, settings.home, identity, secret)
                agent = await _assemble(settings, task, keyring, telemetry, Present(health, shutdown, disguise), stack)
                shutdown.started(agent.drain)
                await agent.run()
        code = 0
    except PERSONS_MATTERS as error:
        code = _exit_code(error)
        telemetry.log.critical(Marker.AGENT_HALTED, reason=str(error), exit_code=code)
    finally:
        telemetry.log.info(Marker.AGENT_STOPPED)
        telemetry.close()
    return code


def _exit_code(error: Exception) -> int:
    match error:
        case Fatal() | SettingsError():
            return error.exit_code
        case KeystoreError():
            return KEYSTORE_EXIT
        case WrongChain() | WrongContract():
            return WRONG_CHAIN_EXIT
        case LogTooNew():
            return NEWER_EXIT
        case LogDamaged():
            return 1            # the next start moves it aside
        case _:
            return CONFIGURATION_EXIT


@dataclass(frozen=True, slots=True)
class Present:
    """What there is before anything is opened."""

    health: Health
    shutdown: Shutdown
    disguise: Disguise


async def _assemble(
    settings: Settings, task: Address | None, keyring: Keyring, telemetry: Telemetry, present: Present,
    stack: AsyncExitStack,
) -> Agent:
    """Open everything in the order in which it is needed; the stack closes it in reverse."""
    log, chain = telemetry.log, settings.chain
    health, registry = present.health, CollectorRegistry()
    narrator = Narrator(log, Metrics(registry), health, keyring.address)
    if chain.factory is None:
        raise Fatal("No contract is configured: set chain.factory in config.toml to the address that `bfl-agent "
                    "contracts deploy` printed, or that your consortium announced", exit_code=CONFIGURATION_EXIT)
    rpc = await stack.enter_async_context(
        Rpc(chain.rpc, chain_id=chain.chain_id, contract=Contract(chain.factory), deadline_s=chain.deadline_s,
            on_wrong=lambda sentence: log.error(Marker.CHAIN_ENDPOINT_FAILED, reason=sentence)))
    if settings.observe.http is not None:
        await stack.enter_async_context(serve_http(settings.observe.http, health, registry))
    chain_id = int(await _insist(partial(rpc.call, "eth_chainId"), health, log), 16)
    home = settings.home.network(chain_id, chain.factory).create()
    stack.enter_context(_locked(home))

    opening = Opening(home, narrator.lost)
    await asyncio.to_thread(opening.mend)
    events = stack.enter_context(EventLog(home.events, Identity(chain_id, chain.factory, chain.start_block)))
    journal = opening.journal()
    stack.callback(journal.close)
    source = EventSource(
        rpc, events, factory=chain.factory, start_block=chain.start_block, ws_urls=chain.doorbells, poll_s=chain.poll_s,
        follow=lambda _: True,
        on_trouble=partial(_trouble, health, log), on_recovered=partial(_recovered, health, log),
    )
    outbox = Outbox(
        rpc, AccountSigner(Account.from_key(keyring.account_key)), home.outbox, chain_id=chain_id, clock=WallClock(),
        fees=FeePolicy() if chain.max_fee_gwei is None else FeePolicy(float(chain.max_fee_gwei)),
        report=narrator.outbox,
    )
    opening.compare(events, journal, outbox_used=outbox.used)
    await stack.enter_async_context(outbox)
    contracts = ContractChain(rpc, outbox)
    await _insist(partial(check_factory, contracts, chain.factory), health, log)
    files = ModelFiles(home.models)
    store = open_store(settings.store_address, owner=keyring.address.lower(), deadline=settings.store.deadline_s)
    stack.push_async_callback(store.close)
    routes = [await _route(address, settings, keyring.address, stack) for address in settings.routes]
    exchange = Exchange(
        store, files, keyring.keys, home.envelopes, chain_id=chain_id, account=keyring.address, routes=routes
    )
    await _take_stock(journal, files, store, home, narrator)
    apprentice = Apprentice(site_of(settings), exchange, home.work)
    stack.push_async_callback(apprentice.close)
    seals = AccountSeals(SaltKey.derive(keyring.account_key), chain_id, keyring.address)
    outside = Outside(
        source=source, log=OwnHistory(events, keyring.address, task), chain=contracts, exchange=exchange, files=files,
        journal=journal, seals=seals, newest_key=keyring.newest,
        learner=lambda address, terms: present.disguise(apprentice.learner(address, terms)),
        known_task=partial(unknown_task, settings) if settings.role == "worker" else _any_task,
        clock=WallClock(), narrator=narrator, on_head=outbox.wake,
        failure=lambda: outbox.failure, wind_up=apprentice.wind_up, lost=partial(_lost, narrator),
    )
    workshop = Workshop(settings.home.results, home.checkpoints, settings.policy.max_model_bytes)
    agent = Agent(_charge(settings, keyring.address, task), outside, workshop)
    answers = handlers(Operator(agent, keyring, telemetry, health, outbox, present.shutdown, chain_id, chain.factory))
    await stack.enter_async_context(control.serve(settings.home.control_socket, answers))
    return agent


def _any_task(_: Specification) -> None:
    """A requester trains nothing: it needs no task's code."""


# ---- start-up -------------------------------------------------------------------------------------------------------


async def _insist(question: Callable[[], Awaitable[_Answer]], health: Health, log: Log) -> _Answer:
    """Ask until an endpoint answers, and say so meanwhile; what only a person can mend is raised."""
    pause = 0.5
    while True:
        try:
            answer = await question()
        except (Unavailable, Transient) as error:
            _trouble(health, log, str(error))
            await asyncio.sleep(pause)
            pause = min(2 * pause, 10.0)
        else:
            _recovered(health, log)
            return answer


async def _route(address: str, settings: Settings, account: Address, stack: AsyncExitStack) -> BlobSource:
    source = open_source(address, owner=account.lower(), deadline=settings.store.deadline_s)
    stack.push_async_callback(source.close)
    return source


async def _take_stock(journal: Journal, files: ModelFiles, store: BlobStore, home: NetworkHome, narrator: Narrator
                      ) -> None:
    gone, restored = await take_stock(journal, files, store, Scratch(home.envelopes))
    if gone or restored:
        narrator.lost("blobs", f"the blob store has lost {gone} envelopes that this agent had published and {restored} "
                      "public files. The files were put back; an envelope that is still to be announced is sealed "
                      "again, and who lacks the model of another asks for it")


def _lost(narrator: Narrator, loss: Loss, made_good: bool) -> None:
    narrator.lost(f"memory of {loss.task}", loss.sentence, repaired=made_good)


def _trouble(health: Health, log: Log, sentence: str) -> None:
    if health.trouble("chain", sentence):
        log.warning(Marker.CHAIN_UNREACHABLE, reason=sentence)


def _recovered(health: Health, log: Log) -> None:
    if health.well("chain"):
        log.info(Marker.CHAIN_RECOVERED)


def _locked(home: NetworkHome) -> FileLock:
    """One agent and one outbox per account and chain (DESIGN 3.9)."""
    lock = FileLock(home.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise Fatal(f"Another agent runs in this home: {home.lock} is taken. Two would sign with the same account. "
                    "Stop that one, or use another --home with an account of its own.", exit_code=LOCKED_EXIT) from None
    return lock


def _charge(settings: Settings, address: Address, task: Address | None) -> Charge:
    development = settings.profile == "development"
    return Charge(
        role=settings.role, address=address, payout=settings.account.payout or address, task=task,
        limits=limits_of(settings.policy), trials=trials_of(settings.policy),
        confirmations=settings.chain.confirmations, retain_rounds=settings.store.retain_rounds,
        block_s=0.0 if development else None,
    )
