"""A whole task on geth instead of anvil: deployed, created, trained, settled, paid and proven, as in the README."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from eth_account import Account

from agents.effects.refusals import Refusal, meaning
from tests.anvil import NodeError, rpc
from tests.system.by_hand import play_by_hand, terminals
from tests.system.geth import Geth, start_geth
from tests.system.test_by_hand import ROUNDS, check_the_result

pytestmark = [pytest.mark.demo, pytest.mark.timeout(900)]


def test_a_task_comes_to_its_end_on_geth(tmp_path: Path) -> None:
    with start_geth(tmp_path) as geth, terminals(tmp_path, geth.url, geth.fund) as hand:
        play_by_hand(hand, ROUNDS)
        check_the_result(hand)


KEY = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
BILLION = 10**9


def refusal(geth: Geth, **changes: object) -> Refusal | None:
    """What geth says to a transaction of KEY with these fields; None if it takes it."""
    usual = {"type": 2, "chainId": int(rpc(geth.url, "eth_chainId"), 16), "nonce": 0, "to": "0x" + "11" * 20,
             "value": 1, "gas": 21_000, "maxFeePerGas": 10 * BILLION, "maxPriorityFeePerGas": BILLION}
    raw = Account.from_key(KEY).sign_transaction({**usual, **changes}).raw_transaction
    try:
        rpc(geth.url, "eth_sendRawTransaction", "0x" + raw.hex())
    except NodeError as error:
        return meaning(str(error))
    return None


def test_geths_refusals_are_understood(tmp_path: Path) -> None:
    with start_geth(tmp_path) as geth:
        geth.fund(Account.from_key(KEY).address)
        until(lambda: refusal(geth) is None, "geth's pool saw the ether that is mined")
        until(lambda: refusal(geth) is Refusal.USED, "the transaction was mined")
        assert refusal(geth, value=2) is Refusal.USED
        assert refusal(geth, nonce=2) is None, "a gap is queued"
        assert refusal(geth, nonce=2) is Refusal.KNOWN
        assert refusal(geth, nonce=2, value=2) is Refusal.OUTBID
        assert refusal(geth, nonce=2, maxFeePerGas=11 * BILLION - 1, maxPriorityFeePerGas=2 * BILLION) is Refusal.OUTBID
        assert refusal(geth, nonce=2, maxFeePerGas=13 * BILLION, maxPriorityFeePerGas=2 * BILLION) is None
        assert refusal(geth, nonce=3, value=10**20) is Refusal.FUNDS
        assert refusal(geth, nonce=3, maxFeePerGas=0, maxPriorityFeePerGas=0) is Refusal.FEE
        assert refusal(geth, nonce=3, gas=20_999) is Refusal.NEVER
        assert refusal(geth, nonce=3, gas=2**24 + 1) is Refusal.NEVER
        assert refusal(geth, nonce=3, maxPriorityFeePerGas=11 * BILLION) is Refusal.NEVER
        assert refusal(geth, nonce=3, chainId=1) is Refusal.NEVER
        assert refusal(geth, nonce=3, data=bytes(140_000), gas=10**7) is Refusal.NEVER


def until(condition: Callable[[], bool], what: str) -> None:
    """The pool follows a new block a moment later than the receipts do."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.02)
