"""A second endpoint, asked only when the first is down, that serves another chain: said, never used, nothing lost."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.anvil import Anvil, deploy, start_anvil
from tests.events.rpc_double import Drop
from tests.system.consortium import NAMES, Consortium
from tests.system.proxy import Gate
from tests.system.test_endpoints import Moments, another_chain
from tests.system.test_reorgs import consortium, judge

TOLD = {"another chain id": "answers for chain id 5", "nothing on it": "serves another chain 31337",
        "the same contract": "serves another chain 31337"}
TO_TELL_IT_BY = {"eth_chainId", "eth_getBlockByNumber"}
BEGUN = int(time.time()) - 1000       # anvils that begin in the same second have the same block 0
DOWN_S = 6      # longer than an agent waits before it sends the same bytes again


@pytest.mark.parametrize("other", TOLD)
async def test_a_second_endpoint_of_another_chain_is_said_and_never_used_and_the_first_goes_on(
    tmp_path: Path, other: str
) -> None:
    (tmp_path / "other").mkdir()
    async with consortium(tmp_path, endpoints=2) as made:
        with start_anvil(tmp_path / "other", chain_id=31337, timestamp=BEGUN) as anvil:
            async with Gate(anvil) as gate:
                first, second = made.endpoints
                second.gate, second.always = gate, Drop()
                if other == "another chain id":
                    second.lie = another_chain
                prepare(anvil, made, contract=other == "the same contract")
                down = asyncio.Event()

                def die() -> None:
                    first.always, second.always = Drop(), None
                    second.calls.clear()
                    down.set()

                moments = Moments(made, ("commitScores", die))
                made.start()
                await asyncio.wait_for(down.wait(), 60)
                await asyncio.sleep(DOWN_S)
                assert not any(living.done() for living in made.running.values()), made.story()
                first.always = None
                await made.ends(90)
        assert moments.left == []
        assert gate.sent == []
        assert set(second.calls) <= TO_TELL_IT_BY
        for name in NAMES:
            (told,) = made.told(name, "chain.endpoint.failed")
            assert second.url in told["reason"]
            assert TOLD[other] in told["reason"]
            assert made.told(name, "chain.reorg.detected") == []
            assert made.told(name, "chain.recovered")
        judge(made)


def prepare(anvil: Anvil, made: Consortium, *, contract: bool) -> None:
    """The other chain is longer than ours will be."""
    assert made.deployed is not None
    if contract:
        assert deploy(anvil.url).factory == made.deployed.factory
    anvil.rpc("anvil_mine", hex(200))
