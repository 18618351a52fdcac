"""One RPC endpoint: whether it serves our chain and contract, and how it is doing.

Owns an endpoint's verification and health, not the choice between endpoints. Shows no more of a URL than scheme, host
and port.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from bfl_events.keccak import keccak256
from bfl_events.schema import Address
from bfl_events.transport import NoAnswer, RpcError, RpcRefused, Transport

FIRST_BACKOFF_S: Final = 1.0
LAST_BACKOFF_S: Final = 60.0
DISTRUST_S: Final = 30.0


class WrongChain(RpcError):
    """The endpoint serves another chain. A person must fix the configuration."""

    def __init__(self, endpoint: str, expected: int, got: int) -> None:
        super().__init__(f"{endpoint} answers for chain id {got}, but chain id {expected} is wanted")
        self.endpoint, self.expected, self.got = endpoint, expected, got


class WrongGenesis(WrongChain):
    """It serves another chain that has the same id. A person must fix the configuration, or the chain was reset."""

    def __init__(self, endpoint: str, chain_id: int, expected: bytes, got: bytes) -> None:
        RpcError.__init__(self, f"{endpoint} serves another chain {chain_id} than so far: it begins with block "
                                f"0x{got.hex()[:16]}, that one with 0x{expected.hex()[:16]}, unless it was reset")
        self.endpoint, self.expected, self.got = endpoint, chain_id, chain_id


class WrongContract(RpcError):
    """There is no contract at the address, or another one. A person must fix the configuration."""

    def __init__(self, endpoint: str, address: Address, why: str) -> None:
        super().__init__(f"{endpoint}: {why} at {address}")
        self.endpoint, self.address = endpoint, address


@dataclass(frozen=True, slots=True)
class Contract:
    """What must be at an address before an endpoint is believed: any code, or code with this keccak256."""

    address: Address
    code_hash: bytes | None = None


@dataclass(slots=True)
class Expected:
    """What every endpoint must serve. `chain_id` None is filled in by the first that answers; `contract_seen` turns
    a contract that is missing from an error into a lag. `genesis`: hash of block 0 of the first chain with it.
    `on_wrong(sentence)` hears once of each endpoint that proves to serve something else."""

    chain_id: int | None
    contract: Contract | None = None
    contract_seen: bool = False
    genesis: bytes | None = None
    on_wrong: Callable[[str], None] = lambda _: None


class Endpoint:
    """Answers of one URL, none before it proved to serve what is expected, and again after each failure.

    `wrong` keeps the proof of the contrary; `trouble` says what happened last, None while all is well.
    """

    def __init__(
        self, name: str, url: str, expected: Expected, transport: Transport, clock: Callable[[], float]
    ) -> None:
        self.name, self._url = name, url
        self._expected, self._transport, self._clock = expected, transport, clock
        self._verifying = asyncio.Lock()
        self.verified, self.wrong, self.trouble = False, None, None  # type: bool, RpcError | None, str | None
        self.failures, self.blames = 0, 0
        self.retry_at = self.distrusted_until = clock()
        self.head: int | None = None
        self.head_at = clock()
        self.latency_s: float | None = None

    @property
    def usable(self) -> bool:
        """Whether a call may go here before all others have failed."""
        return self.wrong is None and self.wait_until <= self._clock()

    @property
    def wait_until(self) -> float:
        """When the back-off after the last failure or blame ends."""
        return max(self.retry_at, self.distrusted_until)

    async def ask(self, method: str, params: Sequence[Any], timeout_s: float) -> Any:
        """The result of one call. Raises RpcRefused, NoAnswer, WrongChain, WrongContract; health follows."""
        end = self._clock() + timeout_s
        try:
            if not self.verified:
                async with asyncio.timeout(timeout_s), self._verifying:
                    if not self.verified:
                        await self._verify(end)
            return await self._post(method, params, end)
        except TimeoutError:
            late = NoAnswer(f"no answer within {timeout_s:.3g} s")
            self._failed(late)
            raise late from None
        except (NoAnswer, WrongChain, WrongContract) as error:
            self._failed(error)
            raise

    async def ask_head(self, timeout_s: float) -> int:
        """Its newest block's number, kept for comparison. Raises as `ask`."""
        self.head = number(await self.ask("eth_blockNumber", (), timeout_s))
        self.head_at = self._clock()
        return self.head

    async def ask_unverified(self, method: str, params: Sequence[Any], timeout_s: float) -> Any:
        """The result of one call, whatever chain this is: for `doctor`. Health does not change."""
        return await self._transport.post(self._url, method, params, timeout_s)

    def blame(self, why: str) -> None:
        """It answered, but not truly: keep away from it for longer each time."""
        self.blames += 1
        self.distrusted_until = self._clock() + min(DISTRUST_S * self.blames, 20 * DISTRUST_S)
        self.trouble, self.verified = why, False

    def _failed(self, error: RpcError) -> None:
        self.verified, self.trouble = False, str(error)
        backoff = min(FIRST_BACKOFF_S * 2.0 ** min(self.failures, 10), LAST_BACKOFF_S)
        if isinstance(error, NoAnswer):
            backoff = max(backoff, min(error.retry_after_s, LAST_BACKOFF_S))
        else:
            if self.wrong is None:
                self._expected.on_wrong(str(error))
            self.wrong, backoff = error, LAST_BACKOFF_S
        self.retry_at = self._clock() + backoff
        self.failures += 1

    def _answered(self, latency_s: float) -> None:
        self.failures, self.trouble, self.retry_at = 0, None, self._clock()
        self.latency_s = latency_s if self.latency_s is None else 0.8 * self.latency_s + 0.2 * latency_s

    async def _post(self, method: str, params: Sequence[Any], end: float) -> Any:
        began = self._clock()
        try:
            result = await self._transport.post(self._url, method, params, self._left(end))
        except RpcRefused:
            self._answered(self._clock() - began)
            raise
        except NoAnswer as error:
            if not (error.dropped and repeatable(method)):
                raise
            # A kept-alive connection that the server has closed meanwhile says nothing about the server.
            result = await self._transport.post(self._url, method, params, self._left(end))
        self._answered(self._clock() - began)
        return result

    def _left(self, end: float) -> float:
        return max(end - self._clock(), 0.001)

    async def _verify(self, end: float) -> None:
        expected = self._expected
        got = number(await self._post("eth_chainId", (), end))
        if expected.chain_id is None:
            expected.chain_id = got
        if got != expected.chain_id:
            raise WrongChain(self.name, expected.chain_id, got)
        if expected.contract is not None:
            genesis = await self._genesis(end)
            if genesis is not None and genesis != (expected.genesis or genesis):
                raise WrongGenesis(self.name, got, expected.genesis or b"", genesis)
            await self._verify_contract(expected.contract, end)
            expected.genesis = expected.genesis or genesis
        self.verified, self.wrong = True, None

    async def _genesis(self, end: float) -> bytes | None:
        """Hash of block 0, as block 1 names it (anvil, started from a state on disk, serves a block 0 of its own); None
        where the endpoint does not have block 1, or not any more."""
        try:
            block = await self._post("eth_getBlockByNumber", ("0x1", False), end)
            return None if block is None else bytes.fromhex(str(block["parentHash"])[2:])
        except RpcRefused:
            return None
        except (TypeError, KeyError, ValueError):
            raise NoAnswer("its block 1 is not a block") from None

    async def _verify_contract(self, contract: Contract, end: float) -> None:
        answer = await self._post("eth_getCode", (contract.address, "latest"), end)
        try:
            code = bytes.fromhex(str(answer)[2:])
        except ValueError:
            raise NoAnswer("its contract code is not hex") from None
        if not code and self._expected.contract_seen:
            raise NoAnswer(f"it does not have the contract {contract.address} yet")
        if not code:
            raise WrongContract(self.name, contract.address, "there is no contract")
        if contract.code_hash is not None and keccak256(code) != contract.code_hash:
            raise WrongContract(self.name, contract.address, "there is another contract, or another version of it,")
        self._expected.contract_seen = True


def redacted(url: str) -> str:
    """A URL without user, path and query. Raises ValueError, without quoting it, if it is not http or https."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an RPC endpoint is an http:// or https:// URL with a host")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = f":{parts.port}" if parts.port else ""
    more = "/…" if parts.path.strip("/") or parts.query else ""
    return f"{parts.scheme}://{host}{port}{more}"


def repeatable(method: str) -> bool:
    """Whether asking twice does what asking once does: reads and signed transactions, not a node's own signing."""
    return method.startswith(("eth_", "net_", "web3_")) and method != "eth_sendTransaction"


def number(value: object) -> int:
    """A JSON-RPC quantity of any size. Raises NoAnswer."""
    try:
        return int(value, 16) if isinstance(value, str) and value[:2] == "0x" else int("no number")
    except ValueError:
        raise NoAnswer("it answered something that is no number") from None
