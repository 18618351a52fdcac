"""The outbox on an in-memory chain: once per key, whatever the chain, the node and the process do."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from agents.cli.exits import Exit
from agents.effects.fees import GWEI, FeePolicy
from agents.effects.outbox import InsufficientFunds, Outbox, Prepare, Reverted, Timing
from agents.effects.ports import Fatal, Rejected, Transient
from agents.effects.slots import Payload
from bfl_events import boundaries
from bfl_events.boundaries import Boundary
from tests.effects.fake_chain import ACCOUNT, FakeChain, FakeClock, StubSigner

TARGET = "0x" + "cc" * 20
TIMING = Timing(bury=3, stuck_s=6.0, interval_s=2.0, foreign_s=60.0)


class Bench:
    """An outbox that can be killed and opened again, driven by hand."""

    def __init__(self, path: Path, chain: FakeChain, fees: FeePolicy | None = None) -> None:
        self.path, self.chain, self.clock = path, chain, FakeClock()
        self.fees = fees or FeePolicy()
        self.events: list[str] = []
        self.fields: list[Mapping[str, object]] = []
        self.on_event: Callable[[str], None] = lambda event: None
        self.outbox = self.open()

    def open(self) -> Outbox:
        return Outbox(self.chain, StubSigner(), self.path, chain_id=31337, clock=self.clock, fees=self.fees,
                      timing=TIMING, report=self._hear)

    def _hear(self, event: str, fields: Mapping[str, object]) -> None:
        self.events.append(event)
        self.fields.append(fields)
        self.on_event(event)

    def kill(self) -> None:
        self.outbox._slots.close()
        self.outbox = self.open()

    async def settle(self, passes: int = 1, seconds: float = 2.0) -> None:
        for _ in range(passes):
            self.clock.advance(seconds)
            with suppress(Transient):
                await self.outbox.settle()

    @asynccontextmanager
    async def sending(self, key: str, data: bytes | None = None) -> AsyncIterator[asyncio.Task[object]]:
        task = asyncio.create_task(self.outbox.send(key, call(key.encode() if data is None else data)))
        await rest()
        try:
            yield task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


def call(data: bytes, value: int = 0, gas: int = 100_000) -> Prepare:
    async def prepare() -> Payload:
        return Payload(TARGET, data, value, gas)

    return prepare


async def never() -> Payload:
    raise AssertionError("nothing was to be signed")


async def rest() -> None:
    for _ in range(60):
        await asyncio.sleep(0)


@pytest.fixture
def chain() -> FakeChain:
    return FakeChain()


@pytest.fixture
def bench(tmp_path: Path, chain: FakeChain) -> Bench:
    return Bench(tmp_path / "outbox.sqlite", chain)


# ---- the plain path


async def test_a_call_is_mined_once_and_its_receipt_is_returned(bench: Bench) -> None:
    receipt = await bench.outbox.send("a", call(b"a"))
    assert bench.chain.effects() == {b"a".hex(): 1}
    assert receipt.tx == bench.chain.mined[0].hash
    assert bench.events == ["signed", "sent", "mined"]


async def test_the_same_key_gives_the_same_receipt_and_signs_nothing(bench: Bench) -> None:
    first = await bench.outbox.send("a", call(b"a"))
    assert await bench.outbox.send("a", never) == first
    bench.chain.mine(5)
    await bench.settle()
    assert bench.outbox.pending() == []
    bench.kill()
    assert await bench.outbox.send("a", never) == first


async def test_a_call_is_afloat_once_a_node_has_it(bench: Bench) -> None:
    bench.chain.automine = False
    assert not bench.outbox.afloat("a")
    bench.on_event = lambda event: told.append((event, bench.outbox.afloat("a")))
    told: list[tuple[str, bool]] = []
    async with bench.sending("a"):
        assert bench.outbox.afloat("a")
    assert told == [("signed", False), ("sent", True)]
    bench.kill()
    assert not bench.outbox.afloat("a")
    await bench.settle(2)
    assert bench.outbox.afloat("a")


async def backup_of_a_forgotten_time(bench: Bench, pending: int) -> None:
    """The outbox as it was before `a`; the chain knows two more, and `pending` wait in the node's pool."""
    await bench.outbox.send("early", call(b"early"))
    bench.outbox._slots.close()
    backup = bench.path.read_bytes()
    bench.outbox = bench.open()
    for key in ("a", "b"):
        await bench.outbox.send(key, call(key.encode()))
    bench.chain.automine = False
    for number in range(pending):
        async with bench.sending(f"pooled {number}"):
            pass
    bench.outbox._slots.close()
    for path in bench.path.parent.glob(f"{bench.path.name}*"):
        path.unlink()
    bench.path.write_bytes(backup)
    bench.outbox = bench.open()
    bench.events.clear()


async def test_a_restored_outbox_says_what_it_has_no_record_of_and_goes_on_from_the_chains_count(bench: Bench) -> None:
    await backup_of_a_forgotten_time(bench, 0)
    bench.chain.automine = True
    for key in ("c", "d"):
        await bench.outbox.send(key, call(key.encode()))
    assert [tx.nonce for tx in bench.chain.mined] == [0, 1, 2, 3, 4]
    assert bench.events.count("forgotten") == 1
    assert bench.fields[bench.events.index("forgotten") - len(bench.events)] == {"first": 1, "count": 2}


@pytest.mark.parametrize("pending", [1, 2])
async def test_what_was_signed_in_a_forgotten_time_is_not_somebody_elses(bench: Bench, pending: int) -> None:
    await backup_of_a_forgotten_time(bench, pending)
    async with bench.sending("c") as first, bench.sending("d") as second:
        bench.chain.mine()                     # what waits in the pool comes first, with the nonces just signed again
        await bench.settle(12)                 # far less than foreign_s: no stranger has to be ruled out
        bench.chain.mine(2)
        await bench.settle(2)
        answers = await asyncio.gather(first, second, return_exceptions=True)
    lost = [answer for answer in answers if isinstance(answer, Rejected) and answer.error == "NonceLost"]
    assert len(lost) == pending
    bench.chain.automine = True
    for key in ("c", "d"):
        await bench.outbox.send(key, call(key.encode()))
    assert set(bench.chain.effects().values()) == {1}
    assert bench.chain.effects().keys() >= {key.encode().hex() for key in ("a", "b", "c", "d", "pooled 0")}


async def test_a_lost_outbox_takes_its_own_past_for_nobody_elses_either(bench: Bench) -> None:
    await backup_of_a_forgotten_time(bench, 1)
    bench.outbox._slots.close()
    bench.path.unlink()
    bench.outbox = bench.open()
    async with bench.sending("c") as sending:
        bench.chain.mine()
        await bench.settle(12)
        with pytest.raises(Rejected, match="NonceLost"):
            await sending


async def test_many_senders_at_once_get_neighbouring_nonces(bench: Bench) -> None:
    keys = [f"k{i}" for i in range(30)]
    await asyncio.gather(*(bench.outbox.send(key, call(key.encode())) for key in keys))
    assert [tx.nonce for tx in bench.chain.mined] == list(range(30))
    assert set(bench.chain.effects().values()) == {1}


async def test_two_senders_of_one_key_share_one_transaction(bench: Bench) -> None:
    one, two = await asyncio.gather(bench.outbox.send("a", call(b"a")), bench.outbox.send("a", call(b"a")))
    assert one == two
    assert len(bench.chain.mined) == 1


async def test_a_receipt_that_comes_later_reaches_the_waiter(bench: Bench) -> None:
    bench.chain.automine = False
    async with bench.sending("a") as task:
        assert [line.state for line in bench.outbox.pending()] == ["waiting"]
        bench.chain.mine()
        await bench.settle()
        assert (await task).block == 1                                       # type: ignore[attr-defined]


async def test_the_loop_settles_on_a_bell_without_waiting_for_its_interval(bench: Bench) -> None:
    bench.chain.automine = False
    async with bench.outbox, bench.sending("a") as task:
        bench.chain.mine()
        bench.outbox.wake()
        await rest()
        assert task.done()


async def test_nothing_open_means_no_request_at_all(bench: Bench) -> None:
    async with bench.outbox:
        for _ in range(5):
            bench.outbox.wake()
            bench.clock.advance(10)
            await rest()
    assert not bench.chain.calls


async def test_a_nonce_already_used_before_our_first_is_respected(bench: Bench) -> None:
    bench.chain.stranger(0, b"earlier")
    await bench.outbox.send("a", call(b"a"))
    assert bench.chain.mined[-1].nonce == 1


# ---- replies that are lost, pools that forget


async def test_a_lost_reply_does_not_send_twice(bench: Bench) -> None:
    bench.chain.lose_replies = 1
    async with bench.sending("a") as task:
        await bench.settle()
        assert await task
    assert bench.chain.effects() == {b"a".hex(): 1}


async def test_a_silently_dropped_transaction_is_sent_again_as_the_same_bytes(bench: Bench) -> None:
    bench.chain.swallow = 2
    async with bench.sending("a") as task:
        await bench.settle(3)
        assert await task
    assert len(bench.chain.raws) == 1


async def test_what_one_endpoint_always_drops_is_given_to_the_others_the_second_time(bench: Bench) -> None:
    bench.chain.swallow, bench.chain.second = 1000, True
    async with bench.sending("a") as task:
        assert not bench.chain.mined
        await bench.settle()
        assert await task
    assert len(bench.chain.raws) == 1


async def test_a_cleared_pool_is_filled_again_in_order(bench: Bench) -> None:
    bench.chain.automine = False
    async with bench.sending("a"), bench.sending("b"), bench.sending("c"):
        bench.chain.drop_pool()
        await bench.settle()
        assert sorted(bench.chain.pool) == [0, 1, 2]
        bench.chain.mine()
        assert set(bench.chain.effects().values()) == {1}


async def test_an_outage_while_sending_leaves_the_signed_bytes_for_later(bench: Bench) -> None:
    bench.on_event = lambda event: setattr(bench.chain, "down", True) if event == "signed" else None
    async with bench.sending("a") as task:
        assert bench.events == ["signed", "unavailable"]
        bench.chain.down, bench.on_event = False, lambda event: None
        await bench.settle()
        assert await task


async def test_an_outage_before_signing_is_transient_and_signs_nothing(bench: Bench) -> None:
    bench.chain.down = True
    with pytest.raises(Transient):
        await bench.outbox.send("a", call(b"a"))
    assert bench.outbox.pending() == []


async def test_the_loop_survives_an_outage_and_goes_on(bench: Bench) -> None:
    bench.chain.automine = False
    async with bench.outbox, bench.sending("a") as task:
        bench.chain.down = True
        bench.outbox.wake()
        await rest()
        assert "unavailable" in bench.events
        bench.chain.down = False
        bench.chain.mine()
        bench.clock.advance(1)
        await rest()
        assert task.done()


@pytest.mark.parametrize(
    "message", ["already known", "nonce too low", "replacement transaction underpriced", "txpool is full"]
)
async def test_a_refusal_that_says_nothing_final_is_waited_out(bench: Bench, message: str) -> None:
    bench.chain.refuse["eth_sendRawTransaction"] = [message]
    async with bench.sending("a") as task:
        await bench.settle(2)
        assert await task
    assert len(bench.chain.raws) == 1


async def test_a_malformed_answer_is_transient(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.chain, "eth_getTransactionCount", lambda *_: {"no": "number"})
    with pytest.raises(Transient, match="malformed"):
        await bench.outbox.send("a", call(b"a"))


# ---- reorganisations


@pytest.mark.parametrize("keep", [True, False])
async def test_a_receipt_that_vanishes_brings_back_the_same_bytes(bench: Bench, keep: bool) -> None:
    await bench.outbox.send("a", call(b"a"))
    bench.chain.mine(1)
    bench.chain.automine = False
    bench.chain.reorg(2, keep=keep)
    await bench.settle()
    assert "vanished" in bench.events
    bench.chain.mine()
    await bench.settle()
    assert bench.chain.effects() == {b"a".hex(): 1}
    assert len(bench.chain.raws) == 1


async def test_a_chain_that_loses_more_than_was_buried_gets_the_same_bytes_again(bench: Bench) -> None:
    for key in ("a", "b", "c"):
        await bench.outbox.send(key, call(key.encode()))
    bench.chain.mine(6)
    await bench.settle()
    assert bench.outbox.pending() == []
    bench.chain.rewind(8)                                    # a is left, b and c are gone
    async with bench.sending("d"):
        await bench.settle(2)
    assert "reopened" in bench.events
    assert set(bench.chain.effects().values()) == {1}
    assert len(bench.chain.mined) == 4
    assert len(bench.chain.raws) == 4


async def test_asking_again_for_what_was_buried_and_then_lost_brings_back_the_same_bytes(bench: Bench) -> None:
    await bench.outbox.send("a", call(b"a"))
    bench.chain.mine(6)
    await bench.settle()
    bench.chain.rewind(7)
    async with bench.sending("a") as task:
        await bench.settle()
        assert await task
    assert bench.chain.effects() == {b"a".hex(): 1}
    assert len(bench.chain.raws) == 1


async def test_count_and_receipt_from_two_sides_of_a_reorg_take_no_second_nonce(bench: Bench) -> None:
    await bench.outbox.send("a", call(b"a"))
    bench.kill()
    bench.chain.hide_receipts = True
    await bench.settle(3)
    assert [line.state for line in bench.outbox.pending()] == ["held"]
    bench.chain.hide_receipts = False
    await bench.settle()
    assert [line.state for line in bench.outbox.pending()] == ["mined"]
    assert len(bench.chain.raws) == 1


async def test_money_is_not_sent_again_to_a_contract_that_was_reorganised_away(bench: Bench) -> None:
    await bench.outbox.send("join", call(b"join", value=7))
    bench.chain.codeless.add(TARGET)
    bench.chain.reorg(1)
    await bench.settle()
    assert "withheld" in bench.events
    assert bench.chain.pool == {}
    bench.chain.codeless.clear()
    await bench.settle()
    assert bench.chain.effects() == {b"join".hex(): 1}


async def test_a_contract_that_stays_away_does_not_block_the_nonces_behind(bench: Bench) -> None:
    await bench.outbox.send("join", call(b"join", value=7))
    bench.chain.codeless.add(TARGET)
    bench.chain.reorg(1)
    async with bench.sending("other") as task:
        await bench.settle(5)
        assert await task
    assert bench.chain.effects() == {b"other".hex(): 1}


async def test_below_an_unchanged_landing_nothing_is_asked(bench: Bench) -> None:
    for key in ("a", "b", "c"):
        await bench.outbox.send(key, call(key.encode()))
    bench.chain.calls.clear()
    await bench.settle()
    assert bench.chain.calls["eth_getTransactionReceipt"] == 1


# ---- fees


async def test_a_base_fee_spike_is_answered_on_the_same_nonce(bench: Bench) -> None:
    bench.chain.automine = False
    async with bench.sending("a") as task:
        bench.chain.base_fee = 30 * GWEI
        bench.chain.mine()
        await bench.settle(4)
        assert "replaced" in bench.events
        bench.chain.mine()
        await bench.settle()
        assert await task
    assert [tx.nonce for tx in bench.chain.mined] == [0]


async def test_a_transaction_passed_over_by_blocks_pays_a_quarter_more(bench: Bench) -> None:
    bench.chain.automine = False
    async with bench.sending("a"):
        first = bench.outbox.pending()[0].max_fee
        bench.chain.drop_pool()
        for _ in range(4):
            bench.chain.mine()
        await bench.settle(1, seconds=7)
        assert bench.outbox.pending()[0].max_fee >= first * 5 // 4
        assert bench.outbox.pending()[0].attempts == 2


async def test_time_alone_without_blocks_does_not_raise_the_price(bench: Bench) -> None:
    bench.chain.automine = False
    async with bench.sending("a"):
        await bench.settle(10)
        assert bench.outbox.pending()[0].attempts == 1


async def test_the_operators_limit_caps_every_bump(tmp_path: Path, chain: FakeChain) -> None:
    bench = Bench(tmp_path / "o.sqlite", chain, FeePolicy(max_fee_gwei=5))
    chain.automine = False
    async with bench.sending("a"):
        chain.base_fee = 50 * GWEI
        await bench.settle(20)
        assert bench.outbox.pending()[0].max_fee <= 5 * GWEI
        assert "capped" in bench.events


async def test_above_the_limit_nothing_is_signed(tmp_path: Path, chain: FakeChain) -> None:
    chain.base_fee = 50 * GWEI
    bench = Bench(tmp_path / "o.sqlite", chain, FeePolicy(max_fee_gwei=5))
    with pytest.raises(Transient, match="above the limit of 5"):
        await bench.outbox.send("a", call(b"a"))
    assert bench.events == []


async def test_a_replaced_version_that_is_mined_after_all_counts(bench: Bench) -> None:
    bench.chain.automine = False
    async with bench.sending("a") as task:
        old = bench.chain.pool[0]
        bench.chain.base_fee = 30 * GWEI
        await bench.settle(4)
        bench.chain.base_fee, bench.chain.pool[0] = GWEI, old
        bench.chain.mine()
        await bench.settle()
        assert (await task).tx == old.hash                                   # type: ignore[attr-defined]


# ---- money


async def test_an_empty_account_is_transient_with_a_sentence_and_signs_nothing(bench: Bench) -> None:
    bench.chain.balance = 10
    with pytest.raises(InsufficientFunds, match=f"account {ACCOUNT} holds .* send it"):
        await bench.outbox.send("a", call(b"a", value=5))
    assert bench.events == ["funds"]
    bench.chain.balance = 10**24
    assert await bench.outbox.send("a", call(b"a", value=5))


async def test_an_account_that_runs_dry_after_signing_tells_the_waiter_and_goes_on_when_topped_up(bench: Bench) -> None:
    bench.on_event = lambda event: setattr(bench.chain, "balance", 7) if event == "signed" else None
    async with bench.sending("a") as task:
        await bench.settle()
        with pytest.raises(InsufficientFunds):
            await task
    bench.chain.balance = 10**24
    async with bench.sending("a") as task:
        await bench.settle()
        assert await task
    assert len(bench.chain.raws) == 1


async def test_what_is_already_signed_is_reserved(bench: Bench) -> None:
    bench.chain.automine = False
    async with bench.sending("a"):
        bench.chain.balance = 100_000 * 4 * GWEI
        with pytest.raises(InsufficientFunds):
            await bench.outbox.send("b", call(b"b"))


# ---- reverts, refusals, abandoning


async def test_a_reverted_transaction_frees_its_key(bench: Bench) -> None:
    with pytest.raises(Reverted) as reverted:
        await bench.outbox.send("a", call(b"revert"))
    assert reverted.value.receipt.block == 1
    await bench.outbox.send("a", call(b"a"))
    assert [tx.nonce for tx in bench.chain.mined] == [0, 1]
    assert len(bench.outbox._slots.of("a")) == 2


async def test_a_reverted_transaction_frees_its_key_after_it_is_buried_and_after_a_restart(bench: Bench) -> None:
    with pytest.raises(Reverted):
        await bench.outbox.send("a", call(b"revert"))
    bench.chain.mine(5)
    await bench.settle()
    bench.kill()
    await bench.outbox.send("a", call(b"a"))
    assert bench.chain.effects() == {b"a".hex(): 1}


async def test_a_revert_that_is_reorganised_away_after_a_second_signing_is_voided(bench: Bench) -> None:
    with pytest.raises(Reverted):
        await bench.outbox.send("a", call(b"revert"))
    await bench.outbox.send("a", call(b"a"))
    bench.chain.reorg(2)
    bench.chain.automine = False
    await bench.settle(4)
    bench.chain.mine()
    await bench.settle()
    assert bench.chain.effects() == {b"a".hex(): 1}
    assert bench.chain.mined[0].fields["to"] == ACCOUNT


async def test_a_transaction_no_node_would_ever_mine_gives_up_its_nonce(bench: Bench) -> None:
    bench.chain.automine = False
    async with bench.sending("good"), bench.sending("b"):
        task = asyncio.create_task(bench.outbox.send("huge", call(b"huge", gas=31_000_000)))
        await rest()
        bench.chain.automine = True
        await bench.outbox.send("after", call(b"after"))
        await bench.settle()
        with pytest.raises(Rejected, match="TransactionRefused.*block gas limit"):
            await task
    assert [tx.nonce for tx in bench.chain.mined] == [0, 1, 2, 3]
    assert b"huge".hex() not in bench.chain.effects()


async def test_an_abandoned_transaction_is_replaced_by_a_self_transfer_of_the_same_nonce(bench: Bench) -> None:
    bench.chain.automine = False
    async with bench.sending("a") as task:
        bench.chain.drop_pool()
        await bench.outbox.abandon("a")
        await bench.settle(4)
        bench.chain.mine()
        await bench.settle()
        with pytest.raises(Rejected, match="Abandoned"):
            await task
    assert bench.chain.effects() == {}
    assert [tx.nonce for tx in bench.chain.mined] == [0]
    bench.chain.automine = True
    await bench.outbox.send("a", call(b"a"))                     # wanted again: the key is free
    assert bench.chain.effects() == {b"a".hex(): 1}


async def test_an_abandoned_transaction_gets_its_time_first(bench: Bench) -> None:
    bench.chain.automine = False
    async with bench.sending("a"):
        await bench.outbox.abandon("a")
        await bench.settle(2)
        assert [line.attempts for line in bench.outbox.pending()] == [1]
        assert [line.state for line in bench.outbox.pending()] == ["giving up"]


async def test_an_abandoned_transaction_that_a_reset_took_from_the_node_is_not_sent_there_again(bench: Bench) -> None:
    bench.chain.automine = False
    async with bench.sending("a"):
        await bench.outbox.abandon("a")
        bench.chain.rewind(1)
        await bench.settle(seconds=1.0)                          # long before it counts as stuck
        bench.chain.mine()
        await bench.settle()
    assert bench.chain.effects() == {}
    assert [tx.nonce for tx in bench.chain.mined] == [0]


async def test_a_void_that_must_pay_more_stays_a_void(bench: Bench) -> None:
    bench.chain.automine = False
    async with bench.sending("a"):
        await bench.outbox.abandon("a")
        await bench.settle(4)
        bench.chain.base_fee = 90 * GWEI
        await bench.settle()
        bench.chain.mine()
    assert len(bench.chain.mined) == 1
    assert bench.chain.effects() == {}


async def test_abandoning_what_is_wanted_again_in_time_changes_nothing(bench: Bench) -> None:
    bench.chain.automine = False
    async with bench.sending("a"):
        await bench.outbox.abandon("a")
    async with bench.sending("a") as task:
        await bench.settle(5)
        bench.chain.mine()
        await bench.settle()
        assert await task
    assert bench.chain.effects() == {b"a".hex(): 1}
    assert len(bench.chain.raws) == 1


async def test_an_abandoned_transaction_that_is_mined_first_is_simply_mined(bench: Bench) -> None:
    bench.chain.automine = False
    async with bench.sending("a") as task:
        await bench.outbox.abandon("a")
        bench.chain.mine()
        await bench.settle(5)
        assert await task
    assert len(bench.chain.mined) == 1


async def test_what_was_abandoned_because_it_took_effect_comes_back_after_a_reorg(bench: Bench) -> None:
    bench.chain.automine = False
    async with bench.sending("a"):
        await bench.settle()
        await bench.outbox.abandon("a")                      # its event was folded before its receipt was seen
        bench.chain.mine()
        await bench.settle()
    bench.chain.reorg(1)
    bench.clock.advance(60)
    await bench.settle()
    bench.chain.mine()
    await bench.settle()
    assert bench.chain.effects() == {b"a".hex(): 1}
    assert len(bench.chain.raws) == 1


async def test_whoever_asks_again_after_a_reorg_waits_for_the_new_receipt(bench: Bench) -> None:
    await bench.outbox.send("a", call(b"a"))
    bench.chain.automine = False
    bench.chain.reorg(1)
    asking = asyncio.create_task(bench.outbox.send("a", call(b"a")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not asking.done()
    await bench.settle()
    bench.chain.mine()
    await bench.settle()
    await asyncio.wait_for(asking, 5)
    assert bench.chain.effects() == {b"a".hex(): 1}


async def test_abandoning_an_unsigned_transaction_drops_it(bench: Bench) -> None:
    ready = asyncio.Event()

    async def slow() -> Payload:
        await ready.wait()
        return Payload(TARGET, b"a", 0, 21000)

    task = asyncio.create_task(bench.outbox.send("a", slow))
    await rest()
    await bench.outbox.abandon("a")
    ready.set()
    with pytest.raises(Rejected, match="Abandoned"):
        await task
    assert bench.chain.mined == []
    await bench.outbox.send("a", call(b"a"))
    assert len(bench.chain.mined) == 1


async def test_a_cancelled_waiter_leaves_the_transaction_alone(bench: Bench) -> None:
    bench.chain.automine = False
    async with bench.sending("a"):
        pass
    bench.chain.mine()
    await bench.settle()
    assert await bench.outbox.send("a", never)


async def test_one_cancelled_waiter_does_not_cancel_another(bench: Bench) -> None:
    bench.chain.automine = False
    async with bench.sending("a") as stays:
        async with bench.sending("a"):
            pass
        bench.chain.mine()
        await bench.settle()
        assert await stays


# ---- other users of the key, other chains, old backups


async def test_a_foreign_user_of_the_key_ends_the_process_with_a_sentence(bench: Bench) -> None:
    bench.chain.automine = False
    async with bench.outbox, bench.sending("a") as task:
        bench.chain.mine()
        bench.chain.reorg(1)
        bench.chain.stranger(0, b"theirs")
        for _ in range(40):
            bench.clock.advance(2)
            await rest()
        with pytest.raises(Fatal, match=f"somebody else uses account {ACCOUNT}") as stopped:
            await task
        assert stopped.value.exit_code == Exit.LOCKED
        with pytest.raises(Fatal):
            await bench.outbox.send("b", call(b"b"))
    assert bench.events.count("signed") == 1


async def test_a_stranger_is_not_believed_before_the_patience_is_over(bench: Bench) -> None:
    bench.chain.automine = False
    async with bench.sending("a"):
        bench.chain.mine()
        bench.chain.reorg(1)
        bench.chain.stranger(0, b"theirs")
        await bench.settle(29)                                # 58 of 60 seconds: nothing is raised
        assert [line.state for line in bench.outbox.pending()] == ["held"]
        assert "held" in bench.events
        bench.chain.rewind(1)                                 # it was a fork after all
        await bench.settle(2)
        bench.chain.mine()
        await bench.settle()
        assert bench.chain.effects() == {b"a".hex(): 1}


async def test_a_nonce_used_before_we_signed_is_lost_but_no_alarm(bench: Bench) -> None:
    lag = bench.chain.eth_getTransactionCount
    bench.chain.stranger(0, b"an earlier home of this agent")
    bench.chain.mine(2)
    bench.chain.eth_getTransactionCount = lambda account, which: "0x0"       # type: ignore[method-assign]
    async with bench.sending("a") as task:
        bench.chain.eth_getTransactionCount = lag                            # type: ignore[method-assign]
        await bench.settle(40)
        with pytest.raises(Rejected, match="NonceLost"):
            await task
    assert await bench.outbox.send("a", call(b"a"))
    assert bench.chain.effects()[b"a".hex()] == 1


async def test_a_restored_backup_finds_the_better_paid_version_it_has_forgotten(bench: Bench, tmp_path: Path) -> None:
    bench.chain.automine = False
    async with bench.sending("a"):
        pass
    backup = tmp_path / "backup.sqlite"
    with sqlite3.connect(backup) as target:
        bench.outbox._slots._db.backup(target)
    bench.chain.base_fee = 30 * GWEI
    bench.chain.drop_pool()
    await bench.settle(4)
    bench.chain.mine()
    restored = Bench(backup, bench.chain)
    restored.clock.now = bench.clock.now
    await restored.settle(8)
    assert "adopted" in restored.events
    assert await restored.outbox.send("a", never)
    restored.kill()
    await restored.settle()
    assert await restored.outbox.send("a", never)
    assert bench.chain.effects() == {b"a".hex(): 1}
    bench.chain.rewind(1)                                     # what it found is gone again: it sends bytes that it has
    bench.chain.base_fee, bench.chain.automine = GWEI, True
    await restored.settle(2)
    assert bench.chain.effects() == {b"a".hex(): 1}


async def test_a_gap_left_by_a_stranger_and_a_reorg_is_closed(bench: Bench) -> None:
    bench.chain.stranger(0, b"theirs")
    await bench.outbox.send("a", call(b"a"))
    bench.chain.reorg(2)
    assert len(bench.chain.mined) == 0
    await bench.settle(5)
    assert [tx.nonce for tx in bench.chain.mined] == [0, 1]
    assert bench.chain.effects() == {b"a".hex(): 1}


async def test_while_a_gap_waits_to_be_closed_nothing_is_written(bench: Bench, passed: list[Boundary]) -> None:
    """A pass comes with every head: each would be a transaction on disk."""
    bench.chain.stranger(0, b"theirs")
    await bench.outbox.send("a", call(b"a"))
    bench.chain.reorg(2)
    passed.clear()
    await bench.settle(2)
    assert passed == [Boundary.TX_SEND] * 2, "only the same bytes go out again"
    await bench.settle(3)
    assert Boundary.OUTBOX_ADD in passed
    assert Boundary.OUTBOX_REOPEN not in passed


@pytest.fixture
def passed() -> Iterator[list[Boundary]]:
    """Every durable step, in order."""
    found: list[Boundary] = []

    class Watcher:
        def before(self, boundary: Boundary) -> None:
            found.append(boundary)

        def after(self, boundary: Boundary, *, done: bool) -> None: ...

    boundaries.watch(Watcher())
    yield found
    boundaries.watch(None)


async def test_a_reset_chain_is_refused_with_what_to_do(bench: Bench) -> None:
    await bench.outbox.send("a", call(b"a"))
    bench.chain = FakeChain(salt="another")
    bench.kill()
    with pytest.raises(Fatal, match="it was reset"):
        await bench.outbox.settle()


async def test_a_node_that_serves_another_block_0_below_the_same_chain_is_no_reset(bench: Bench) -> None:
    """anvil does, when it is started for the second time from a state on disk."""
    await bench.outbox.send("a", call(b"a"))
    block = bench.chain.blocks[0]
    bench.chain.parents[1] = block.hash
    bench.chain.blocks[0] = replace(block, hash=b"\x99" * 32)
    bench.kill()
    await bench.outbox.settle()
    await bench.outbox.send("b", call(b"b"))
    assert bench.chain.effects() == {b"a".hex(): 1, b"b".hex(): 1}


async def test_a_chain_that_is_reset_under_a_running_agent_gets_nothing_of_the_old_one(bench: Bench) -> None:
    for key in ("a", "b"):
        await bench.outbox.send(key, call(key.encode()))
    await bench.settle()
    bench.chain.__dict__.update(FakeChain(salt="another").__dict__)
    bench.clock.advance(2)
    with pytest.raises(Fatal, match="it was reset"):
        await bench.outbox.settle()
    assert bench.chain.raws == set()


async def test_the_outbox_of_another_account_or_chain_is_refused(bench: Bench) -> None:
    with pytest.raises(Fatal, match="belongs to account"):
        Outbox(bench.chain, StubSigner(), bench.path, chain_id=1, clock=bench.clock)


async def test_a_damaged_file_is_refused_with_what_to_do(tmp_path: Path, chain: FakeChain) -> None:
    path = tmp_path / "o.sqlite"
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(Fatal, match="damaged"):
        Outbox(chain, StubSigner(), path, chain_id=31337, clock=FakeClock())


async def test_a_newer_format_is_refused(bench: Bench) -> None:
    bench.outbox._slots._db.execute("PRAGMA user_version=99")
    with pytest.raises(Fatal, match="newer version"):
        bench.open()


async def test_a_full_disk_is_transient_and_nothing_leaves(bench: Bench) -> None:
    pages = bench.outbox._slots._db.execute("PRAGMA page_count").fetchone()[0]
    bench.outbox._slots._db.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(Transient, match="free disk space"):
        await bench.outbox.send("a", call(b"a" * 50_000))
    assert not bench.chain.raws
    bench.outbox._slots._db.execute("PRAGMA max_page_count=100000")
    assert await bench.outbox.send("a", call(b"a" * 50_000))


async def test_close_tells_the_waiters(bench: Bench) -> None:
    bench.chain.automine = False
    async with bench.outbox:
        task = asyncio.create_task(bench.outbox.send("a", call(b"a")))
        await rest()
    with pytest.raises(Transient, match="closed"):
        await task
