"""Signing with the account's key."""

from __future__ import annotations

import json
import sys

import pytest
from eth_account import Account
from eth_utils.crypto import keccak

from agents.effects.signer import AccountSigner


def test_the_hash_is_known_before_anything_is_sent_and_the_sender_is_the_account() -> None:
    account = Account.from_key("0x" + "11" * 32)
    signer = AccountSigner(account)
    signed = signer.sign({"type": 2, "chainId": 31337, "nonce": 7, "to": "0x" + "cc" * 20, "value": 1, "data": b"x",
                          "gas": 21_100, "maxFeePerGas": 10**9, "maxPriorityFeePerGas": 1, "accessList": []})
    assert signed.hash == keccak(signed.raw)
    assert Account.recover_transaction(signed.raw) == signer.address == account.address


def test_the_same_fields_give_the_same_bytes() -> None:
    signer = AccountSigner(Account.from_key("0x" + "11" * 32))
    creation = {"type": 2, "chainId": 1, "nonce": 0, "value": 0, "data": b"\x60", "gas": 60_000, "accessList": [],
                "maxFeePerGas": 10**9, "maxPriorityFeePerGas": 1}
    assert signer.sign(creation) == signer.sign(creation)


def test_nested_json_of_a_stranger_is_still_an_error_and_not_the_end_of_the_process() -> None:
    """The signing library's imports raise the recursion limit to where the C stack ends first."""
    assert sys.getrecursionlimit() <= 10_000
    with pytest.raises(RecursionError):
        json.loads(b"[" * 200_000)
