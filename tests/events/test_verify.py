"""The law of `verify`: a true log has no contradiction, and a changed field of any event is found where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from bfl_events import schema as ev
from bfl_events.rules import SCORE_MAX, pack_row, unpack_row
from bfl_events.schema import Bitmap, Params, Phase, Record, Wei
from bfl_events.verify import Finding, verify
from tests.events.logs import SEEDS, all_logs, honest_log, random_log
from tests.simulation.contract import FactoryModel
from tests.simulation.play import CID, FACTORY, IMPLEMENTATION, REQUESTER, STRANGER, Game, account, default_params

CHAIN_ID = 31337
Log = tuple[Record, ...]

UNPINNED = {
    ("WorkerJoined", "enc_key"), ("KeyRotated", "enc_key"), ("KeyRotated", "who"), ("ModelCommitted", "base_hash"),
    ("ModelSubmitted", "size"), ("ModelSubmitted", "cid"), ("FinalAttested", "cid"), ("PhaseChanged", "seed"),
    *(("Notice", name) for name in ("kind", "round", "sender", "to", "ref", "cid")),
}
"""Fields that nothing in the logs proves: see the docstring of `bfl_events.verify`."""

UNPINNED_WITHOUT_CONSEQUENCE = {
    ("ModelCommitted", "commitment"), ("ModelCommitted", "worker"), ("ScoresCommitted", "commitment"),
    ("ScoresCommitted", "worker"), ("FinalAttested", "final_hash"), ("WorkerJoined", "payout"),
    ("WorkerLeaving", "worker"), ("WorkerRemoved", "worker"),
}
"""Proved by what follows, if anything does: an opening, a boundary, a vote that counts, a payment."""


def check(records: Log | list[Record]) -> list[Finding]:
    return verify(records, chain_id=CHAIN_ID, implementation=IMPLEMENTATION)


def changed(records: Log, at: int, **changes: Any) -> list[Record]:
    """The log with other values in one event; `at` counts from 0."""
    event: Any = records[at].event
    return [*records[:at], replace(records[at], event=replace(event, **changes)), *records[at + 1:]]


def other_values(value: Any) -> Iterator[Any]:
    """Values of the same type that differ by little or by much."""
    match value:
        case bool():
            yield not value
        case Phase():
            yield from (Phase((value + 1) % 11), Phase((value + 7) % 11))
        case int():
            yield from (value + 1, max(0, value - 1) if value else 2, value ^ 4, value + 10**9)
        case str():
            yield from {account(1), account(2), account(3), REQUESTER, STRANGER} - {value}
        case bytes():
            yield from (bytes([value[0] ^ 1]) + value[1:], value[:-1] + bytes([value[-1] ^ 128])) if value else (b"x",)
        case tuple():
            yield from ((value[0] ^ 1, *value[1:]), (*value[:-1], value[-1] ^ 1 << 20)) if value else ((1,),)
        case Params():
            for field in fields(value):
                for other in other_values(getattr(value, field.name)):
                    yield replace(value, **{field.name: other})


@st.composite
def tampered(draw: st.DrawFn) -> tuple[Log, int, str, Any]:
    """A log, and the place, field and new value of one change."""
    records = draw(st.sampled_from(all_logs()))
    at = draw(st.integers(0, len(records) - 1))
    field = draw(st.sampled_from(fields(records[at].event))).name
    return records, at, field, draw(st.sampled_from(list(other_values(getattr(records[at].event, field)))))


@pytest.mark.parametrize("records", all_logs())
def test_a_true_log_has_no_contradiction_with_and_without_the_implementation(records: Log) -> None:
    assert check(records) == []
    assert verify(records, chain_id=CHAIN_ID) == []


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(SEEDS).map(random_log), st.data())
def test_a_true_log_may_end_after_any_call(records: Log, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(records) - 1))
    findings = check(records[:cut])
    if records[cut].tx == records[cut - 1].tx:
        assert all(f.line == cut and ("must follow" in f.message or "follows" in f.message) for f in findings)
    else:
        assert findings == []


@settings(max_examples=250, deadline=None)
@given(tampered())
def test_a_changed_field_is_reported_with_its_line(change: tuple[Log, int, str, Any]) -> None:
    records, at, field, value = change
    key = type(records[at].event).__name__, field
    findings = check(changed(records, at, **{field: value}))
    named = [f for f in findings if at + 1 in (f.line, *f.related)]
    if key not in UNPINNED | UNPINNED_WITHOUT_CONSEQUENCE:
        assert named
    assert not findings or named


def test_the_honest_game_pins_every_field_but_the_unpinned() -> None:
    """Nothing is left unproved in a task that ran to its end: exhaustively, one other value of every field."""
    records, missed = honest_log(), set()
    for at, record in enumerate(records):
        for field in fields(record.event):
            value = next(other_values(getattr(record.event, field.name)))
            if not any(at + 1 in (f.line, *f.related) for f in check(changed(records, at, **{field.name: value}))):
                missed.add((type(record.event).__name__, field.name))
    assert missed <= UNPINNED


def first(records: Log, kind: type[Any], *, skip: int = 0) -> int:
    return [k for k, record in enumerate(records) if isinstance(record.event, kind)][skip]


def only(findings: list[Finding], at: int) -> str:
    """The message of the one finding, which must be about this place."""
    assert [f.line for f in findings] == [at + 1]
    return findings[0].message


def test_a_payout_that_is_off_by_one_wei_is_one_finding_with_both_amounts() -> None:
    records = honest_log()
    at = first(records, ev.RewardsDistributed)
    event: Any = records[at].event
    message = only(check(changed(records, at, per_rest=Wei(event.per_rest + 1))), at)
    assert message == f"RewardsDistributed: per_rest is {event.per_rest + 1}, expected {event.per_rest}"


def test_a_median_that_is_off_by_one_is_one_finding() -> None:
    records = honest_log()
    at = first(records, ev.RoundScored)
    event: Any = records[at].event
    lanes = list(unpack_row(event.medians))
    lanes[3] -= 1
    assert "medians is" in only(check(changed(records, at, medians=pack_row(lanes))), at)


def test_a_joiner_under_the_name_of_one_who_left_is_related_to_the_payment_that_shows_it() -> None:
    for records in all_logs():
        joins = [at for at, one in enumerate(records) if isinstance(one.event, ev.WorkerJoined)]
        gone = [one.event.worker for one in records if isinstance(one.event, ev.WorkerRemoved)]
        if len(records) < 12 and len(joins) == 3 and gone and joins[2] == 6:
            assert any(7 in (f.line, *f.related) for f in check(changed(records, 6, worker=gone[0])))
            return
    pytest.fail("no such log")


def test_a_base_hash_is_a_vote_that_no_line_proves() -> None:
    """Models are not in the log: which base counts is the majority's word (PROTOCOL 2.4), whatever it is."""
    records = honest_log()
    for skip in (0, 4):
        assert check(changed(records, first(records, ev.ModelCommitted, skip=skip), base_hash=bytes(32))) == []


def test_a_commitment_and_its_opening_name_each_other() -> None:
    records = honest_log()
    commit, opening = first(records, ev.ModelCommitted), first(records, ev.ModelSubmitted)
    for findings in (check(changed(records, commit, commitment=b"x" * 32)),
                     check(changed(records, opening, salt=b"x" * 32))):
        assert [(f.line, commit + 1 in f.related) for f in findings] == [(opening + 1, True)]


def test_whose_commitment_it_was_is_known_from_its_opening() -> None:
    records = honest_log()
    at = first(records, ev.ModelCommitted)
    assert f"expected {account(1)}" in only(check(changed(records, at, worker=account(2))), at)


def test_who_joined_is_known_from_who_acts() -> None:
    records = honest_log()
    at = first(records, ev.WorkerJoined)
    assert f"expected {account(1)}" in only(check(changed(records, at, worker=STRANGER)), at)


def test_terms_are_pinned_by_the_tasks_address() -> None:
    records = honest_log()
    terms: Any = records[1].event
    forged = changed(records, 1, params=replace(terms.params, spec_hash=b"x" * 32))
    assert verify(forged, chain_id=CHAIN_ID) == []
    assert "has the address" in only(check(forged), 1)


def test_impossible_terms_are_reported_with_their_reason() -> None:
    records = honest_log()
    terms: Any = records[1].event
    assert "devTol is 0" in only(check(changed(records, 1, params=replace(terms.params, dev_tol=0))), 1)


def test_another_chains_id_opens_no_commitment() -> None:
    findings = verify(honest_log(), chain_id=1)
    assert "logged no commitment" in findings[0].message


def test_a_phase_that_ends_too_early_names_whom_it_had_to_wait_for() -> None:
    records = honest_log()
    gone = first(records, ev.ScoresCommitted)
    findings = check([*records[:gone], *records[gone + 1:]])
    assert f"still waits for {account(1)}" in findings[0].message


@pytest.mark.parametrize("kind", [ev.TaskInitialized, ev.RoundAdvanced, ev.PhaseChanged, ev.RoundScored,
                                  ev.RewardsDistributed, ev.ModelSubmitted, ev.FinalAttested, ev.TaskEnded])
def test_a_missing_line_is_noticed_at_the_next_one_that_needs_it(kind: type[Any]) -> None:
    records = honest_log()
    gone = first(records, kind)
    findings = check([*records[:gone], *records[gone + 1:]])
    assert findings
    assert findings[0].line >= gone


def test_two_lines_in_the_wrong_order_are_noticed() -> None:
    records = list(honest_log())
    records[4], records[5] = records[5], records[4]
    assert check(records)[0].line in (5, 6)


@pytest.mark.parametrize(("field", "value"), [
    ("block", 0), ("time", 5), ("emitter", STRANGER), ("tx", b"x" * 32), ("log_index", 7),
])
def test_a_record_in_a_wrong_place_is_noticed(field: str, value: Any) -> None:
    records = list(honest_log())
    at = first(honest_log(), ev.PhaseChanged)
    records[at] = replace(records[at], **{field: value})
    findings = check(records)
    assert any(at + 1 in (f.line, *f.related) for f in findings)


def test_one_block_has_one_hash_and_one_time() -> None:
    records = list(honest_log())
    records[1] = replace(records[1], block_hash=b"x" * 32)
    assert "two hashes" in check(records)[0].message
    records = list(honest_log())
    records[9] = replace(records[9], block_hash=records[7].block_hash)
    assert any("its block hash stands in block" in f.message for f in check(records))


@pytest.mark.parametrize(("field", "value", "words"), [
    ("salt", b"short", "5 bytes"), ("round", -1, "outside 32 bits"), ("round", 2**32, "outside 32 bits"),
    ("row", (2**256,), "outside 256 bits"), ("worker", "nobody", "not an address"),
])
def test_values_that_no_contract_can_log_are_findings_not_crashes(field: str, value: Any, words: str) -> None:
    records = honest_log()
    at = first(records, ev.ScoresSubmitted)
    findings = check(changed(records, at, **{field: value}))
    assert any(f.line == at + 1 and words in f.message for f in findings)


def test_a_row_beyond_the_score_is_a_finding_even_where_it_was_committed_so() -> None:
    records = honest_log()
    at = first(records, ev.ScoresSubmitted)
    event: Any = records[at].event
    findings = check(changed(records, at, row=(event.row[0] | SCORE_MAX + 1,)))
    assert findings[0].line == at + 1
    assert "above 10000" in findings[0].message


def test_several_tasks_in_one_log_are_verified_each_for_itself() -> None:
    """Two tasks of the same factory, the second with a wrong amount; `log` indices and blocks go on."""
    game = Game.create(Random(3))
    factory = FactoryModel(game.model.chain, FACTORY, IMPLEMENTATION)
    now = game.model.chain.time
    other = factory.create_task(REQUESTER, b"n" * 32, default_params(now), CID, CID, b"key", value=300)
    second = Game(other, Random(4))
    for each in (game, second, game, second, game, second):
        each.must(each.join())
    records = tuple(game.model.chain.records)
    assert check(records) == []
    at = first(records, ev.WorkerJoined, skip=3)
    assert records[at].emitter == other.address
    assert "collateral is 5" in only(check(changed(records, at, collateral=Wei(5))), at)


def test_a_task_announced_under_a_wrong_name_or_twice_is_noticed() -> None:
    records = honest_log()
    assert f"task is {STRANGER}" in only(check(changed(records, 0, task=STRANGER)), 0)
    twice = check([records[0], *records])
    assert any("created before" in f.message for f in twice)


def test_an_empty_log_holds_no_contradiction() -> None:
    assert verify([], chain_id=CHAIN_ID) == []


def test_a_finding_reads_as_a_sentence() -> None:
    assert str(Finding(4, "theta is 1, expected 2", (2, 3))) == "line 4: theta is 1, expected 2 (or line 2, 3 is wrong)"
    assert str(Finding(4, "theta is 1, expected 2")) == "line 4: theta is 1, expected 2"


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(all_logs()), st.data())
def test_a_log_torn_apart_is_never_a_crash(records: Log, data: st.DataObject) -> None:
    torn = list(records)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(torn) - 1))
        match data.draw(st.sampled_from(("drop", "repeat", "swap", "mix"))):
            case "drop" if len(torn) > 2:
                del torn[at]
            case "repeat":
                torn.insert(data.draw(st.integers(0, len(torn))), torn[at])
            case "swap":
                torn[at], torn[0] = torn[0], torn[at]
            case _:
                stranger = data.draw(st.sampled_from(data.draw(st.sampled_from(all_logs()))))
                torn[at] = replace(torn[at], event=stranger.event)
    assert all(isinstance(finding, Finding) for finding in check(torn))


def test_a_bitmap_far_too_large_is_no_crash() -> None:
    records = honest_log()
    at = first(records, ev.RoundAdvanced)
    assert check(changed(records, at, roster=Bitmap(2**255)))[0].line == at + 1
