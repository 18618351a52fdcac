"""Watches a run and says what must never happen: the invariants of DESIGN 3 and PROTOCOL 7.4, from outside the agents.

Owns what is checked while the run goes on; `verdicts` has what is checked at its end. Uses the chain and what agents
show, never their reasons; changes nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from agents.core import intents as i
from agents.core.state import Outlook
from bfl_events import schema as ev
from bfl_events.bitmap import members_of
from bfl_events.schema import Address, Phase, Record
from bfl_events.source import Advance
from bfl_events.state import TaskState
from tests.simulation.absences import attempt_of, opened_in
from tests.simulation.faults import Faults
from tests.simulation.host import Host
from tests.simulation.learner import Lineage, readers_of
from tests.simulation.ledger import Block
from tests.simulation.network import UNTOUCHABLE, Network
from tests.simulation.scenario import Scenario
from tests.simulation.store import Store
from tests.simulation.telling import told_detail, told_tx
from tests.simulation.transactions import Tx, model_call
from tests.simulation.verdicts import check_end, expected_base

MISLEADING = frozenset({"liar", "stale"})
"""Faults of endpoints that show heads or blocks that are not the chain's."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Something was opened or revealed: in which block the phase that allows it began, as far as its sender knew, and
    whether half of the phase was over."""

    host: int
    what: str
    phase_block: bytes
    half_over: bool


class Judge:
    """`broken` is what was found wrong, in the order in which it was found. `bases`: for each round, the global models
    that it may start from, as they follow from the settlements of any fork so far. `made`: when a model was first to be
    committed to, by its commitment; `judged`: which models a row was made for, by its."""

    def __init__(self, scenario: Scenario, lineage: Lineage, note: Callable[[str], None] | None) -> None:
        self.scenario, self.lineage, self._note = scenario, lineage, note
        self.broken: list[str] = []
        self.counts: Counter[str] = Counter()
        self.orphans: set[bytes] = set()
        self.gone: list[Block] = []
        self.bases: defaultdict[int, set[bytes]] = defaultdict(set)
        self.network: Network
        self.faults: Faults
        self.store: Store
        self.hosts: list[Host] = []
        self.index: dict[Address, int] = {}
        self._wei = 0
        self._salts: dict[bytes, tuple[Any, ...]] = {}
        self._unveiled: dict[tuple[Any, ...], Any] = {}
        self._public: set[bytes] = set()
        self._commitments: dict[tuple[Any, ...], bytes] = {}
        self.wasted: set[tuple[Address, int]] = set()
        self._nonces: dict[tuple[Address, str], list[int]] = {}
        self._shown: list[Shown] = []
        self._seen: dict[Address, dict[int, bytes]] = {}
        self._read: dict[Address, dict[int, bytes]] = {}
        self._grounds: dict[tuple[Address, str], bytes] = {}
        self.judged: dict[bytes, set[tuple[bytes, ...]]] = {}
        self.made: dict[bytes, float] = {}
        self._arrived: dict[bytes, float] = {}
        self._doubting: set[tuple[Address, int]] = set()

    def watch(self, network: Network, faults: Faults, hosts: list[Host], store: Store) -> None:
        self.network, self.faults, self.hosts, self.store = network, faults, hosts, store
        self.index = {host.address: index for index, host in enumerate(hosts)}
        self._wei = network.head.state.wei
        network.listeners.block.append(self._block)
        network.listeners.reorg.append(self._reorg)
        network.listeners.tx.append(self._tx)

    def violated(self, sentence: str) -> None:
        if self._note:
            self._note(f"VIOLATED {sentence}")
        self.broken.append(sentence)

    def finish(self, *, over: bool) -> None:
        """What can only be said at the end. `over`: the task is, and its contract is empty."""
        check_end(self, over=over)

    # ---- what agents show

    def advanced(self, host: Host, advance: Advance) -> None:
        if self._note:
            self._note(f"{host.name} at block {advance.head.number}, {len(advance.records)} records,"
                       f" rewound to {advance.rewound_to}, behind {advance.behind}")
        seen = self._seen.setdefault(host.address, {})
        if advance.rewound_to is not None:
            self._check_rewind(host, seen, advance.rewound_to)
        seen[advance.head.number] = advance.head.hash
        self._read.setdefault(host.address, {}).update((one.block, one.block_hash) for one in advance.records)

    def _check_rewind(self, host: Host, seen: dict[int, bytes], to: int) -> None:
        """A log may only be cut where blocks were replaced, or never existed."""
        cut = {number: name for number, name in seen.items() if number > to}
        for number in cut:
            del seen[number]
        chain = self.network.chain
        stand = [number for number, name in cut.items() if number < len(chain) and chain[number].hash == name]
        doubt = (host.address, host.starts)
        if doubt in self._doubting and to <= UNTOUCHABLE:       # it reads the same again, which is no belief in a reorg
            self._doubting.remove(doubt)
        elif cut and len(stand) == len(cut) and not self.orphans:
            self.violated(f"{host.name} cut its log at block {to}, but blocks {sorted(cut)} stand as it knew them")

    def ticked(self, host: Host, outlook: Outlook) -> None:
        for intent in outlook.wanted:
            match intent:
                case i.OpenModel() | i.SubmitScore():
                    self._check_contradiction(host, outlook, intent)
                case i.CommitModel(address, round, attempt, model):
                    assert host.agent is not None
                    digest = host.agent._outside.seals.model(address, round, attempt, model)
                    self.made.setdefault(digest, asyncio.get_running_loop().time())
                case i.CommitScores(address, round, attempt, row):
                    self._know_judged(host, outlook.world.tasks[address], round, attempt, row)

    def _check_contradiction(self, host: Host, outlook: Outlook, intent: i.OpenModel | i.SubmitScore) -> None:
        """Nobody even wants to show anything but what it committed to."""
        task, agent = outlook.world.tasks[intent.task], host.agent
        assert agent is not None
        name = "open_model" if isinstance(intent, i.OpenModel) else "submit_score"
        self._grounds[host.address, name] = self._read[host.address][task.since.block]
        seals, index = agent._outside.seals, task.seats[host.address]
        match intent:
            case i.OpenModel(address, round, attempt, model):
                commit = task.current.commits.get(index)
                logged, shown = commit.digest if commit else None, seals.model(address, round, attempt, model)
            case i.SubmitScore(address, round, attempt, row):
                scores = task.current.score_commits.get(index)
                logged, shown = scores.digest if scores else None, seals.scores(address, round, attempt, row)
        if logged != shown:
            self.violated(f"{host.name} wants to show in {intent.key.split(':')[0]} what it did not commit to")

    def _know_judged(self, host: Host, task: TaskState, round: int, attempt: int, row: tuple[bytes, ...]) -> None:
        """Which models a row was measured on, as far as its author knew. A row may be right for several sets."""
        assert host.agent is not None
        commitment = host.agent._outside.seals.scores(task.address, round, attempt, row)
        self.judged.setdefault(commitment, set()).add(opened_in(attempt_of(task, attempt)))

    def told(self, host: Host, what: str, detail: Any) -> None:
        self.counts[what] += 1
        if what == "distrusted":
            self._doubt(host)
        if what == "signed":
            self._check_signed(host, detail["key"], detail["nonce"])
        if self._note:
            self._note(f"{host.name} {what} {told_detail(detail)}")

    def _doubt(self, host: Host) -> None:
        """Until its log was read again, or its process has ended: a doubt is not written down."""
        self._doubting.add((host.address, host.starts))

    def _check_signed(self, host: Host, key: str, nonce: int) -> None:
        """An intent gets a second nonce only if the first was used up without effect on some fork."""
        earlier = self._nonces.setdefault((host.address, key), [])
        wasted = all((host.address, one) in self.wasted for one in earlier)
        if not wasted and not self.faults.lost(self.index[host.address], "outbox"):
            self.violated(f"{host.name} signs {key.split(':', maxsplit=1)[0]} with nonce {nonce}, though {earlier} may still count")  # noqa: E501
        earlier.append(nonce)

    def ended(self, host: Host, error: BaseException | None) -> None:
        if self._note:
            self._note(f"{host.name} ended: {error!r}")
        if not isinstance(error, asyncio.CancelledError):
            self.violated(f"{host.name} ended: {type(error).__name__}: {error}")

    def crashed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The loop's exception handler: an exception that nobody took."""
        self.violated(f"nobody took {context.get('exception')!r} ({context['message']})")

    # ---- what the chain shows

    def _tx(self, tx: Tx) -> None:
        """What enters the pool is public, whether it is ever mined or not."""
        name, arguments = model_call(tx.data) if tx.data else ("void", ())
        if name not in ("open_model", "submit_score"):
            return
        if tx.hash not in self._public:
            self._public.add(tx.hash)
            self._check_shown(tx, name, *arguments[1:3])
        task, due = self.network.head.state.tasks[tx.to], Phase.OPEN if name == "open_model" else Phase.REVEAL
        if task.phase is due:
            half = self.network.now() >= (task.since.time + task.deadline) / 2 - 3
            self._shown.append(Shown(self.index[tx.sender], name, self._grounds[tx.sender, name], half))

    def _check_shown(self, tx: Tx, name: str, shown: Any, salt: bytes) -> None:
        """On one fork, as its sender knew it, one model and one row are shown, whatever was forgotten in between; on
        all forks one model of each base, unless it was forgotten."""
        fork = (name, salt, self._grounds[tx.sender, name])
        if self._unveiled.setdefault(fork, shown) != shown:
            self.violated(f"{self.name(tx.sender)} shows two things by {name} on one fork")
        if name == "open_model":
            other = self._unveiled.setdefault((salt, self.lineage.trained.get(shown)), shown) != shown
            if other and not self.faults.lost(self.index[tx.sender], "journal", "models"):
                self.violated(f"{self.name(tx.sender)} shows a second model for the same commitment")

    def _block(self, block: Block) -> None:
        self._arrived[block.hash] = asyncio.get_running_loop().time()
        if block.mined and self._note:
            self._note(f"block {block.number} at {block.time} {[told_tx(one) for one in block.mined]}")
        if block.state.wei != self._wei:
            self.violated(f"block {block.number} holds {block.state.wei - self._wei} wei more than the one before")
        self.wasted |= {(one.tx.sender, one.tx.nonce) for one in block.mined if one.error or not one.tx.data}
        for record in block.records:
            self._log(block, record)

    def _log(self, block: Block, record: Record) -> None:
        task = block.state.tasks[record.emitter]
        match record.event:
            case ev.RoundAdvanced(round):
                self._know_base(task, round)
            case ev.PhaseChanged(phase=Phase.ATTEST):
                self._know_base(task, task.params.rounds + 1)
            case ev.ModelCommitted() as event:
                self._check_commitment(task, event)
            case ev.ModelSubmitted() as event:
                self._check_salt(event.salt, (event.worker, "model", event.round, event.attempt))
                self._check_opened(task, event)
            case ev.ScoresCommitted() as event:
                self._check_row_commitment(task, event)
            case ev.ScoresSubmitted(round, worker, attempt, _, salt):
                self._check_salt(salt, (worker, "scores", round, attempt))

    def _know_base(self, task: TaskState, round: int) -> None:
        """What follows from this fork, and what most agreed on when a reorg had given the round another base."""
        elsewhere = self.bases if self.orphans else {}
        self.bases[round] |= {expected_base(task, round), expected_base(task, round, elsewhere)}

    def _check_salt(self, salt: bytes, use: tuple[Any, ...]) -> None:
        """A salt that was shown once hides nothing any more."""
        if self._salts.setdefault(salt, use) != use:
            self.violated(f"{self.name(use[0])} uses the salt of {self._salts[salt][1:]} again for {use[1:]}")

    def _check_commitment(self, task: TaskState, event: ev.ModelCommitted) -> None:
        """Base hashes follow from some fork's settlements; a commitment is replaced once, and only for a reason."""
        who = self.name(event.worker)
        if event.base_hash not in self.bases[event.round]:
            self.violated(f"{who} starts round {event.round} from a model that follows from no settlement before")
        self._check_times(event, attempt_of(task, event.attempt).commits[task.seats[event.worker]].times)
        context = (event.worker, event.attempt, event.base_hash)
        if self._commitments.setdefault(context, event.commitment) != event.commitment:  # noqa: SIM102
            if not self.faults.lost(self.index[event.worker], "journal", "models"):
                self.violated(f"{who} replaces its commitment in attempt {event.attempt} though its base is the same")

    def _check_row_commitment(self, task: TaskState, event: ev.ScoresCommitted) -> None:
        """Nobody judges the same models of the same attempt in two ways. After a reorg the bytes of the old fork may be
        mined first, and the right row replaces them."""
        attempt = attempt_of(task, event.attempt)
        self._check_times(event, attempt.score_commits[task.seats[event.worker]].times)
        opened = opened_in(attempt)
        context = (event.worker, event.attempt, opened)
        if opened in self.judged.get(event.commitment, {opened}):
            other = self._commitments.setdefault(context, event.commitment) != event.commitment
            if other and not self.faults.lost(self.index[event.worker], "journal", "models"):
                self.violated(f"{self.name(event.worker)} commits to other scores in attempt {event.attempt}")

    def _check_times(self, event: ev.ModelCommitted | ev.ScoresCommitted, times: int) -> None:
        """Whatever was lost or undone: on no fork does anybody replace what has replaced something (PROTOCOL 2.2)."""
        if times > 2:
            what = "a model" if isinstance(event, ev.ModelCommitted) else "scores"
            self.violated(f"{self.name(event.worker)} commits to {what} {times} times in attempt {event.attempt}")

    def _check_opened(self, task: TaskState, event: ev.ModelSubmitted) -> None:
        """The model was made from the base that was committed with it, and is sealed for exactly the roster."""
        attempt = attempt_of(task, event.attempt)
        if self.lineage.trained.get(event.model_hash) != attempt.commits[task.seats[event.worker]].base_hash:
            self.violated(f"{self.name(event.worker)} opens a model that was not made from the base it committed with")
        content = self.store.blobs.get(event.cid)
        roster = {task.member(index).account.lower() for index in members_of(attempt.roster)}
        if content is not None and readers_of(content) != roster:
            self.violated(f"{self.name(event.worker)} seals its model for {len(readers_of(content))} accounts that are"
                          f" not the roster of {len(roster)} in attempt {event.attempt}")

    def _reorg(self, gone: list[Block], new: list[Block]) -> None:
        if self._note:
            self._note(f"reorg: blocks {gone[0].number} to {gone[-1].number} replaced by {len(new)}")
        names = {block.hash for block in gone}
        self.orphans |= names
        self.gone += gone
        misled = any(disturbance.kind in MISLEADING for disturbance in self.faults.disturbances)
        for shown in self._shown:
            early = shown.phase_block in names and len(gone) <= self.scenario.confirmations and not shown.half_over
            if early and not misled:
                self.violated(f"{self.hosts[shown.host].name} sent {shown.what} though {len(gone)} blocks could undo the"  # noqa: E501
                              f" phase, and {self.scenario.confirmations} confirmations were asked for")

    # ---- for those who judge at the end

    def name(self, account: Address) -> str:
        return self.hosts[self.index[account]].name

    def is_honest(self, account: Address) -> bool:
        return self.index[account] < self.scenario.hosts - self.scenario.mute

    def passed(self, moment: int) -> float:
        """When (virtual seconds) it was over for the chain, whose clock runs ahead where blocks are less than a second
        apart."""
        beyond = (self._arrived[block.hash] for block in self.network.chain if block.time > moment)
        return min(moment - self.network.epoch, next(beyond, float("inf")))

    def records(self) -> Iterator[Record]:
        """What the chain says in the end."""
        for block in self.network.chain:
            yield from block.records

