"""Sets a demo up: contracts, homes, the task. Every step is what an operator's command does, in this process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.cli.configfile import set_values
from agents.cli.session import Session, short
from agents.demo.chain import CHAIN_ID, LocalChain, fund
from agents.demo.display import Display
from agents.demo.homes import Participant, make_homes
from agents.demo.plan import FUNDS_WEI, Plan
from agents.notation import ether
from bfl_events.rpc import Rpc
from bfl_events.schema import Address


@dataclass(frozen=True, slots=True)
class Theatre:
    """Contracts on a chain, and everybody's home. The requester is the first participant."""

    participants: tuple[Participant, ...]
    factory: Address
    start_block: int


@dataclass(frozen=True, slots=True)
class Stage:
    """A task on a chain, and everybody's home. The requester is the first participant."""

    participants: tuple[Participant, ...]
    factory: Address
    start_block: int
    task: Address
    specification: Path


@dataclass(frozen=True)
class Listening(Session):
    """A session whose command answers this program instead of a person."""

    answers: list[Mapping[str, Any]] = field(default_factory=list)

    def show(self, document: Mapping[str, Any] | Sequence[Any], lines: Iterable[str]) -> None:
        assert isinstance(document, Mapping)
        self.answers.append(document)

    def note(self, line: str) -> None:
        """Nobody listens."""


async def set_stage(plan: Plan, chain: LocalChain, rpc: Rpc, display: Display) -> Stage:
    """Raises Failure and whatever those commands raise."""
    return await announce(plan, await build(plan, chain, rpc, display), display)


async def build(plan: Plan, chain: LocalChain, rpc: Rpc, display: Display) -> Theatre:
    """Homes, funds and contracts."""
    from agents.cli.deploying import deploy

    participants = make_homes(plan, chain.url, CHAIN_ID)
    for one in participants:
        await fund(rpc, one.address, FUNDS_WEI)
    requester = Listening(participants[0].home, yes=True)
    await deploy(requester, series="demo")
    deployed = {name: requester.answers[-1][name] for name in ("factory", "start_block")}
    for one in participants[1:]:
        set_values(one.home.config, "chain", deployed)
    factory = str(deployed["factory"])
    display.say(f"✓ contracts deployed: factory {short(factory)}")
    return Theatre(participants, factory, int(deployed["start_block"]))


async def announce(plan: Plan, theatre: Theatre, display: Display, nonce: str | None = None) -> Stage:
    """A task in the name of the requester; another `nonce` (64 hex digits), another task."""
    from agents.cli.create import create

    spec = plan.directory / "task.toml"
    workers = tuple(one.address for one in theatre.participants if one.role == "worker")
    spec.write_text(plan.specification(workers), "utf-8")
    session = Listening(theatre.participants[0].home, yes=True)     # a new one: it reads the configuration again
    await create(session, spec, dry_run=False, nonce=nonce, model=None)
    task = str(session.answers[-1]["task"])
    display.say(f"✓ task {short(task)} created: {plan.rounds} rounds, {ether(plan.reward_wei)} ether of reward, "
                f"{plan.workers} workers")
    return Stage(theatre.participants, theatre.factory, theatre.start_block, task, spec)
