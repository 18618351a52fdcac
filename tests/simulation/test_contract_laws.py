"""Laws of the protocol on the contract's model: the honest lose nothing, and nothing gets stuck (PROTOCOL 4.2, 7.4)."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import pytest

from bfl_events import schema as ev
from bfl_events.rules import Fault, members_of
from bfl_events.schema import Address, Phase, Wei
from bfl_events.verify import verify
from tests.simulation.chain import ContractError
from tests.simulation.play import STRANGER, Call, Game, Wait, account, default_params, random_game

HONEST_FINES = {Fault.NO_REVEAL, Fault.MISSED, Fault.NO_ATTEST, Fault.UNOPENED}


@dataclass
class Siege(Game):
    """A majority that does its duty, and villains that do what they like. `late` is how often the honest are absent."""

    villains: frozenset[Address] = frozenset()
    late: float = 0.0
    absences: set[tuple[int, Phase, Address]] = field(default_factory=set)

    def lies(self, who: Address) -> bool:
        return who in self.villains

    def quality(self, index: int) -> int:
        s = self.model.state
        if not self.lies(s.member(index).account):
            return 6000 + index * 37 % 100
        return Random(f"{s.attempt} {index}").choice((0, 0, 500, 6000, 10_000))

    def play(self) -> None:
        """To the end: in each phase everybody in some order, then the deadline if it is still open."""
        for _ in range(400):
            s = self.model.state
            if s.phase.ended:
                return
            if s.phase is Phase.SETTLE:
                self.must(Call("next_round", STRANGER))
                continue
            present = [s.member(i).account for i in members_of(s.active)]
            self.rng.shuffle(present)
            for who in present:
                if self.model.state.phase is s.phase:
                    self.turn(who)
            if (self.model.state.phase, self.model.state.attempt) == (s.phase, s.attempt):
                self.must(Wait(max(0, s.deadline - self.model.chain.time) + 1))
                self.must(Call("next_round", STRANGER))
        raise AssertionError("the task does not end")

    def turn(self, who: Address) -> None:
        s = self.model.state
        if who in self.villains:
            if self.rng.random() < 0.05:
                self.perform(Call("remove_worker", who))
            if self.rng.random() < 0.75 and (move := self.duty(who)) is not None:
                self.perform(move)
        elif self._may_act(who):
            if self.rng.random() < self.late:
                self.absences.add((s.round, s.phase, who))
            elif (move := self.duty(who)) is not None and isinstance(outcome := self.perform(move), ContractError):
                raise outcome


def siege(seed: int, *, late: float = 0.0) -> Siege:
    rng = Random(seed)
    workers = rng.randint(3, 9)
    villains = rng.randint(0, (workers - 1) // 2)
    params = default_params(
        1_700_000_000, rounds=rng.randint(1, 4), audit_lane=rng.random() < 0.5, accept_bps=rng.randint(5000, 8000),
        max_low=rng.randrange(3), tie_band=rng.choice((0, 800)), burn_bps=rng.choice((0, 5000)),
        top_k=rng.randint(1, 3),
    )
    game = Siege.create(rng, params)
    game.villains = frozenset(account(i) for i in range(workers - villains + 1, workers + 1))
    game.late = late
    game.start(workers)
    game.play()
    return game


@pytest.mark.parametrize("seed", range(30))
def test_honest_workers_that_always_act_keep_their_bond_and_are_paid_whatever_a_minority_does(seed: int) -> None:
    game = siege(seed)
    end = game.model.state
    assert end.phase is Phase.COMPLETED
    honest = [m for m in end.members if m is not None and m.account not in game.villains]
    assert all(m.bond == end.params.collateral and m.strikes == 0 for m in honest)
    assert all(m.credit >= end.params.rounds for m in honest)
    assert end.final_hash == end.attestations[honest[0].index].final_hash
    assert verify(game.model.chain.records, chain_id=game.model.chain.chain_id) == []


@pytest.mark.parametrize("seed", range(30))
def test_an_honest_worker_is_fined_for_its_own_absences_alone(seed: int) -> None:
    game = siege(seed, late=0.15)
    absent = {(number, who) for number, _, who in game.absences}
    for record in game.model.chain.records:
        match record.event:
            case ev.WorkerPenalized(round=number, worker=who, reason=reason) if who not in game.villains:
                assert reason in HONEST_FINES
                assert (number, who) in absent


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_strangers_and_time_end_the_task_and_empty_it(seed: int) -> None:
    game = random_game(seed, steps=80)
    assert game.model.state.phase.ended
    assert game.model.balance == 0


@pytest.mark.parametrize("seed", range(20))
def test_forfeits_never_reach_the_requester(seed: int) -> None:
    game = random_game(seed, steps=80)
    end = game.model.state
    rewards = sum(
        (e.per_top * e.top_k.bit_count()) + e.per_rest * (e.eligible & ~e.top_k).bit_count()
        for e in (record.event for record in game.model.chain.records) if isinstance(e, ev.RewardsDistributed))
    assert end.refunded == end.reward - rewards
    assert end.refunded <= end.reward


def test_nobody_can_withdraw_twice() -> None:
    game = siege(1)
    who = next(iter({m.account for m in game.model.state.members if m is not None and m.credit > Wei(0)}))
    game.must(Call("withdraw", STRANGER, (who,)))
    assert isinstance(game.perform(Call("withdraw", STRANGER, (who,))), ContractError)


def test_a_payee_that_takes_no_ether_hurts_only_itself() -> None:
    game = siege(2)
    refusing, *others = [m for m in game.model.state.members if m is not None]
    game.model.chain.refusing.add(refusing.payout)
    before = game.model.state
    assert isinstance(game.perform(Call("withdraw", STRANGER, (refusing.account,))), ContractError)
    assert game.model.state == before
    game.must(Call("withdraw", STRANGER, (others[0].account,)))
