"""Laws of the codec: every event survives JSON, and nothing else comes in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from bfl_events.codec import DYNAMIC_BYTES, EVENTS, CodecError, event_from_json, to_json
from bfl_events.decode import table
from tests.events.event_strategies import events


@given(events)
def test_every_event_comes_back_from_json(event: Any) -> None:
    body = json.loads(json.dumps(to_json(event)))
    assert event_from_json(type(event).__name__, body) == event


@given(events, st.data())
def test_a_field_more_or_less_is_refused(event: Any, data: st.DataObject) -> None:
    body = to_json(event)
    name = data.draw(st.sampled_from(sorted(body)))
    for wrong in ({**body, "more": 1}, {key: value for key, value in body.items() if key != name},
                  {(key if key != name else "other"): value for key, value in body.items()}):
        with pytest.raises(CodecError):
            event_from_json(type(event).__name__, wrong)


junk = st.one_of(st.none(), st.floats(), st.text(max_size=5), st.just(-1), st.just(2**70), st.just("0x"), st.just("01"),
                 st.just([1]), st.just({}), st.just("0X00"), st.just("0x0 0"))


@given(events, junk, st.data())
def test_a_value_that_is_accepted_is_written_back_the_same(event: Any, value: Any, data: st.DataObject) -> None:
    body = to_json(event)
    changed = {**body, data.draw(st.sampled_from(sorted(body))): value}
    try:
        read = event_from_json(type(event).__name__, changed)
    except CodecError:
        return
    assert to_json(read) == changed


@pytest.mark.parametrize(("name", "field", "value"), [
    ("TaskCreated", "task", "0x5fbdb2315678afecb367f032d93f642f64180aa3"),
    ("TaskCreated", "nonce", "0x" + "00" * 31),
    ("Burned", "amount", 5),
    ("Burned", "amount", "05"),
    ("Burned", "amount", str(2**256)),
    ("TaskStarted", "rounds", True),
    ("TaskStarted", "roster", "0xFF"),
    ("PhaseChanged", "phase", "Nap"),
])
def test_other_spellings_of_a_value_are_refused(name: str, field: str, value: Any) -> None:
    good = {
        "TaskCreated": {"task": "0x5FbDB2315678afecb367f032d93F642f64180aa3",
                        "requester": "0x5FbDB2315678afecb367f032d93F642f64180aa3", "nonce": "0x" + "00" * 32},
        "Burned": {"amount": "5"},
        "TaskStarted": {"rounds": 3, "roster": "0xff"},
        "PhaseChanged": {"round": 1, "attempt": 1, "phase": "Open", "deadline": 9, "seed": "0x" + "00" * 32,
                         "active": "0x7"},
    }[name]
    event_from_json(name, good)
    with pytest.raises(CodecError, match=field):
        event_from_json(name, {**good, field: value})


def test_an_unknown_event_is_refused() -> None:
    with pytest.raises(CodecError, match="Nonsense"):
        event_from_json("Nonsense", {})


def test_bytes_lengths_are_those_of_the_abi() -> None:
    for layout in table().values():
        names = layout.cls.__dataclass_fields__
        places, types = (*layout.topic_fields, *layout.data_fields), (*layout.topic_types, *layout.data_types)
        kinds = dict(zip(places, types, strict=True))
        for place, name in enumerate(names):
            if kinds[place] in ("bytes", "bytes32"):
                assert (name in DYNAMIC_BYTES) == (kinds[place] == "bytes"), f"{layout.cls.__name__}.{name}"


def test_all_events_of_the_schema_are_known() -> None:
    assert len(EVENTS) == 26
