"""A task on a real EVM that plays along with the Python model: the same calls, then logs, errors and all views.

Owns the translation between the model's vocabulary and the ABI. Knows no rule of a task.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cache
from http.client import HTTPConnection
from typing import Any

from eth_abi.abi import decode, encode

from bfl_events.decode import decode_log
from bfl_events.keccak import keccak256
from bfl_events.rules import members_of
from bfl_events.schema import Address, Record
from bfl_events.state import TaskState
from tests.anvil import Anvil, artefact, deploy
from tests.simulation.play import CID, REQUESTER, STRANGER, Call, Game, account

GAS = 16_000_000
NOBODY = "0x" + "00" * 20
BITMAPS = ("active", "pending", "leaving", "dropped", "excused", "roster", "committed", "opened", "scored", "revealed",
           "accepted", "top", "deviant", "invalid", "attested")
FUNCTIONS = {
    "join_task": "joinTask", "remove_worker": "removeWorker", "start_task": "startTask", "cancel_task": "cancelTask",
    "commit_model": "commitModel", "open_model": "openModel", "commit_scores": "commitScores",
    "submit_score": "submitScore", "next_round": "nextRound", "submit_round_top_k": "submitRoundTopK",
    "distribute_rewards": "distributeRewards", "attest_final": "attestFinal", "complete_task": "completeTask",
    "withdraw": "withdraw", "refund": "refund", "burn": "burn", "rotate_key": "rotateKey", "notice": "notice",
}


class Node:
    """JSON-RPC to one node over one connection, many requests at once."""

    def __init__(self, anvil: Anvil) -> None:
        self._connection = HTTPConnection("127.0.0.1", anvil.port, timeout=20)

    def batch(self, requests: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        body = [{"jsonrpc": "2.0", "id": k, "method": m, "params": list(p)} for k, (m, p) in enumerate(requests)]
        self._connection.request("POST", "/", json.dumps(body), {"Content-Type": "application/json"})
        answers = sorted(json.loads(self._connection.getresponse().read()), key=lambda answer: answer["id"])
        for answer in answers:
            assert "error" not in answer, answer
        return [answer["result"] for answer in answers]

    def call(self, method: str, *params: Any) -> Any:
        return self.batch([(method, params)])[0]

    def close(self) -> None:
        self._connection.close()


@dataclass(frozen=True)
class Outcome:
    """What a transaction did: its logs, or the error's name and values."""

    records: tuple[Record, ...]
    error: tuple[str, tuple[Any, ...]] | None
    prevrandao: int


class EvmTask:
    """One task behind the real factory, driven by the model's calls."""

    def __init__(self, node: Node, factory: Address, address: Address) -> None:
        self.node, self.factory, self.address = node, factory, address
        self.records: list[Record] = []

    def send(self, call: Call, moment: int) -> Outcome:
        """Mines the call alone in a block with this time."""
        data = _data("FLTask", FUNCTIONS[call.method], call.args)
        return self.transact(self.address, call.sender, data, call.value, moment)

    def transact(self, to: Address, sender: Address, data: str, value: int, moment: int) -> Outcome:
        tx = {"from": sender, "to": to, "data": data, "value": hex(value), "gas": hex(GAS), "gasPrice": "0x0"}
        self.node.call("evm_setNextBlockTimestamp", hex(moment))       # a batch is not answered in order
        receipt = self.node.call("eth_sendTransactionSync", tx)
        block = self.node.call("eth_getBlockByNumber", receipt["blockNumber"], False)
        assert int(block["timestamp"], 16) == moment
        dice = int(block["mixHash"], 16)
        if receipt["status"] != "0x1":
            trace = self.node.call("debug_traceTransaction", receipt["transactionHash"], {"tracer": "callTracer"})
            return Outcome((), _error(trace.get("output", "0x")), dice)
        records = tuple(decode_log(log, time=moment) for log in receipt["logs"])
        self.records += records
        return Outcome(records, None, dice)

    def views(self, accounts: Iterable[Address], seats: int) -> dict[str, Any]:
        """Every view function's answer, by name and argument."""
        queries: list[tuple[str, tuple[Any, ...]]] = [
            (name, ()) for name in ("core", "params", "requester", "rewardLeft", "forfeitPool", "burnPool", "finalHash",
                                    "getSubmissions", *BITMAPS)]
        queries += [("indexPlus1", (who,)) for who in accounts] + [("workers", (i,)) for i in range(seats)]
        requests = [("eth_call", [{"to": self.address, "data": _data("FLTask", name, args)}, "latest"])
                    for name, args in queries]
        *answers, balance = self.node.batch([*requests, ("eth_getBalance", [self.address, "latest"])])
        found = {"balance": int(balance, 16)}
        for (name, args), answer in zip(queries, answers, strict=True):
            found[_key(name, args)] = _returned(name, answer)
        return found


def views_of(state: TaskState, balance: int, accounts: Iterable[Address], seats: int) -> dict[str, Any]:
    """What the views must answer, from the folded state."""
    found: dict[str, Any] = {
        "core": (state.phase, state.round, state.attempt, state.deadline, state.count, state.lanes, state.voids,
                 state.step),
        "params": astuple(state.params), "requester": state.requester.lower(), "rewardLeft": state.reward_left,
        "forfeitPool": state.forfeit_pool, "burnPool": state.burn_pool, "finalHash": state.final_hash,
        "getSubmissions": _submissions(state), "balance": balance,
    }
    found |= {name: getattr(state, name) for name in BITMAPS}
    found |= {_key("indexPlus1", (who,)): state.seats.get(who, -1) + 1 for who in accounts}
    return found | {_key("workers", (i,)): _worker(state, i) for i in range(seats)}


def _submissions(state: TaskState) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    if not state.attempts:
        return (), ()
    rows = state.current.revealed
    seats = members_of(state.revealed)
    return tuple(state.member(i).account.lower() for i in seats), tuple(rows[i].row for i in seats)


def _worker(state: TaskState, index: int) -> tuple[Any, ...]:
    m = state.members[index] if index < len(state.members) else None
    if m is None:
        return NOBODY, 0, 0, 0, 0, 0, 0, 0, 0, bytes(32), NOBODY
    return (m.account.lower(), m.join_round, m.strikes, m.miss_streak, m.low_streak, m.unopened, m.status, m.bond,
            m.credit, m.commitment, m.payout.lower())


def create(node: Node, game: Game, deployment_factory: Address) -> EvmTask:
    """The game's task, created through the real factory with the very same arguments."""
    created, opened = game.model.chain.records[:2]
    terms: Any = opened.event
    nonce = getattr(created.event, "nonce")  # noqa: B009  (a union of events)
    task = EvmTask(node, deployment_factory, game.model.address)
    node.batch([("anvil_setBalance", [who, hex(10**24)]) for who in cast()])
    data = _data("FLTaskFactory", "createTask",
                 (nonce, astuple(terms.params), terms.spec_cid, terms.model_cid, terms.requester_key))
    outcome = task.transact(deployment_factory, REQUESTER, data, terms.reward, opened.time)
    assert outcome.error is None, outcome.error
    assert [record.event for record in outcome.records] == [created.event, opened.event]
    return task


def cast() -> list[Address]:
    """Everybody who may send something."""
    return [REQUESTER, STRANGER, *(account(k) for k in range(1, 25))]


def start_contracts(anvil: Anvil) -> tuple[Node, Address, Address]:
    """The contracts on a fresh chain where everybody may send from any account: node, factory, implementation."""
    deployment = deploy(anvil.url)
    node = Node(anvil)
    node.call("anvil_autoImpersonateAccount", True)
    return node, deployment.factory, deployment.implementation


def _key(name: str, args: tuple[Any, ...]) -> str:
    return f"{name}({', '.join(map(str, args))})" if args else name


def _returned(name: str, answer: str) -> Any:
    types = [_type(one) for one in _function("FLTask", name)["outputs"]]
    values = decode(types, bytes.fromhex(answer[2:]))
    return values[0] if len(values) == 1 else values


def _error(output: str) -> tuple[str, tuple[Any, ...]]:
    entry: Mapping[str, Any] = artefact("errors")[output[:10]]
    types = [one["type"] for one in entry["inputs"]]
    return entry["name"], decode(types, bytes.fromhex(output[10:]))


def _data(contract: str, function: str, args: Sequence[Any]) -> str:
    selector, types = _signature(contract, function)
    return "0x" + (selector + encode(types, args)).hex()


@cache
def _signature(contract: str, function: str) -> tuple[bytes, tuple[str, ...]]:
    types = tuple(_type(one) for one in _function(contract, function)["inputs"])
    return keccak256(f"{function}({','.join(types)})".encode())[:4], types


@cache
def _function(contract: str, name: str) -> Mapping[str, Any]:
    entries: list[Mapping[str, Any]] = artefact(contract)["abi"]
    return next(one for one in entries if one["type"] == "function" and one["name"] == name)


def _type(parameter: Mapping[str, Any]) -> str:
    kind: str = parameter["type"]
    if kind.startswith("tuple"):
        return f"({','.join(map(_type, parameter['components']))}){kind[len('tuple'):]}"
    return kind


__all__ = ["CID", "EvmTask", "Node", "Outcome", "create", "start_contracts", "views_of"]
