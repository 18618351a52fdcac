"""`doctor` says where prevrandao is constant: the audit model's seed can be known in advance there (PROTOCOL 3.1)."""

from __future__ import annotations

from typing import Any

import pytest

from agents.cli.checks import State
from agents.cli.checks_chain import _randomness


class Node:
    """Blocks 0, 1, 2 … with these mix hashes, by the two methods that are asked."""

    def __init__(self, *mixes: str) -> None:
        self._mixes = mixes

    async def call(self, method: str, *params: Any) -> Any:
        if method == "eth_blockNumber":
            return hex(len(self._mixes) - 1)
        assert (method, params[1]) == ("eth_getBlockByNumber", False)
        return {"number": params[0], "mixHash": "0x" + self._mixes[int(params[0], 16)] * 32}


@pytest.mark.parametrize(
    ("mixes", "state", "says"),
    [
        (("11", "22", "00", "00", "00"), State.WARN, "audit seeds are predictable here"),
        (("00", "00", "00"), State.WARN, "audit seeds are predictable here"),
        (("00", "00", "00", "00", "11"), State.OK, "changes with each block"),
        (("00", "11", "00"), State.OK, "changes with each block"),
    ],
)
async def test_a_constant_prevrandao_is_warned_of(mixes: tuple[str, ...], state: State, says: str) -> None:
    found = await _randomness(Node(*mixes))
    assert found is not None
    assert (found.part, found.state, says in found.result) == ("prevrandao", state, True)
    assert ("common validation set" in found.fix) is (state is State.WARN)


async def test_a_chain_of_two_blocks_is_too_young_to_tell() -> None:
    assert await _randomness(Node("00", "00")) is None
