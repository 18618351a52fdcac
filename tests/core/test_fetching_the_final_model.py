"""How a requester comes by the model that its task attested, when the attesters do not serve it or its key is lost."""

from __future__ import annotations

from dataclasses import replace

from agents.core import worker
from agents.core.global_model import ASK_AFTER_S, ASK_AGAIN_S, HERE_MODEL, NEED_MODEL
from agents.core.intents import FetchModel, PublishCopy, Refused, SendNotice
from agents.core.requester import decide
from agents.core.state import ZERO_ADDRESS, Me, Memory, Now, World
from bfl_events.schema import Phase
from bfl_events.state import Attestation, EncryptionKey, LoggedNotice, Position, TaskState
from tests.core.tasks import PARAMS, REQUESTER, TASK, HashSeals, account, at, digest, me, task

FINAL = digest("final")
ATTESTED = FetchModel(TASK, PARAMS.rounds, 0, account(0), FINAL, b"attested", 0, 2)
ASKED = LoggedNotice(NEED_MODEL, PARAMS.rounds, REQUESTER, ZERO_ADDRESS, FINAL, b"", at(200))
EMPTY = LoggedNotice(HERE_MODEL, PARAMS.rounds, account(1), REQUESTER, FINAL, b"nothing is there", at(220))
EMPTY_ANSWER = FetchModel(TASK, PARAMS.rounds, 0, account(1), FINAL, EMPTY.cid, 0, 3)
PATIENCE_S = max(ASK_AGAIN_S, PARAMS.train_window / 20)


def ended(*notices: LoggedNotice) -> TaskState:
    return task(phase=Phase.COMPLETED, round=PARAMS.rounds, final_hash=FINAL, since=at(100), notices=notices,
                attestations={0: Attestation(FINAL, b"attested", at(90))})


def wanted(state: TaskState, *refused: FetchModel, time: float) -> list[FetchModel | SendNotice]:
    memory = Memory({one.key: Refused("nothing is there") for one in refused}, frozenset())
    intents = decide(World(tasks={TASK: state}), memory, Me(REQUESTER, HashSeals(REQUESTER)), Now(time, 999))
    return [one for one in intents if isinstance(one, FetchModel | SendNotice)]


def test_it_is_fetched_from_who_attested_it() -> None:
    assert wanted(ended(), time=at(101).time) == [ATTESTED]


def test_where_the_attesters_serve_nothing_everybody_is_asked() -> None:
    assert wanted(ended(), ATTESTED, time=at(100).time + ASK_AFTER_S + 1) == [
        SendNotice(TASK, NEED_MODEL, PARAMS.rounds, ZERO_ADDRESS, FINAL)]
    assert wanted(ended(ASKED), ATTESTED, time=ASKED.at.time + 10 * PATIENCE_S) == [], "it goes on waiting"


def test_an_empty_answer_is_tried_and_then_everybody_is_asked_again() -> None:
    state = ended(ASKED, EMPTY)
    assert EMPTY_ANSWER in wanted(state, ATTESTED, time=EMPTY.at.time + 1)
    assert wanted(state, ATTESTED, EMPTY_ANSWER, time=EMPTY.at.time + PATIENCE_S - 1) == []
    (again,) = wanted(state, ATTESTED, EMPTY_ANSWER, time=EMPTY.at.time + PATIENCE_S + 1)
    assert again == SendNotice(TASK, NEED_MODEL, PARAMS.rounds, ZERO_ADDRESS, FINAL, times=1)
    sound = replace(EMPTY, sender=account(2), cid=b"sound")
    assert [one.cid for one in wanted(ended(ASKED, EMPTY, sound), ATTESTED, EMPTY_ANSWER, time=EMPTY.at.time + 1)
            if isinstance(one, FetchModel)] == [b"sound"]


def test_an_attester_seals_it_anew_for_a_day_to_the_newest_key_of_a_requester_that_lost_the_old_one() -> None:
    for hours, serves in ((23, True), (25, False)):
        asking = at(100).time + hours * 3600
        asked = replace(ASKED, at=Position(200, 1, asking))
        announced = EncryptionKey(PARAMS.rounds + 1, b"made after the loss", Position(200, 0, asking))
        state = ended(asked)
        state = replace(state, requester_keys=(*state.requester_keys, announced), attest_since=at(90))
        wanted = worker.decide(World(tasks={TASK: state}), Memory({}, frozenset({FINAL})), me(0), Now(asking + 60, 999))
        copies = [one for one in wanted if isinstance(one, PublishCopy)]
        sealed_anew = PublishCopy(TASK, PARAMS.rounds, 3, FINAL, ((REQUESTER, b"made after the loss"),))
        assert copies == [sealed_anew] * serves
