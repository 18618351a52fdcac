"""Our ABI tables against web3's own coder, and the errors that nodes pack in their own ways."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode
from web3 import Web3

from agents.effects.calldata import artefact, constructor_arguments, decode_answer, decode_error, encode_call
from agents.effects.gas import TRANSACTION_CAP, deadline_gas, with_margin
from agents.effects.ports import Rejected, Transient
from agents.effects.refused_calls import explain, poor
from bfl_events.rpc import RpcRefused
from bfl_events.schema import Phase

WHO = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
CALLS: tuple[tuple[str, str, tuple[Any, ...]], ...] = (
    ("FLTask", "commitModel", (3, 4, b"c" * 32, b"b" * 32)),
    ("FLTask", "openModel", (3, b"m" * 32, b"s" * 32, 6_650_000, b"\x01\x55" + b"c" * 34)),
    ("FLTask", "submitScore", (3, [1 << 200, 7], b"s" * 32)),
    ("FLTask", "joinTask", (WHO, b"k" * 422, [b"p" * 32, b"q" * 32])),
    ("FLTask", "notice", (1, 2, WHO, b"r" * 32, b"")),
    ("FLTask", "nextRound", ()),
    ("FLTask", "workers", (125,)),
    ("FLTaskFactory", "createTask", (
        b"n" * 32, (*range(1, 6), True, False, *range(8, 25), 2**39, 2**120, b"a" * 32, b"m" * 32, b"s" * 32),
        b"spec", b"model", b"key",
    )),
)


@pytest.mark.parametrize(("contract", "function", "arguments"), CALLS, ids=[call[1] for call in CALLS])
def test_calls_are_encoded_as_web3_does(contract: str, function: str, arguments: tuple[Any, ...]) -> None:
    oracle = Web3().eth.contract(abi=artefact(contract)["abi"])
    assert "0x" + encode_call(function, arguments).hex() == oracle.encode_abi(function, args=list(arguments))


def test_the_factorys_constructor_takes_the_implementation() -> None:
    assert constructor_arguments("FLTaskFactory", (WHO,)) == encode(["address"], [WHO])
    assert constructor_arguments("FLTask", ()) == b""


def test_every_error_of_the_table_is_decoded_with_its_arguments() -> None:
    samples = {"address": WHO, "string": "why", "bytes32": b"x" * 32,
               "uint256": 3, "uint40": 3, "uint32": 3, "uint8": 3}
    for selector, entry in artefact("errors").items():
        types = [i["type"] for i in entry["inputs"]]
        data = bytes.fromhex(selector[2:]) + encode(types, [samples[kind] for kind in types])
        name, values = decode_error(data)
        assert name == entry["name"]
        assert len(values) == len(types)


@pytest.mark.parametrize(("signature", "types", "values", "expected"), [
    ("0x96fe8cdd", ["uint8"], [3], ("WrongPhase", (Phase.OPEN,))),
    ("0x96fe8cdd", ["uint8"], [99], ("WrongPhase", (99,))),
    ("0x17c3dc9e", ["uint40"], [1234], ("PhaseOver", (1234,))),
    ("0x9e321b13", ["bytes32"], [b"trainWindow"], ("BadParams", ("trainWindow",))),
    ("0x04737443", ["address"], [WHO.lower()], ("TaskExists", (WHO,))),
    ("0x08c379a0", ["string"], ["no"], ("Error", ("no",))),
    ("0x4e487b71", ["uint256"], [0x11], ("Panic", ("arithmetic overflow",))),
])
def test_arguments_of_errors_are_what_a_person_reads(
    signature: str, types: list[str], values: list[Any], expected: tuple[str, tuple[Any, ...]]
) -> None:
    assert decode_error(bytes.fromhex(signature[2:]) + encode(types, values)) == expected


@pytest.mark.parametrize(
    "data", [b"", b"\x01", b"\xde\xad\xbe\xef", bytes.fromhex("17c3dc9e"), bytes.fromhex("08c379a0") + b"\xff" * 64]
)
def test_unknown_or_broken_errors_are_reverted_and_keep_their_bytes(data: bytes) -> None:
    name, values = decode_error(data)
    assert name == "Reverted"
    assert values == (("0x" + data.hex(),) if data else ())


def test_an_answer_that_the_function_cannot_have_given_is_refused() -> None:
    for data in (b"", b"\x01", b"\xff" * 31):
        with pytest.raises(ValueError, match="core cannot have answered"):
            decode_answer("core", data)


DONE = "0xbdb90210"


@pytest.mark.parametrize("data", [DONE, {"data": DONE}, f"Reverted {DONE}", {"originalError": {"data": DONE}},
                                  {"message": "x", "data": {"result": DONE}}])
def test_a_revert_is_found_wherever_the_node_puts_it(data: object) -> None:
    reason = explain(RpcRefused(3, "execution reverted", data))
    assert isinstance(reason, Rejected)
    assert reason.error == "AlreadyDone"


@pytest.mark.parametrize(("message", "kind"), [
    ("execution reverted", Rejected), ("VM Exception: revert", Rejected), ("out of gas", Rejected),
    ("missing trie node abc", Transient), ("header not found", Transient), ("something odd", Transient),
])
def test_refusals_without_data_are_told_apart_by_their_words(message: str, kind: type[Exception]) -> None:
    assert isinstance(explain(RpcRefused(-32000, message, None)), kind)


def test_an_empty_purse_is_not_taken_for_a_revert() -> None:
    assert poor(RpcRefused(-32000, "insufficient funds for gas * price + value", None))
    assert poor(RpcRefused(-32000, "gas required exceeds allowance (0)", None))
    assert not poor(RpcRefused(3, "execution reverted: insufficient funds", DONE))


def test_gas_limits_rise_with_the_seats_and_stay_below_the_cap_of_a_transaction() -> None:
    limits = [deadline_gas(seats) for seats in range(127)]
    assert limits == sorted(limits)
    for seats, measured in ((3, 168_343), (5, 199_383), (30, 776_469), (126, 7_340_181)):
        assert 2 * measured < limits[seats] <= TRANSACTION_CAP
    assert with_margin(100_000) == 130_000
    assert with_margin(TRANSACTION_CAP - 1) == TRANSACTION_CAP
