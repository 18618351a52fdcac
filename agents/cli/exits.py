"""The exit codes of `bfl-agent`, documented in the README; service managers and scripts rely on them."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """2, 10, 11, 12, 14 and 19 need a person: a service manager must not restart on them."""

    OK = 0
    BUG = 1
    USAGE = 2
    CONFIGURATION = 10
    ACCOUNT = 11
    LOCKED = 12
    NO_RPC = 13
    WRONG_CHAIN = 14
    STORE = 15
    FUNDS = 16
    PREFLIGHT = 17
    REVERTED = 18
    TOO_NEW = 19
    PLUGIN = 20
    TIMED_OUT = 21
    DIFFERENCE = 22
    ENDED_BADLY = 23
    INTERRUPTED = 130
