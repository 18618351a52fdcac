"""What `doctor` asks the RPC endpoints: chain, age, contract, balance, clock, randomness. Sends no transaction."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from agents.cli.checks import Check, State, fail, ok, warn
from agents.cli.failures import translate
from agents.cli.reach import CodeReader
from agents.cli.session import short
from agents.core.admission import ROUND_GAS
from agents.effects.deployment import check_factory
from agents.effects.ports import Fatal
from agents.identity import choose
from agents.misconfiguration import SettingsError
from agents.notation import ether
from agents.redaction import redact_url
from agents.settings import Settings
from bfl_events.rpc import ClientReport, Rpc

_STALE_S: Final = 120.0
_SKEW_S: Final = 30.0
_FEW_ROUNDS: Final = 20
_DEADLINE_S: Final = 2.0


async def chain_checks(settings: Settings) -> list[Check]:
    """Every endpoint by itself, then what needs one that works."""
    rpc = Rpc(settings.chain.rpc, chain_id=settings.chain.chain_id, deadline_s=_DEADLINE_S, attempt_s=_DEADLINE_S)
    async with rpc:
        reports = await rpc.clients()
        checks = [_endpoint(settings, place, report) for place, report in enumerate(reports)]
        if any(check.state is not State.FAIL for check in checks):
            checks += [_clock(reports), *await _deeper(settings, rpc)]
    return checks


def _endpoint(settings: Settings, place: int, report: ClientReport) -> Check:
    part, name, wanted = f"rpc[{place}]", redact_url(settings.chain.rpc[place]), settings.chain.chain_id
    if report.trouble is not None:
        return fail(part, name, report.trouble, "start the node, or correct chain.rpc")
    if wanted not in (None, report.chain_id):
        return fail(part, name, f"chain {report.chain_id}, expected {wanted}", "correct chain.rpc or chain.chain_id")
    age = max(time.time() - (report.head_time or 0), 0)
    result = f"chain {report.chain_id}, block {report.head}, {age:.0f} s old"
    if age > _STALE_S and settings.profile == "production":
        return warn(part, name, result, "the node may be out of sync")
    return ok(part, name, result)


def _clock(reports: Sequence[ClientReport]) -> Check:
    """Deadlines pass by the chain's: what a node would write into a block now, else the newest block's time."""
    now, well = time.time(), [report for report in reports if report.trouble is None]
    told = [(report.clock, report.head_time or 0) for report in well if report.clock is not None]
    lost = max((head_time - clock for clock, head_time in told), default=0)
    ahead = max([clock for clock, _ in told] or [report.head_time or 0 for report in well]) - now
    behind = now - min((clock for clock, _ in told), default=now)
    if lost > 0:
        return warn("clock", "", f"the node would make blocks {lost} s older than its newest one: it lost its clock",
                    "set it before the next block (anvil: evm_setNextBlockTimestamp, or --timestamp at the start)")
    if max(ahead, behind) > _SKEW_S:
        result = f"the chain's is {ahead:.0f} s ahead of" if ahead > behind else f"the chain's is {behind:.0f} s behind"
        return warn("clock", "", f"{result} this machine's, and deadlines pass by the chain's",
                    "synchronise the clocks of this machine and of the node (timedatectl set-ntp true)")
    return ok("clock", "", "agrees with the chain's" if told else "not behind the chain's")


async def _deeper(settings: Settings, rpc: Rpc) -> list[Check]:
    """Every part is asked even if another fails."""
    parts = {"contract": _contract(settings, rpc), "balance": _balance(settings, rpc), "prevrandao": _randomness(rpc)}
    checks = []
    for part, found in zip(parts, await asyncio.gather(*parts.values(), return_exceptions=True), strict=True):
        if isinstance(found, BaseException):
            failure = translate(found)
            if failure is None:
                raise found
            checks.append(fail(part, "", failure.what, failure.do))
        elif found is not None:
            checks.append(found)
    return checks


async def _contract(settings: Settings, rpc: Rpc) -> Check | None:
    factory = settings.chain.factory
    if factory is None:
        return None
    try:
        found = await check_factory(CodeReader(rpc), factory)
    except Fatal as error:
        return fail("contract", short(factory), str(error), "correct chain.factory, or bfl-agent contracts deploy")
    return ok("contract", short(factory), f"this version's, implementation {short(found.implementation)}")


async def _balance(settings: Settings, rpc: Rpc) -> Check | None:
    try:
        address = choose(settings.home, settings.account.address).address
    except SettingsError:
        return None
    balance = int(await rpc.call("eth_getBalance", address, "latest"), 16)
    price = int(await rpc.call("eth_gasPrice"), 16)
    if balance == 0:
        return fail("balance", short(address), "0 ether", f"send ether to {address}")
    rounds = balance // (price * ROUND_GAS) if price else _FEW_ROUNDS
    result = f"{ether(balance)} ether, about {rounds} rounds of gas"
    if rounds < _FEW_ROUNDS:
        return warn("balance", short(address), result, f"send more ether to {address}")
    return ok("balance", short(address), result)


async def _randomness(rpc: Rpc) -> Check | None:
    """Where prevrandao is constant, the audit model's seed can be known in advance (PROTOCOL 3.1)."""
    head = int(await rpc.call("eth_blockNumber"), 16)
    if head < 2:
        return None
    blocks = [await rpc.call("eth_getBlockByNumber", hex(head - back), False) for back in range(3)]
    if len({block.get("mixHash") for block in blocks if block}) > 1:
        return ok("prevrandao", "", "changes with each block")
    result = "is the same in the last three blocks: audit seeds are predictable here"
    return warn("prevrandao", "", result, "prefer known members and a common validation set on this chain")
