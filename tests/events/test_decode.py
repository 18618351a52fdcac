"""Decoding against web3 as the oracle, against the ABI for drift, and against logs that no contract writes."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from importlib import resources
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from web3 import Web3

from bfl_events.codec import EVENTS, checksummed
from bfl_events.decode import AbiMismatch, DecodeError, build_table, decode_log, snake_case, table
from bfl_events.schema import Record, TaskCreated
from tests.events.event_strategies import raw_log, records


def abi_entries() -> list[dict[str, Any]]:
    entries = []
    for name in ("FLTask", "FLTaskFactory"):
        entries += json.loads(resources.files("bfl_events.abi").joinpath(f"{name}.json").read_text())["abi"]
    return entries


ORACLE = Web3().eth.contract(abi=[entry for entry in abi_entries() if entry["type"] == "event"])
A_RECORD = Record(7, b"h" * 32, 1_700_000_000, 2, b"t" * 32, checksummed(b"\x01" * 20),
                  TaskCreated(checksummed(b"\x02" * 20), checksummed(b"\x03" * 20), b"n" * 32))


@given(records())
def test_a_log_of_the_contract_comes_back_as_the_record(record: Record) -> None:
    assert decode_log(raw_log(record, table())) == record


@given(records())
@settings(max_examples=60)
def test_web3_reads_the_same_from_a_log(record: Record) -> None:
    raw = raw_log(record, table())
    receipt = {**raw, "blockNumber": record.block, "logIndex": record.log_index, "transactionIndex": 0,
               "topics": [bytes.fromhex(topic[2:]) for topic in raw["topics"]], "address": record.emitter,
               "data": bytes.fromhex(raw["data"][2:]), "blockHash": record.block_hash, "transactionHash": record.tx}
    name = type(record.event).__name__
    seen = getattr(ORACLE.events, name)().process_log(receipt)
    mine = decode_log(raw).event
    assert {snake_case(name, key): _plain(value) for key, value in seen["args"].items()} == {
        field.name: _plain(getattr(mine, field.name)) for field in fields(mine)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return tuple(getattr(value, field.name) for field in fields(value))
    if hasattr(value, "items"):
        return tuple(value.values())
    return tuple(value) if isinstance(value, list) else value


@given(records(), st.data())
def test_a_log_with_a_changed_byte_is_refused_or_means_something_else(record: Record, data: st.DataObject) -> None:
    raw = raw_log(record, table())
    body = bytearray.fromhex(raw["data"][2:])
    if not body:
        return
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        changed = decode_log({**raw, "data": "0x" + body.hex()})
    except DecodeError:
        return
    assert changed != record
    assert raw_log(changed, table())["data"] == "0x" + body.hex()


def broken(**changes: Any) -> dict[str, Any]:
    return {**raw_log(A_RECORD, table()), **changes}


GOOD = raw_log(A_RECORD, table())


@pytest.mark.parametrize(("raw", "why"), [
    (broken(topics=["0x" + "00" * 32]), "unknown event"),
    (broken(topics=[]), "unknown event"),
    (broken(topics=GOOD["topics"][:2]), "indexed parameters"),
    (broken(topics=[*GOOD["topics"], "0x" + "00" * 32]), "indexed parameters"),
    (broken(topics=[GOOD["topics"][0], "0x" + "01" * 32, GOOD["topics"][2]]), "bytes"),
    (broken(data=GOOD["data"] + "00" * 32), "not encoded"),
    (broken(data=GOOD["data"][:-2]), "31 bytes|32"),
    (broken(data=GOOD["data"] + "0"), "non-hexadecimal|no data"),
    (broken(data=None), "no data"),
    (broken(removed=True), "removed"),
    (broken(blockNumber=7), "no quantity"),
    (broken(blockHash="0x00"), "not 32"),
    (broken(address="0x" + "00" * 21), "not 20"),
    (broken(logIndex="0x"), "no quantity"),
    ({}, "no quantity"),
    ({key: value for key, value in GOOD.items() if key != "data"}, "no field 'data'"),
])
def test_a_log_that_no_contract_writes_is_refused_by_its_place(raw: dict[str, Any], why: str) -> None:
    with pytest.raises(DecodeError, match=why) as caught:
        decode_log(raw)
    if raw and raw.get("blockNumber") == "0x7" and raw["logIndex"] == "0x2":
        assert "log 2 of block 7" in str(caught.value)


def test_a_log_without_a_time_needs_the_blocks() -> None:
    raw = {key: value for key, value in GOOD.items() if key != "blockTimestamp"}
    assert decode_log(raw, 5).time == 5
    with pytest.raises(DecodeError, match="blockTimestamp"):
        decode_log(raw)


def test_the_schema_has_not_drifted_from_the_abi() -> None:
    """The parameters' names in the contract, in order, are the fields; every event of the contract has a class."""
    for entry in abi_entries():
        if entry["type"] == "event":
            names = [snake_case(entry["name"], one["name"]) for one in entry["inputs"]]
            assert names == [field.name for field in fields(EVENTS[entry["name"]])]
            assert len(entry["inputs"]) == len(set(names))
    assert snake_case("Notice", "from") == "sender"
    assert snake_case("RewardsDistributed", "perTop") == "per_top"


def test_an_abi_that_does_not_fit_is_refused() -> None:
    entries = abi_entries()
    with pytest.raises(AbiMismatch, match="Burned"):
        build_table([entry for entry in entries if entry.get("name") != "Burned"])
    renamed = json.loads(json.dumps(entries).replace('"perTop"', '"perBest"'))
    with pytest.raises(AbiMismatch, match="per_best"):
        build_table(renamed)
