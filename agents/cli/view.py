"""What the commands read: all tasks of the factory, folded, and which of them is meant. Must not send anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agents.cli.exits import Exit
from agents.cli.failures import Failure
from agents.cli.history import recall
from agents.cli.session import Session, short
from agents.core.reduce import fold
from agents.core.state import World
from agents.home import NetworkHome
from agents.misconfiguration import SettingsError
from agents.notation import checksum_address
from agents.settings import Settings
from bfl_events.schema import Address, Record
from bfl_events.state import TaskState


@dataclass(frozen=True, slots=True)
class View:
    """The world as of block `head`, and the records it was folded from.

    `now`: seconds, as `History` knows them. `base_fee`: wei per gas, 0 if the chain was not asked. `me`: this
    home's account, if there is one.
    """

    world: World
    records: Sequence[Record]
    head: int
    now: float
    base_fee: int
    me: Address | None
    network: NetworkHome

    @property
    def mine(self) -> list[TaskState]:
        """Tasks that this account works for or pays for, oldest first."""
        return [
            task for task in self.tasks if self.me is not None and (self.me in task.seats or task.requester == self.me)
        ]

    @property
    def tasks(self) -> list[TaskState]:
        return sorted(self.world.tasks.values(), key=lambda task: task.created)

    def task(self, named: str | None) -> TaskState:
        """The task with this address, or a unique beginning of it. Raises Failure.

        None: the only one that runs, mine before others'; if none runs, the newest, mine before others'.
        """
        if named is not None:
            return self._named(named)
        mine = self.mine
        for choice in (_running(mine), _running(self.tasks)):
            if len(choice) > 1:
                why = f"There are {len(choice)}: {', '.join(short(task.address) for task in choice)}."
                raise Failure("It is not clear which task is meant.", why, "Name its address.", Exit.USAGE)
            if choice:
                return choice[0]
        for ended in (mine, self.tasks):
            if ended:
                return ended[-1]
        advice = "bfl-agent task create SPEC.toml"
        raise Failure("There is no task yet.", "The factory has created none.", advice, Exit.USAGE)

    def _named(self, named: str) -> TaskState:
        found = [task for task in self.tasks if len(named) >= 6 and task.address.lower().startswith(named.lower())]
        if len(found) == 1:
            return found[0]
        if len(named) == 42:
            try:
                checksum_address(named)
            except ValueError as error:
                raise Failure("This is no task address.", f"{error}.", "See bfl-agent task list.", Exit.USAGE) from None
        why = (
            "Several tasks begin with it."
            if found
            else f"The factory has {len(self.tasks)} tasks, and this is none of them."
        )
        raise Failure(
            f"Task {named} was not found.", why, "See bfl-agent task list, and check chain.factory.", Exit.USAGE
        )


def _running(tasks: Sequence[TaskState]) -> list[TaskState]:
    return [task for task in tasks if not task.phase.ended]


async def look(session: Session) -> View:
    """Raises Failure, SettingsError and what the chain raises."""
    settings = session.settings
    factory = needed_factory(settings)
    network = await network_home(settings, factory)
    history = await recall(session, factory, network)
    world = fold(World(), history.records)
    return View(world, history.records, history.head, history.now, history.base_fee, account_of(settings), network)


def account_of(settings: Settings) -> Address | None:
    """This home's account, None if there is none or it is not clear which."""
    from agents.identity import choose

    try:
        return choose(settings.home, settings.account.address).address
    except SettingsError:
        return settings.account.address


def needed_factory(settings: Settings) -> Address:
    if settings.chain.factory is None:
        raise Failure(
            "No factory is configured.",
            "All tasks of a consortium come from one factory contract.",
            "Set chain.factory (or --factory), or run bfl-agent contracts deploy.",
            Exit.CONFIGURATION,
        )
    return settings.chain.factory


async def network_home(settings: Settings, factory: Address) -> NetworkHome:
    """The folder of this (chain, factory); the chain is asked for its id only if nothing else tells it."""
    if settings.chain.chain_id is not None:
        return settings.home.network(settings.chain.chain_id, factory)
    known = list(settings.home.root.glob(f"networks/*-{factory[2:10].lower()}"))
    if len(known) == 1:
        return NetworkHome(known[0])
    from agents.cli.reach import open_rpc

    async with open_rpc(settings) as rpc:
        return settings.home.network(int(await rpc.call("eth_chainId"), 16), factory)
