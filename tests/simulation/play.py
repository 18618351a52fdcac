"""Who calls what: honest and random games on the contract's model, as a reproducible sequence of calls.

A game only looks at the model's state to choose; another chain can be given the very same calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from random import Random
from typing import Any, ClassVar, Self

from bfl_events.commitment import Place, checksum_address, model_commitment, score_commitment
from bfl_events.rules import CONTROL_LANES, SCORE_MAX, bit, members_of, pack_row, size
from bfl_events.schema import Address, Event, Params, Phase, Wei
from tests.simulation.chain import ChainModel, ContractError
from tests.simulation.contract import NOBODY, FactoryModel, TaskModel

REQUESTER = checksum_address(sha256(b"requester").digest()[:20])
STRANGER = checksum_address(sha256(b"stranger").digest()[:20])
FACTORY = checksum_address(sha256(b"factory").digest()[:20])
IMPLEMENTATION = checksum_address(sha256(b"implementation").digest()[:20])
CID = b"\x01\x55\x12\x20" + bytes(32)
SALT = b"s" * 32


@cache
def account(number: int) -> Address:
    """The address of the worker with this number."""
    return checksum_address(sha256(b"worker %d" % number).digest()[:20])


def default_params(now: int, **changes: Any) -> Params:
    """Terms like those of the prototype's tests: short windows, a collateral that divides well."""
    params = Params(
        rounds=3, min_workers=3, min_active=2, max_workers=30, top_k=2, late_join=True, audit_lane=True,
        top_share_bps=5000, tie_band=0, accept_bps=8000, dev_tol=1500, slash_bps=5000, fee_bps=1000, miss_bps=500,
        burn_bps=0, max_miss=3, max_low=3, max_void=5, join_window=100, train_window=100, open_window=100,
        score_window=100, reveal_window=100, attest_window=100, hard_stop=now + 100 * 86_400,
        collateral=Wei(2 * 10**18), allow_root=bytes(32), model_hash=sha256(b"genesis").digest(),
        spec_hash=sha256(b"specification").digest(),
    )
    return replace(params, **changes)


@dataclass(frozen=True)
class Call:
    """One transaction to the task."""

    method: str
    sender: Address
    args: tuple[Any, ...] = ()
    value: int = 0


@dataclass(frozen=True)
class Wait:
    """Time passes, in seconds."""

    seconds: int


Move = Call | Wait


@dataclass
class Game:
    """A task, its workers, and what they keep to themselves.

    `rows` and `names` are the committed rows and model hashes by (attempt, account). `liars` and `duds` are the shares
    of dishonest workers and of bad models, `haste` that of moves that somebody is waited for to make.
    """

    model: TaskModel
    rng: Random
    rows: dict[tuple[int, Address], tuple[int, ...]] = field(default_factory=dict)
    names: dict[tuple[int, Address], bytes] = field(default_factory=dict)
    joined: int = 0
    dead: set[Address] = field(default_factory=set)
    liars: float = 0.3
    duds: float = 0.1
    haste: float = 0.9

    @classmethod
    def create(cls, rng: Random, params: Params | None = None, *, reward: int = 30 * 10**18) -> Self:
        chain = ChainModel(seconds_per_block=1)
        factory = FactoryModel(chain, FACTORY, IMPLEMENTATION)
        terms = params if params is not None else default_params(chain.time)
        task = factory.create_task(REQUESTER, bytes(32), terms, CID, CID, b"requester key", value=reward)
        return cls(task, rng)

    def perform(self, move: Move) -> tuple[Event, ...] | ContractError:
        """Makes a move on the model; a revert is returned, not raised."""
        if isinstance(move, Wait):
            self.model.chain.warp(move.seconds)
            return ()
        extra = {"value": move.value} if move.method == "join_task" else {}
        try:
            return getattr(self.model, move.method)(move.sender, *move.args, **extra)  # type: ignore[no-any-return]
        except ContractError as error:
            return error

    def must(self, move: Move) -> tuple[Event, ...]:
        """Makes a move that must succeed."""
        outcome = self.perform(move)
        if isinstance(outcome, ContractError):
            raise outcome
        return outcome

    def mix(self) -> None:
        """Draws what kind of game it is: from honest and punctual to lies and chaos."""
        self.liars = self.rng.choice((0.0, 0.2, 0.4))
        self.duds = self.rng.choice((0.0, 0.1, 0.3))
        self.haste = self.rng.choice((0.7, 0.95, 1.0))

    # ------------------------------------------------------------------------------------------- single moves

    def join(self) -> Call:
        self.joined += 1
        payout = NOBODY if self.joined % 2 else account(1000 + self.joined)
        return Call("join_task", account(self.joined), (payout, b"key %d" % self.joined, ()),
                    self.model.state.params.collateral)

    def commit(self, who: Address) -> Call:
        s = self.model.state
        name = sha256(b"model %d %d" % (s.round, self.rng.getrandbits(64))).digest()
        self.names[s.attempt, who] = name
        base = sha256(b"base %d" % s.round).digest()
        return Call("commit_model", who, (s.round, s.attempt, model_commitment(self._place(), who, name, SALT), base))

    def open(self, who: Address) -> Call:
        s = self.model.state
        name = self.names.get((s.attempt, who), bytes(32))
        return Call("open_model", who, (s.round, name, SALT, 1000 + self.rng.randrange(10), CID))

    def commit_row(self, who: Address, row: tuple[int, ...]) -> Call:
        s = self.model.state
        self.rows[s.attempt, who] = row
        return Call("commit_scores", who, (s.round, s.attempt, score_commitment(self._place(), who, row, SALT)))

    def reveal(self, who: Address) -> Call:
        s = self.model.state
        return Call("submit_score", who, (s.round, self.rows.get((s.attempt, who), ()), SALT))

    def quality(self, index: int) -> int:
        """How good a worker's model of this attempt is: 0 … 10000, 0 for an invalid one. The same for whoever asks."""
        s = self.model.state
        dice = Random(f"{s.attempt} {index} {s.address}")
        if dice.random() < self.duds:
            return dice.choice((0, 0, 1500, 4000))
        return 8500 + dice.randrange(1000)

    def honest_row(self, index: int) -> tuple[int, ...]:
        """Readings near the quality of all opened models, and of the control lanes."""
        s = self.model.state
        lanes = [0] * s.lanes
        lanes[0], lanes[1] = 9000 + index, 4500 + index if s.params.audit_lane else 0
        for j in members_of(s.opened & ~bit(index)):
            quality = self.quality(j)
            lanes[CONTROL_LANES + j] = min(SCORE_MAX, quality + (j * 7 + index * 13) % 50) if quality else 0
        return pack_row(lanes)

    def lies(self, who: Address) -> bool:
        """Whether this worker scores, and attests, as it likes."""
        return Random(who + self.model.address).random() < self.liars

    def broken_row(self, index: int) -> tuple[int, ...]:
        """A row that the contract refuses to be shown, although it was committed."""
        row = list(self.honest_row(index))
        broken = self.rng.randrange(4)
        if broken == 0:
            return (*row, 0)
        if broken == 1:
            row[0] |= 0x8000
        elif broken == 2:
            row[0] = row[0] >> 16 << 16 | SCORE_MAX + 1
        else:
            own = CONTROL_LANES + index
            row[own // 16] |= 1 << 16 * (own % 16)
        return tuple(row)

    def odd_row(self, index: int) -> tuple[int, ...]:
        """All zeros, all full marks, a favourite, or dice."""
        s, mode = self.model.state, self.rng.randrange(4)
        friend = self.rng.randrange(max(1, s.count))
        lanes = [0] * s.lanes
        for k in range(s.lanes):
            seat = k - CONTROL_LANES
            if seat == index or (seat >= 0 and not s.opened >> seat & 1):
                continue
            dice = self.rng.randrange(SCORE_MAX + 1)
            lanes[k] = (0, SCORE_MAX, SCORE_MAX if seat == friend else 0, dice)[mode]
        return pack_row(lanes)

    def duty(self, who: Address) -> Call | None:
        """What a worker does now, if there is something."""
        s, honest = self.model.state, not self.lies(who)
        index = s.index_of(who)
        match s.phase:
            case Phase.TRAIN:
                return self.commit(who)
            case Phase.OPEN:
                return self.open(who)
            case Phase.SCORE if index is not None and index + CONTROL_LANES < s.lanes:
                broken = not honest and self.rng.random() < 0.1
                lie = self.broken_row if broken else self.odd_row
                return self.commit_row(who, self.honest_row(index) if honest else lie(index))
            case Phase.REVEAL:
                return self.reveal(who)
            case Phase.ATTEST:
                name = b"final" if honest else b"final %d" % self.rng.randrange(2)
                return Call("attest_final", who, (sha256(name).digest(), CID))
            case Phase.SETTLE:
                return Call(self.rng.choice(("submit_round_top_k", "distribute_rewards", "next_round")), who)
            case _:
                return None

    def _place(self) -> Place:
        return self.model._place()

    # ------------------------------------------------------------------------------------------- whole games

    def start(self, workers: int) -> None:
        """So many workers join and the requester starts the task."""
        for _ in range(workers):
            self.must(self.join())
        self.must(Call("start_task", REQUESTER))

    def phase_moves(self) -> Iterator[Call]:
        """Everybody does its duty of this phase once, as long as it lasts; or whoever comes by settles or completes."""
        s = self.model.state
        if s.phase is Phase.SETTLE or (s.phase is Phase.ATTEST and s.attested == s.active):
            yield Call("next_round", STRANGER)
            return
        for index in members_of(s.active):
            duty = self.duty(s.member(index).account)
            if duty is not None and self.model.state.phase is s.phase:
                yield duty

    def honest_moves(self) -> Iterator[Call]:
        """Everybody does its duty until the task has ended; make each move before asking for the next."""
        while not self.model.state.phase.ended:
            yield from self.phase_moves()

    def drain(self) -> Iterator[Call]:
        """Everything that the contract still owes is moved out."""
        for member in self.model.state.members:
            if member is not None and member.bond + member.credit:
                yield Call("withdraw", STRANGER, (member.account,))
        if self.model.state.reward_left:
            yield Call("refund", STRANGER)
        if self.model.state.burn_pool:
            yield Call("burn", STRANGER)

    def play_honestly(self, workers: int) -> None:
        """A whole game without a fault, to an empty contract."""
        self.liars = self.duds = 0.0
        self.start(workers)
        for move in self.honest_moves():
            self.must(move)
        for move in self.drain():
            self.must(move)

    def random_move(self) -> Move:
        """Anything: duties, honest and not, time, leavers, late joiners, withdrawals, nonsense."""
        s, rng = self.model.state, self.rng
        who = account(rng.randint(1, max(1, self.joined)))
        if rng.random() < 0.8 + 0.18 * (self.haste == 1.0):
            return self._willing(who) or Wait(rng.randint(1, 5))
        dice = rng.randrange(20)
        match dice:
            case 0 | 1:
                return Wait(rng.randint(1, 40))
            case 2 | 3 | 4:
                return Wait(max(0, s.deadline - self.model.chain.time) + rng.randrange(2))
            case 5 | 6 | 7:
                return Call("next_round", STRANGER)
            case 8 if rng.random() < 0.3:
                self.dead.add(who)
                return Wait(1)
            case 9 | 10:
                return Call("remove_worker", who)
            case 11 | 12 | 13 if self.joined < 12:
                return self.join()
            case 14 | 15:
                return Call("withdraw", STRANGER, (who,))
            case 16 | 17:
                return Call("rotate_key", rng.choice((who, REQUESTER)), (b"new key %d" % dice,))
            case 18:
                ref = sha256(b"ref").digest()
                return Call("notice", rng.choice((who, REQUESTER)), (rng.randint(0, 4), s.round, account(1), ref, CID))
            case _:
                return self.nonsense(who)

    _odd_rows: ClassVar = ((), (0,), (0, 0), (2**256 - 1,))

    def nonsense(self, who: Address) -> Call:
        """A call that is wrong in one way or another, or out of season."""
        s, rng = self.model.state, self.rng
        round_number, attempt = s.round + rng.randrange(2), s.attempt + rng.randrange(2)
        collateral, key = s.params.collateral, rng.choice((b"", b"key", bytes(1024), bytes(1025)))
        cid, junk = rng.choice((CID, bytes(64), bytes(65))), rng.randbytes(32)
        newcomer = account(rng.randint(1, 15))
        return rng.choice((
            Call(rng.choice(("complete_task", "refund", "burn", "start_task", "cancel_task")), who),
            Call(rng.choice(("submit_round_top_k", "distribute_rewards", "next_round")), who),
            Call("commit_model", who, (round_number, attempt, junk, junk)),
            Call("commit_scores", who, (round_number, attempt, junk)),
            Call("open_model", who, (round_number, junk, SALT, 1, cid)),
            Call("submit_score", who, (round_number, rng.choice(self._odd_rows), SALT)),
            Call("attest_final", who, (rng.choice((bytes(32), junk)), cid)),
            Call("rotate_key", who, (key,)),
            Call("notice", who, (rng.randint(0, 4), round_number, NOBODY, junk, cid)),
            Call("withdraw", who, (rng.choice((NOBODY, STRANGER, who)),)),
            Call("remove_worker", newcomer),
            Call("join_task", rng.choice((newcomer, REQUESTER)), (rng.choice((NOBODY, self.model.address)), key, ()),
                 collateral + rng.randrange(2)),
        ))

    def _willing(self, who: Address) -> Call | None:
        living = [account(i) for i in range(1, self.joined + 1) if account(i) not in self.dead]
        waited = [a for a in living if self._may_act(a)]
        chosen = self.rng.choice(waited) if waited and self.rng.random() < self.haste else who
        return None if chosen in self.dead else self.duty(chosen)

    def _may_act(self, who: Address) -> bool:
        s = self.model.state
        index = s.index_of(who)
        if index is None or not s.active >> index & 1:
            return False
        acted = {Phase.TRAIN: s.committed, Phase.OPEN: s.opened | ~s.committed, Phase.SCORE: s.scored,
                 Phase.REVEAL: s.revealed | ~s.scored, Phase.ATTEST: s.attested}.get(s.phase, 0)
        return not acted >> index & 1

    def random_moves(self, steps: int) -> Iterator[Move]:
        """So many random moves, or fewer if the task ends, then time alone until it has ended, then the drain."""
        for _ in range(steps):
            if self.model.state.phase.ended:
                break
            yield self.random_move()
        while not self.model.state.phase.ended:
            yield Wait(max(0, self.model.state.deadline - self.model.chain.time) + 1)
            joining = self.model.state.phase is Phase.JOINING
            yield Call("start_task" if joining else "next_round", STRANGER)
        yield from self.drain()


def random_params(rng: Random, now: int, workers: int) -> Params:
    """Terms drawn over all that the contract allows and that end within a test."""
    min_workers = rng.randint(2, workers)
    max_miss, fee = rng.randint(1, 3), rng.randint(0, 2000)
    return default_params(
        now, rounds=rng.randint(1, 4), min_workers=min_workers, min_active=rng.randint(2, min_workers),
        max_workers=workers + rng.randrange(4), top_k=rng.randint(1, 4), late_join=rng.random() < 0.6,
        audit_lane=rng.random() < 0.5, top_share_bps=rng.randint(5000, 10_000), tie_band=rng.choice((0, 0, 500, 1500)),
        accept_bps=rng.randint(0, 10_000), dev_tol=rng.randint(1, 3000), slash_bps=rng.randint(fee, 10_000),
        fee_bps=fee, miss_bps=rng.randint(0, fee), burn_bps=rng.choice((0, 5000, 10_000)), max_miss=max_miss,
        max_low=rng.randrange(4), max_void=max_miss + rng.randrange(4),
        collateral=Wei(rng.choice((0, rng.randrange(1000), 2 * 10**18))),
    )


def random_game(seed: int, steps: int = 150) -> Game:
    """A random game played to its end; the chain's `records` are its logs."""
    rng = Random(seed)
    workers = rng.randint(2, 8)
    chain_time = ChainModel().time
    params = random_params(rng, chain_time, workers)
    game = Game.create(rng, params, reward=params.rounds + rng.randrange(10**6))
    game.mix()
    for _ in range(workers):
        game.must(game.join())
    if size(game.model.state.active) >= params.min_workers:
        game.must(Call("start_task", REQUESTER))
    for move in game.random_moves(steps):
        game.perform(move)
    return game
