"""Everything that was ever on the chain, over all its forks, and the laws that hold on each of them and at the end.

Owns the looking back. Takes the chain's own word: blocks, receipts and logs by RPC, never an agent's.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from hexbytes import HexBytes

from bfl_events.decode import decode_log
from bfl_events.keccak import keccak256
from bfl_events.schema import (
    Address,
    Burned,
    FinalModelAccepted,
    ModelCommitted,
    ModelSubmitted,
    Phase,
    PhaseChanged,
    Record,
    Refunded,
    RewardsDistributed,
    ScoresCommitted,
    ScoresSubmitted,
    TaskEnded,
    TaskInitialized,
    Withdrawn,
    WorkerJoined,
)
from bfl_events.verify import verify
from tests.anvil import Anvil, artefact
from tests.system.evm import Node

CHAIN_ID = 31337
LATE = {"WrongPhase", "WrongRound", "WrongAttempt", "PhaseOver", "NothingDue", "AlreadyDone", "AlreadyRegistered",
        "NotActive", "NothingToWithdraw", "Full"}
"""What a transaction may meet that was right on one fork and comes at another time on the next. No wrong opening."""
EARLY = "startTask NotAllowed"
"""On the next fork not everybody has joined yet."""


@dataclass(frozen=True)
class Fork:
    """One state of the chain: our contracts' logs, and every transaction with its receipt, by block."""

    tip: tuple[int, bytes]
    records: tuple[Record, ...]
    transactions: tuple[tuple[Mapping[str, Any], Mapping[str, Any]], ...]


@dataclass
class Chronicle:
    """`look()` before every change of the chain, and at the end."""

    anvil: Anvil
    factory: Address
    task: Address
    since: int
    forks: list[Fork] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)

    def look(self) -> Fork:
        node = Node(self.anvil)
        try:
            tip = node.call("eth_getBlockByNumber", "latest", False)
            numbers = [hex(n) for n in range(self.since, int(tip["number"], 16) + 1)]
            where = {"fromBlock": hex(self.since), "toBlock": tip["number"], "address": [self.factory, self.task]}
            logs = node.call("eth_getLogs", where)
            blocks = node.batch([("eth_getBlockByNumber", (n, True)) for n in numbers])
            receipts = node.batch([("eth_getBlockReceipts", (n,)) for n in numbers])
            found = tuple((tx, receipt) for block, mined in zip(blocks, receipts, strict=True)
                          for tx, receipt in zip(block["transactions"], mined, strict=True))
            for tx, receipt in found:
                if receipt["status"] != "0x1" and tx["hash"] not in self.reasons:
                    trace = node.call("debug_traceTransaction", tx["hash"], {"tracer": "callTracer"})
                    name = _FUNCTIONS.get(bytes.fromhex(tx["input"][2:10]), "")
                    self.reasons[tx["hash"]] = f"{name} {error_name(trace.get('output', '0x'))}"
        finally:
            node.close()
        number, block_hash = int(tip["number"], 16), bytes.fromhex(tip["hash"][2:])
        self.forks.append(Fork((number, block_hash), tuple(decode_log(log) for log in logs), found))
        return self.forks[-1]

    # ---- laws

    def the_task_completed(self) -> None:
        """Not merely ended: with an attested model, and every round settled."""
        events = [record.event for record in self.forks[-1].records]
        assert [event.phase for event in events if isinstance(event, TaskEnded)] == [Phase.COMPLETED]
        assert any(isinstance(event, FinalModelAccepted) for event in events)
        rounds = next(event.params.rounds for event in events if isinstance(event, TaskInitialized))
        assert sum(isinstance(event, RewardsDistributed) for event in events) == rounds

    def nobody_contradicted_itself(self) -> None:
        """On no fork was anything opened or revealed but the logged commitment, nor twice; and nothing else committed
        to."""
        for fork in self.forks:
            findings = [str(one) for one in verify(fork.records, chain_id=CHAIN_ID)]
            assert not findings, findings
            for kind in (ModelSubmitted, ScoresSubmitted):
                shown = Counter((record.event.worker, record.event.round, record.event.attempt)  # type: ignore[union-attr]
                                for record in fork.records if isinstance(record.event, kind))
                assert all(count == 1 for count in shown.values())
            self._nobody_committed_to_something_else(fork)
        unfit = [why for why in self.reasons.values() if why != EARLY and why.rpartition(" ")[2] not in LATE]
        assert not unfit, unfit

    def _nobody_committed_to_something_else(self, fork: Fork) -> None:
        """One commitment a worker in each attempt and phase; a second only where another fork took what the first was
        made from: the base of a model, the seed of scores (PROTOCOL 2.2) or the seats of what they judge."""
        said = defaultdict[tuple[type, Address, int], list[ModelCommitted | ScoresCommitted]](list)
        for record in fork.records:
            match record.event:
                case ModelCommitted() | ScoresCommitted() as event:
                    said[type(event), event.worker, event.attempt].append(event)
        for (_, _, attempt), events in said.items():
            match events:
                case [_]:
                    pass
                case [ModelCommitted(base_hash=before), ModelCommitted(base_hash=after)]:
                    assert before != after, events
                    assert len(self.forks) > 1, events
                case [ScoresCommitted(commitment=before), ScoresCommitted(commitment=after)]:
                    assert before != after, events
                    assert len(self._judged(attempt)) > 1, events
                case _:
                    raise AssertionError(events)

    def _judged(self, attempt: int) -> set[tuple[bytes, frozenset[tuple[int, bytes]]]]:
        """What an attempt's scores were about, on each fork: the audit model's seed, and the opened models by seat."""
        found = set()
        for fork in self.forks:
            seats, opened, seeds = dict[Address, int](), set[tuple[int, bytes]](), list[bytes]()
            for record in fork.records:
                match record.event:
                    case WorkerJoined(worker=worker, index=index):
                        seats[worker] = index
                    case ModelSubmitted(worker=worker, attempt=when, model_hash=digest) if when == attempt:
                        opened.add((seats[worker], digest))
                    case PhaseChanged(attempt=when, phase=Phase.SCORE, seed=seed) if when == attempt:
                        seeds.append(seed)
            found |= {(seed, frozenset(opened)) for seed in seeds}
        return found

    def no_nonce_was_skipped(self, sent: list[bytes]) -> None:
        """What every account has mined at the end is a run from 0 without a gap, and nothing waits for one."""
        node = Node(self.anvil)
        try:
            for account in {Account.recover_transaction(raw) for raw in set(sent)}:
                counts = [("eth_getTransactionCount", (account, at)) for at in ("latest", "pending")]
                latest, pending = node.batch(counts)
                assert latest == pending
                own = [tx for tx, _ in self.forks[-1].transactions if tx["from"] == account.lower()]
                mined = [int(tx["nonce"], 16) for tx in own]
                assert mined == sorted(mined)
                assert mined[-1] == int(latest, 16) - 1
        finally:
            node.close()

    def every_wei_is_accounted_for(self, funds: Mapping[Address, int]) -> None:
        """The contract is empty, paid out what was paid in, and every account has what its transactions say."""
        fork, node = self.forks[-1], Node(self.anvil)
        held = dict(funds.items())
        paid_in = paid_out = 0
        for tx, receipt in fork.transactions:
            cost = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
            value = int(tx["value"], 16) if receipt["status"] == "0x1" else 0
            for account in held:
                if tx["from"] == account.lower():
                    held[account] -= cost + (0 if tx["to"] == account.lower() else value)
        for record in fork.records:
            match record.event:
                case TaskInitialized(reward=amount):
                    paid_in += amount
                case WorkerJoined(collateral=amount):
                    paid_in += amount
                case Withdrawn(to=to, amount=amount) | Refunded(requester=to, amount=amount):
                    paid_out += amount
                    held[to] += amount
                case Burned(amount=amount):
                    paid_out += amount
        try:
            assert paid_in == paid_out
            assert node.call("eth_getBalance", self.task, "latest") == "0x0"
            for account, wei in held.items():
                assert int(node.call("eth_getBalance", account, "latest"), 16) == wei
        finally:
            node.close()


def function_of(raw: bytes) -> str:
    """The contract function that a signed transaction calls, "" for a plain transfer."""
    return _FUNCTIONS.get(bytes(TypedTransaction.from_bytes(HexBytes(raw)).as_dict()["data"])[:4], "")


def error_name(output: str) -> str:
    return _ERRORS.get(bytes.fromhex(output[2:10]), output)


def _selectors(kind: str) -> dict[bytes, str]:
    found = {}
    for name in ("FLTask", "FLTaskFactory", "Transitions"):
        for one in artefact(name)["abi"]:
            if one["type"] == kind:
                signature = f"{one['name']}({','.join(map(_type, one['inputs']))})"
                found[keccak256(signature.encode())[:4]] = one["name"]
    return found


def _type(parameter: Mapping[str, Any]) -> str:
    kind: str = parameter["type"]
    return f"({','.join(map(_type, parameter['components']))}){kind[5:]}" if kind.startswith("tuple") else kind


_FUNCTIONS = _selectors("function")
_ERRORS = _selectors("error")
