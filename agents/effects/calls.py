"""Which contract call carries out a transaction intent. Pure: arguments in the ABI's order, addresses as strings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from agents.core import intents as i
from agents.effects.ports import Call
from agents.effects.seals import MODEL, SCORES, AccountSeals
from bfl_events.schema import Address


@dataclass(frozen=True, slots=True)
class Joining:
    """What a join announces: where money goes, the newest encryption key (DER), and the allow-list's proof."""

    payout: Address
    key: Callable[[], bytes]
    proof: Callable[[Address], tuple[bytes, ...]]


def call_for(intent: i.Transaction, seals: AccountSeals, joining: Joining, deadline_gas: int) -> Call:
    """The call of one intent. `deadline_gas`: the limit for calls that a deadline makes possible (PROTOCOL 2.6)."""
    match intent:
        case i.JoinTask(task, collateral):
            return Call(task, "joinTask", (joining.payout, joining.key(), joining.proof(task)), collateral)
        case i.StartTask(task):
            return Call(task, "startTask", (), gas=deadline_gas)
        case i.CommitModel(task, round, attempt, model_hash, base_hash):
            digest = seals.model(task, round, attempt, model_hash)
            return Call(task, "commitModel", (round, attempt, digest, base_hash))
        case i.OpenModel(task, round, attempt, model_hash, size, cid):
            salt = seals.salt(MODEL, task, round, attempt)
            return Call(task, "openModel", (round, model_hash, salt, size, cid))
        case i.CommitScores(task, round, attempt, row):
            return Call(task, "commitScores", (round, attempt, seals.scores(task, round, attempt, row)))
        case i.SubmitScore(task, round, attempt, row):
            return Call(task, "submitScore", (round, list(row), seals.salt(SCORES, task, round, attempt)))
        case i.AdvanceRound(task):
            return Call(task, "nextRound", (), gas=deadline_gas)
        case i.AttestFinal(task, final_hash, cid):
            return Call(task, "attestFinal", (final_hash, cid))
        case i.SendNotice(task, kind, round, to, ref, cid):
            return Call(task, "notice", (kind, round, to, ref, cid))
        case i.LeaveTask(task):
            return Call(task, "removeWorker")
        case i.Withdraw(task, worker):
            return Call(task, "withdraw", (worker,))
        case i.Refund(task):
            return Call(task, "refund")
        case i.Burn(task):
            return Call(task, "burn")
        case _:
            assert_never(intent)
