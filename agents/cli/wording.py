"""What an agent wants, in words. Owns the sentences; an intent's key stays the name by which it is recorded."""

from __future__ import annotations

from typing import assert_never

from agents.cli.session import short
from agents.core import intents as i

_NOTICES = {1: "ask for", 2: "offer", 3: "offer as a checkpoint"}
_COPIES = {1: "as a checkpoint for late joiners", 2: "as the final model for the requester", 3: "for those who asked"}


def in_words(intent: i.Intent) -> str:
    """An imperative sentence without a full stop."""
    match intent:
        case i.LoadTerms():
            return f"load the terms: specification {short(intent.spec_hash)}, initial model {short(intent.model_hash)}"
        case i.DryRun():
            return "try one training step on the own data"
        case i.TrainModel(_, round, base):
            return f"train for round {round} from model {short(base)}"
        case i.AggregateModels(_, round, base, models):
            return f"average the {len(models)} accepted models of round {round}, begun from {short(base)}"
        case i.PublishModel(_, round, attempt, digest, readers):
            return f"seal model {short(digest)} of {_place(round, attempt)} for {len(readers)} readers and publish it"
        case i.FetchModel(_, round, attempt, sender, digest):
            return f"fetch model {short(digest)} of {_place(round, attempt)} from {short(sender)}"
        case i.ScoreModels(_, round, attempt, candidates=candidates):
            absent = sum(candidate.model_hash is None for candidate in candidates)
            without = f", {absent} of them unavailable" if absent else ""
            return f"score the {len(candidates)} opened models of {_place(round, attempt)}{without}"
        case i.PublishCopy(_, round, kind, digest):
            return f"seal model {short(digest)} of round {round} {_COPIES.get(kind, '')}".rstrip()
        case i.DeliverFinal(_, digest):
            return f"keep the final model {short(digest)} as the result"
        case i.ClearRound(_, 0):
            return "delete the initial model: this task is not joined"
        case i.ClearRound(_, round):
            return f"let go of round {round}'s models and envelopes"
        case _:
            return _transaction(intent)


def _transaction(intent: i.Transaction | i.Halt) -> str:
    match intent:
        case i.JoinTask(_, collateral):
            return f"join with a collateral of {collateral} wei"
        case i.StartTask():
            return "start the task"
        case i.CommitModel(_, round, attempt, digest, base):
            return f"commit to model {short(digest)} in {_place(round, attempt)}, begun from {short(base)}"
        case i.OpenModel(_, round, attempt, digest):
            return f"open model {short(digest)} of {_place(round, attempt)}"
        case i.CommitScores(_, round, attempt):
            return f"commit to the scores of {_place(round, attempt)}"
        case i.SubmitScore(_, round, attempt):
            return f"reveal the scores of {_place(round, attempt)}"
        case i.AdvanceRound(_, round, attempt, phase):
            return f"advance {_place(round, attempt)} beyond phase {phase.name.lower()}"
        case i.AttestFinal(_, digest):
            return f"attest the final model {short(digest)}"
        case i.SendNotice(_, kind, round, _, ref):
            what = f"model {short(ref)}" if any(ref) else "the model"
            return f"tell all: {_NOTICES.get(kind, 'say something about')} {what} that round {round} starts from"
        case i.LeaveTask(_, round):
            return f"leave in round {round}"
        case i.Withdraw(_, worker, amount):
            return f"send {amount} wei to {short(worker)}'s payout address"
        case i.Refund(_, amount):
            return f"refund {amount} wei to the requester"
        case i.Burn(_, amount):
            return f"burn {amount} wei of forfeits"
        case i.Halt(_, reason):
            return f"stop: {reason}"
        case _:
            assert_never(intent)


def _place(round: int, attempt: int) -> str:
    return f"round {round}, attempt {attempt}" if attempt else f"round {round}"
