"""Which model a round starts from: aggregated here, else what the majority logged and is held here (PROTOCOL 2.4)."""

from __future__ import annotations

from dataclasses import replace

from agents.core.global_model import (
    ASK_AFTER_S,
    ASK_AGAIN_S,
    CHECKPOINT,
    HERE_MODEL,
    NEED_MODEL,
    agreed_start,
    confirmed_start,
    obtain_opened,
    obtain_start,
    start_of,
)
from agents.core.intents import AggregateModels, FetchModel, ModelReady, Outcome, PublishCopy, Refused, SendNotice
from agents.core.repair import answers
from agents.core.state import Memory, Now
from bfl_events.schema import Phase
from bfl_events.state import LoggedNotice, TaskState
from tests.core.tasks import BEGAN, PARAMS, TASK, account, at, attempt, digest, me, task

G0, G1, OTHER = PARAMS.model_hash, digest("G1"), digest("another G1")
MODELS = {i: digest("model", i) for i in range(3)}
SETTLED = attempt(1, 1, MODELS, accepted=(0, 2), start=G0)
AGGREGATE = AggregateModels(TASK, 1, G0, ((0, MODELS[0]), (2, MODELS[2])))
LATER = Now(BEGAN + 10 + ASK_AFTER_S + 1, 99)


def second_round(starts: dict[int, bytes] | None = None, *notices: LoggedNotice) -> TaskState:
    """Round 2 in Train; `starts`: the base hashes already committed."""
    commits = attempt(2, 2, dict.fromkeys(starts or {}, bytes(32))).commits
    logged = {i: replace(c, base_hash=(starts or {})[i]) for i, c in commits.items()}
    now = attempt(2, 2, {}, roster=0b111, commits=logged)
    return task(phase=Phase.TRAIN, round=2, attempt=2, attempts=(SETTLED, now), notices=notices)


def memory(*held: bytes, outcomes: dict[str, Outcome] | None = None) -> Memory:
    return Memory(outcomes or {}, frozenset({G0, *held}))


def test_round_one_starts_from_the_task_s_own_model() -> None:
    assert start_of(task(), Memory(), 1) == G0


def test_a_round_without_accepted_models_changes_nothing() -> None:
    state = task(attempts=(attempt(1, 1, MODELS, accepted=()),))
    assert start_of(state, Memory(), 2) == G0


def test_the_aggregate_is_made_once_all_accepted_models_are_here() -> None:
    state, here = second_round(), memory(MODELS[0], MODELS[2])
    assert start_of(state, here, 2) is None
    assert list(obtain_start(state, here, me(1), LATER, 2)) == [AGGREGATE]
    known = memory(MODELS[0], MODELS[2], G1, outcomes={AGGREGATE.key: ModelReady(G1)})
    assert start_of(state, known, 2) == G1


def test_a_missing_accepted_model_is_fetched_from_its_sender() -> None:
    fetches = [i for i in obtain_start(second_round(), memory(MODELS[0]), me(1), LATER, 2) if isinstance(i, FetchModel)]
    assert [(f.sender, f.model_hash, f.kind) for f in fetches] == [(account(2), MODELS[2], 0)]


def test_a_model_that_its_sender_does_not_serve_is_asked_for() -> None:
    state = second_round()
    opened = SETTLED.opened[2]
    fetch = FetchModel(TASK, 1, 1, account(2), MODELS[2], opened.cid, opened.size)
    here = memory(MODELS[0], outcomes={fetch.key: Refused("truncated")})
    asked = list(obtain_start(state, here, me(1), LATER, 2))
    assert SendNotice(TASK, NEED_MODEL, 2, "0x" + "00" * 20, MODELS[2]) in asked


def test_a_model_opened_late_in_its_phase_is_asked_for_no_sooner_than_any() -> None:
    """Openings wait for confirmations: the phase may be old when the first model is opened (PROTOCOL 2.6)."""
    opening = attempt(1, 1, MODELS, start=G0)
    state, opened_at = task(phase=Phase.OPEN, attempts=(opening,)), opening.opened[2].at.time
    for wait, asks in ((1, False), (ASK_AFTER_S + 1, True)):
        wanted = list(obtain_opened(state, memory(), me(1), Now(opened_at + wait, 99), opening, 2))
        assert [intent.sender for intent in wanted if isinstance(intent, FetchModel)] == [account(2)]
        assert any(isinstance(intent, SendNotice) for intent in wanted) == asks


def test_an_answer_is_fetched_from_whoever_gives_it() -> None:
    answer = LoggedNotice(HERE_MODEL, 2, account(0), account(1), MODELS[2], b"cid", at(20))
    opened = SETTLED.opened[2]
    refused = FetchModel(TASK, 1, 1, account(2), MODELS[2], opened.cid, opened.size)
    here = memory(MODELS[0], outcomes={refused.key: Refused("truncated")})
    wanted = list(obtain_start(second_round(None, answer), here, me(1), LATER, 2))
    assert FetchModel(TASK, 2, 0, account(0), MODELS[2], b"cid", 0, 3) in wanted


HELP = LoggedNotice(NEED_MODEL, 2, account(1), "0x" + "00" * 20, MODELS[2], b"", at(160))
EMPTY = LoggedNotice(HERE_MODEL, 2, account(2), account(1), MODELS[2], b"nothing is there", at(200))
PATIENCE_S = max(ASK_AGAIN_S, PARAMS.train_window / 20)


def test_an_empty_answer_does_not_keep_the_others_from_being_tried() -> None:
    sound = replace(EMPTY, sender=account(0), cid=b"cid", at=at(199))
    wanted = list(obtain_start(second_round(None, HELP, sound, EMPTY), memory(MODELS[0]), me(1), LATER, 2))
    offers = [(one.sender, one.cid) for one in wanted if isinstance(one, FetchModel) and one.kind == 3]
    assert offers == [(account(2), b"nothing is there"), (account(0), b"cid")]


def test_who_got_an_empty_answer_asks_again_after_a_while() -> None:
    for wait, asks in ((PATIENCE_S - 1, []), (PATIENCE_S + 1, [1])):
        now = Now(EMPTY.at.time + wait, 99)
        wanted = list(obtain_start(second_round(None, HELP, EMPTY), memory(MODELS[0]), me(1), now, 2))
        again = [one for one in wanted if isinstance(one, SendNotice)]
        assert [one.times for one in again] == asks
        assert all(one.key != SendNotice(TASK, NEED_MODEL, 2, one.to, MODELS[2]).key for one in again)
    unanswered = obtain_start(second_round(None, HELP), memory(MODELS[0]), me(1), now, 2)
    assert not [one for one in unanswered if isinstance(one, SendNotice)], "who has no answer goes on waiting"


def test_a_question_asked_again_is_answered_by_who_has_not_yet() -> None:
    again = replace(HELP, at=at(240))
    for notices, helps in (((HELP,), True), ((HELP, EMPTY), False), ((HELP, EMPTY, again), True)):
        wanted = list(answers(second_round(None, *notices), memory(MODELS[2]), me(0), Now(BEGAN + 300, 99)))
        assert [isinstance(one, PublishCopy) for one in wanted] == [True] * helps
    mine = replace(EMPTY, sender=account(0))
    assert not list(answers(second_round(None, HELP, mine, again), memory(MODELS[2]), me(0), Now(BEGAN + 300, 99)))


def test_the_majority_s_model_wins_over_the_own_one_once_it_is_here() -> None:
    state = second_round({0: OTHER, 2: OTHER})
    outcomes: dict[str, Outcome] = {AGGREGATE.key: ModelReady(G1)}
    assert agreed_start(state, 2) == OTHER
    assert start_of(state, memory(G1, outcomes=outcomes), 2) == G1
    assert start_of(state, memory(G1, OTHER, outcomes=outcomes), 2) == OTHER


def test_a_differing_majority_is_asked_for_its_bytes() -> None:
    state = second_round({0: OTHER, 2: OTHER})
    here = memory(*MODELS.values(), G1, outcomes={AGGREGATE.key: ModelReady(G1)})
    wanted = list(obtain_start(state, here, me(1), LATER, 2))
    assert SendNotice(TASK, NEED_MODEL, 2, "0x" + "00" * 20, OTHER) in wanted


def test_a_late_joiner_trusts_a_checkpoint_only_from_two() -> None:
    one = LoggedNotice(CHECKPOINT, 2, account(0), "0x" + "00" * 20, G1, b"cid0", at(20))
    two = replace(one, sender=account(2), cid=b"cid2", at=at(21))
    assert confirmed_start(second_round(None, one), 2) is None
    assert confirmed_start(second_round(None, one, one), 2) is None
    assert confirmed_start(second_round(None, one, two), 2) == G1


def test_one_checkpoint_counts_with_another_member_that_builds_on_it() -> None:
    one = LoggedNotice(CHECKPOINT, 2, account(0), "0x" + "00" * 20, G1, b"cid0", at(20))
    assert confirmed_start(second_round({0: G1}, one), 2) is None
    assert confirmed_start(second_round({2: G1}, one), 2) == G1
    assert confirmed_start(second_round({2: OTHER}, one), 2) is None


def test_two_liars_do_not_talk_a_member_out_of_its_own_model() -> None:
    one = LoggedNotice(CHECKPOINT, 2, account(0), "0x" + "00" * 20, OTHER, b"cid0", at(20))
    state = second_round(None, one, replace(one, sender=account(2), at=at(21)))
    outcomes: dict[str, Outcome] = {AGGREGATE.key: ModelReady(G1)}
    assert start_of(state, memory(G1, OTHER, outcomes=outcomes), 2) == G1
