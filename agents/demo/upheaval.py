"""What befalls the demo's chain: its node freezes, comes back with an older state, or reorganises its newest blocks.

Owns the node's process and its state on disk. One thing at a time; afterwards the node runs and makes blocks.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from agents.cli.failures import Failure
from agents.demo.chain import CHAIN_ID, LocalChain, start_chain
from bfl_events.rpc import Rpc, RpcRefused

BLOCK_S: Final = 1
BEATING: Final = ("--block-time", str(BLOCK_S), "--mixed-mining", "--slots-in-an-epoch", "2")
_LOOK_S: Final = 0.02
_TRIES: Final = 3
MOST_LOST: Final = 4        # blocks; a burst of transactions makes more than were asked for


class Upheaval:
    """A chain that makes a block a second, and one more for each transaction. `chain` is the node that runs now."""

    def __init__(self, chain: LocalChain, state: Path) -> None:
        """`state`: where the chain is kept over a restart."""
        self.chain = chain
        self._state = state
        self._loaded_at = -1          # anvil cannot reorganise what it loaded
        self._began: str | None = None
        self._turn = asyncio.Lock()

    @classmethod
    async def begin(cls, output: Path, state: Path) -> Upheaval:
        """Raises Failure."""
        return cls(await start_chain(output, *BEATING), state)

    def stop(self) -> None:
        self.chain.process.send_signal(signal.SIGCONT)
        self.chain.stop()

    async def freeze(self, seconds: float) -> None:
        """As if its machine hung: connections stay, nothing answers."""
        async with self._turn:
            pid = self.chain.process.pid
            os.kill(pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(seconds)
            finally:
                os.kill(pid, signal.SIGCONT)

    async def reorganise(self, depth: int) -> int:
        """Replace so many of the newest blocks by empty ones; returns how many it were, 0 if the node refuses.

        The transactions in them are forgotten, not put back: whoever sent them has to notice.
        """
        async with self._turn, self._rpc() as rpc:
            head = int(await rpc.call("eth_blockNumber"), 16)
            depth = min(depth, head - max(self._loaded_at, 0))
            if depth < 1:
                return 0
            try:
                await rpc.call("anvil_reorg", depth, [])
            except RpcRefused:        # it no longer has the state below
                return 0
            return depth

    async def restart(self, lose: int) -> int:
        """Kill the node and start it from a state without its last `lose` blocks, or a few more; returns how many.

        Whoever is cancelled meanwhile still leaves a running node. Raises Failure if it does not come back.
        """
        async with self._turn:
            coming_back = asyncio.create_task(self._restart(lose), name="chain restart")
            try:
                return await asyncio.shield(coming_back)
            except asyncio.CancelledError:
                await coming_back
                raise

    async def _restart(self, lose: int) -> int:
        async with self._rpc() as rpc:
            kept = head = await self._keep(rpc)
            while head - kept < lose:
                await asyncio.sleep(_LOOK_S)
                head = int(await rpc.call("eth_blockNumber"), 16)
                if head - kept > MOST_LOST:
                    kept = await self._keep(rpc)
            self.chain.stop()
        self.chain = await self._start_again()
        self._loaded_at = kept
        async with self._rpc() as rpc:
            await _go_on_from(rpc)
        return head - kept

    async def _keep(self, rpc: Rpc) -> int:
        """Write the state beside the last one and rename it: anvil's own dump may be torn. Returns its newest block.

        Every node makes a block 0 of its own before it loads the others, and dumps them all: only the first one's is
        the chain's.
        """
        if self._began is None:
            self._began = (await rpc.call("eth_getBlockByNumber", "0x0", False))["timestamp"]
        state = json.loads(gzip.decompress(bytes.fromhex((await rpc.call("anvil_dumpState")).removeprefix("0x"))))
        state["blocks"] = [block for block in state["blocks"]
                           if int(block["header"]["number"], 16) or block["header"]["timestamp"] == self._began]
        partial = self._state.with_suffix(".partial")
        partial.write_text(json.dumps(state), "ascii")
        partial.replace(self._state)
        return int(state["block"]["number"], 16)

    async def _start_again(self) -> LocalChain:
        port = urlsplit(self.chain.url).port
        assert port is not None
        for left in reversed(range(_TRIES)):
            try:
                return await start_chain(self.chain.output, *BEATING, "--load-state", str(self._state), port=port)
            except Failure:
                if not left:
                    raise
        raise AssertionError("the last try returns or raises")

    def _rpc(self) -> Rpc:
        return Rpc([self.chain.url], chain_id=CHAIN_ID)


async def _go_on_from(rpc: Rpc) -> None:
    """A node that comes back takes the wall clock for the chain's, which bursts of blocks had put ahead of it."""
    newest = int((await rpc.call("eth_getBlockByNumber", "latest", False))["timestamp"], 16)
    with suppress(RpcRefused):     # a block has come first
        await rpc.call("evm_setNextBlockTimestamp", max(newest + 1, int(time.time())))
