"""Looking back over a recorded history: the decisions that are found again are those that were made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from agents.core import intents as i, requester, worker
from agents.core.hindsight import End, Step, Subject, look_back
from agents.core.past_clock import by_the_chains_clock
from agents.core.past_memory import Entry, Ideal, Journalled, LoggedSeals, Nothing, PastMemory
from agents.core.state import Limits, Me
from bfl_events.fold import fold
from bfl_events.schema import ModelCommitted, ModelSubmitted, Phase, PhaseChanged, Record
from bfl_events.state import TaskState
from tests.events.logs import SEEDS, random_log
from tests.simulation.deciders import Agent, Federation
from tests.simulation.play import REQUESTER, account

LIMITS = Limits(max_collateral_wei=10**19, max_open_collateral_wei=10**19)
OWN = (i.JoinTask, i.CommitModel, i.OpenModel, i.CommitScores, i.SubmitScore, i.AttestFinal, i.SendNotice)


def steps(
    records: Sequence[Record], who: str, memory: PastMemory | None = None, limits: Limits = LIMITS, **more: Any
) -> list[Step]:
    state = fold(records)
    tasks: Mapping[str, TaskState] = {state.address: state}
    decide = requester.decide if who == REQUESTER else worker.decide
    me = Me(who, LoggedSeals(31337, who, tasks), limits)
    role = "requester" if who == REQUESTER else "worker"
    subject = Subject(role, me, decide, memory or Ideal(who, tasks), 0.0, **more)
    return list(look_back(list(enumerate(records, start=2)), subject))


def ended(looks: Sequence[Step], end: End) -> list[i.Intent]:
    return [gone.intent for look in looks for gone in look.gone if gone.end is end]


def acts(agent: Agent) -> list[str]:
    return sorted(intent.key for intent in agent.done if isinstance(intent, OWN))


class Dated(dict[str, i.Outcome]):
    """A memory that notes when it learnt what."""

    def __init__(self, federation: Federation) -> None:
        super().__init__()
        self.entries: list[Entry] = []
        self._chain = federation.chain

    def __setitem__(self, key: str, outcome: i.Outcome) -> None:
        self.entries.append(Entry(self._chain.time + 0.5, key, outcome))
        super().__setitem__(key, outcome)


@pytest.fixture(scope="module")
def undisturbed() -> Federation:
    federation = Federation(3, 7)
    for agent in federation.agents:
        agent.outcomes = Dated(federation)
    federation.run(60)
    return federation


@pytest.fixture(scope="module")
def bereft() -> Federation:
    """The second of four workers dies in round 2, after it has committed to its model."""
    federation = Federation(4)
    federation.run(60, lambda: federation.task.state.round == 2 and federation.task.state.phase == Phase.OPEN)
    federation.workers[1].alive = False
    federation.run(3000)
    return federation


@pytest.mark.parametrize("number", range(3))
def test_the_decisions_found_again_are_exactly_the_acts(undisturbed: Federation, number: int) -> None:
    agent = undisturbed.workers[number]
    looks = steps(undisturbed.chain.records, agent.me.address)
    done = [intent for intent in ended(looks, End.DONE) if isinstance(intent, OWN)]
    assert sorted(intent.key for intent in done) == acts(agent)
    assert len(done) == 1 + 4 * 3 + 1
    assert ended(looks, End.MISSED) == []
    assert not any(look.unforeseen for look in looks)


@pytest.mark.parametrize("number", range(3))
def test_the_journal_finds_the_same_acts_and_the_work_before_them(undisturbed: Federation, number: int) -> None:
    agent = undisturbed.workers[number]
    assert isinstance(agent.outcomes, Dated)
    looks = steps(undisturbed.chain.records, agent.me.address, Journalled(agent.outcomes.entries))
    done = ended(looks, End.DONE)
    assert sorted(intent.key for intent in done if isinstance(intent, OWN)) == acts(agent)
    assert ended(looks, End.MISSED) == []
    assert not any(look.unforeseen for look in looks)


CLOCKS: Mapping[str, Callable[[float], float]] = {
    "right": lambda _: 0, "an hour ahead": lambda _: 3600, "an hour behind": lambda _: -3600,
    "suspended in the middle": lambda share: 3600 * (share > 0.5),
    "set back in the middle": lambda share: -3600 * (share > 0.5),
    "wrong for a while": lambda share: 86_400 * (0.3 < share < 0.6),
}


@pytest.mark.parametrize("clock", CLOCKS)
def test_whatever_the_machines_clock_said_the_journal_finds_the_same_acts(undisturbed: Federation, clock: str) -> None:
    """`CLOCKS`: by how many seconds it was wrong, by the share of the journal that was written."""
    for agent in undisturbed.workers:
        assert isinstance(agent.outcomes, Dated)
        entries = agent.outcomes.entries
        dated = [replace(entry, at=entry.at + CLOCKS[clock](number / len(entries)))
                 for number, entry in enumerate(entries)]
        mended = by_the_chains_clock(dated, undisturbed.chain.records, agent.me.address)
        looks = steps(undisturbed.chain.records, agent.me.address, Journalled(mended))
        done = ended(looks, End.DONE)
        assert sorted(intent.key for intent in done if isinstance(intent, OWN)) == acts(agent)
        assert ended(looks, End.MISSED) == []
        assert not any(look.unforeseen for look in looks)
        if clock == "right":
            assert looks == steps(undisturbed.chain.records, agent.me.address, Journalled(entries))


def test_what_was_written_after_the_last_act_that_needed_it_is_not_taken_back(undisturbed: Federation) -> None:
    agent, log = undisturbed.workers[0], undisturbed.chain.records
    late = Entry(log[-1].time + 60.0, f"train:{undisturbed.task.address}:9:{'00' * 32}", i.Done())
    assert by_the_chains_clock([late], log, agent.me.address) == [late]


def test_a_journal_that_lacks_a_training_wants_it_and_nothing_after_it(undisturbed: Federation) -> None:
    agent = undisturbed.workers[0]
    assert isinstance(agent.outcomes, Dated)
    address = undisturbed.task.address
    kept = [entry for entry in agent.outcomes.entries if not entry.key.startswith(f"train:{address}:2:")]
    looks = steps(undisturbed.chain.records, agent.me.address, Journalled(kept))
    wanted = [intent for look in looks for intent in look.wanted]
    assert any(isinstance(intent, i.TrainModel) and intent.round == 2 for intent in wanted)
    assert not any(isinstance(intent, i.CommitModel) and intent.round == 2 for intent in wanted)
    strange = [record.event for look in looks for _, record in look.unforeseen]
    assert any(isinstance(event, ModelCommitted) and event.round == 2 for event in strange)


def test_a_dead_workers_duties_are_wanted_and_never_done(bereft: Federation) -> None:
    looks = steps(bereft.chain.records, account(2))
    missed = [(type(intent), getattr(intent, "round", 0)) for intent in ended(looks, End.MISSED)]
    assert (i.OpenModel, 2) in missed
    assert (i.CommitScores, 2) in missed
    assert (i.CommitModel, 2) not in missed, "it did that before it died"
    assert {round for kind, round in missed if kind is not i.AttestFinal} <= {2, 3}
    assert not any(look.unforeseen for look in looks)


def test_the_others_missed_nothing_by_it(bereft: Federation) -> None:
    for survivor in (account(1), account(3), account(4)):
        assert ended(steps(bereft.chain.records, survivor), End.MISSED) == []


def test_time_alone_makes_a_duty_of_it_to_go_on_without_the_dead(bereft: Federation) -> None:
    """Between two blocks: the deadline has passed, and somebody must say so."""
    looks = [look for who in (1, 3, 4) for look in steps(bereft.chain.records, account(who))]
    by_clock = [intent for look in looks if not look.numbered for intent in look.wanted]
    assert any(isinstance(intent, i.AdvanceRound) and intent.phase is Phase.OPEN for intent in by_clock)


def test_confirmations_that_came_after_the_last_event_count(undisturbed: Federation) -> None:
    log = undisturbed.chain.records
    cut = next(n for n, record in enumerate(log) if isinstance(record.event, PhaseChanged)) + 1
    tasks = {undisturbed.task.address: undisturbed.task.state}
    me = Me(account(1), LoggedSeals(31337, account(1), tasks), LIMITS, confirmations=3)
    for blocks, opens in ((2, False), (3, True)):
        subject = Subject("worker", me, worker.decide, Ideal(account(1), tasks), 0.0)
        end = (log[cut - 1].time, log[cut - 1].block + blocks)
        looks = list(look_back(list(enumerate(log[:cut], start=2)), subject, end))
        assert any(isinstance(intent, i.OpenModel) for look in looks for intent in look.wanted) is opens


@pytest.mark.parametrize("seed", SEEDS)
def test_no_history_that_the_contract_allows_is_too_strange_to_look_back_on(seed: int) -> None:
    """Games of liars, leavers and absentees: nobody's decision fails, and every intent that was wanted has one end."""
    for who in (REQUESTER, *map(account, range(1, 13))):
        open_keys: set[str] = set()
        for look in steps(random_log(seed), who):
            open_keys -= {gone.intent.key for gone in look.gone}
            assert not open_keys & {intent.key for intent in look.wanted}
            open_keys |= {intent.key for intent in look.wanted}


def test_an_act_that_a_reorg_moved_into_the_block_of_its_cause_is_explained(undisturbed: Federation) -> None:
    """The last commitment ends Train; here the first opening stands in the same block, unconfirmed."""
    log = list(undisturbed.chain.records)
    place = next(n for n, record in enumerate(log) if isinstance(record.event, ModelSubmitted))
    cause, event = log[place - 1], log[place].event
    assert isinstance(event, ModelSubmitted)
    log[place] = replace(log[place], block=cause.block, block_hash=cause.block_hash, log_index=cause.log_index + 1)
    tasks = {undisturbed.task.address: undisturbed.task.state}
    me = Me(event.worker, LoggedSeals(31337, event.worker, tasks), LIMITS, confirmations=3)
    subject = Subject("worker", me, worker.decide, Ideal(event.worker, tasks), 0.0)
    looks = list(look_back(list(enumerate(log[:place + 1], start=2)), subject))
    assert isinstance(looks[-1].numbered[-1][1].event, ModelSubmitted)
    assert not any(look.unforeseen for look in looks)


def test_an_act_that_nothing_explains_is_named(undisturbed: Federation) -> None:
    log = list(undisturbed.chain.records)
    place = [n for n, record in enumerate(log) if isinstance(record.event, ModelCommitted)][4]
    event = log[place].event
    assert isinstance(event, ModelCommitted)
    who = next(agent for agent in undisturbed.workers if agent.me.address == event.worker)
    assert isinstance(who.outcomes, Dated)
    log[place] = replace(log[place], event=replace(event, base_hash=b"?" * 32))
    looks = steps(log, event.worker, Journalled(who.outcomes.entries))
    assert [line for look in looks for line, _ in look.unforeseen] == [place + 2]


def test_who_remembers_nothing_wants_only_the_terms(undisturbed: Federation) -> None:
    looks = steps(undisturbed.chain.records, account(1), Nothing())
    wanted = [intent for look in looks for intent in look.wanted]
    assert {type(intent) for intent in wanted} == {i.LoadTerms, i.Withdraw}


def test_terms_that_the_policy_refuses_are_declined_with_the_reason(undisturbed: Federation) -> None:
    looks = steps(undisturbed.chain.records, account(9), limits=Limits(max_collateral_wei=1))
    reasons = [reason for look in looks for _, reason in look.declined]
    assert reasons
    assert all("policy.max_collateral_wei = 1" in reason for reason in reasons)
    assert not [intent for look in looks for intent in look.wanted]


def test_a_wish_to_leave_counts_from_when_it_was_said() -> None:
    federation = Federation(5)
    federation.run(60, lambda: federation.task.state.round == 2)
    leaver, said = federation.workers[3], federation.chain.time
    leaver.me = replace(leaver.me, leaving=frozenset({federation.task.state.address}))
    federation.run(600)
    wishes = [(float(said), federation.task.address)]
    looks = steps(federation.chain.records, leaver.me.address, wishes=wishes)
    (left,) = [intent for intent in ended(looks, End.DONE) if isinstance(intent, i.LeaveTask)]
    assert left.round == 2
    assert ended(looks, End.MISSED) == []


def test_the_requesters_work_is_found_again_too(undisturbed: Federation) -> None:
    looks = steps(undisturbed.chain.records, REQUESTER)
    worked = [work for look in looks for work in look.worked]
    assert any(isinstance(work, i.DeliverFinal) for work in worked)
    assert not any(look.unforeseen for look in looks)
