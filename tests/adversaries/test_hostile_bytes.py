"""Hostile envelopes and models, committed and opened on a real chain, against running agents: a clear sentence in
everybody's log, the culprit pays, and neither money nor files of the honest are any other than without it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from bfl_events import schema as ev
from bfl_events.rules import Fault
from tests.adversaries.arena import FUNDS, Arena, arena
from tests.adversaries.forgery import ENVELOPES, MODELS, Forgery
from tests.adversaries.rogue import Rogue
from tests.anvil import ACCOUNTS, Anvil, deploy, start_anvil
from tests.crash.births import Nursery
from tests.system.company import COLLATERAL, REWARD, Company
from tests.system.recompute import sha256


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Nursery(tmp_path_factory.mktemp("nursery")) as found:
        yield found


@pytest.fixture(scope="module")
def anvil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    with start_anvil(tmp_path_factory.mktemp("anvil"), chain_id=31337) as running:
        yield running


@pytest.fixture(scope="module", params=[(ENVELOPES, 2), (MODELS, 6)], ids=["envelopes", "models"])
def played(request: pytest.FixtureRequest, nursery: Nursery, anvil: Anvil,
           tmp_path_factory: pytest.TempPathFactory) -> Arena:
    """A whole task. In rounds 1 and 2 half of the roster but one opens forgeries; the second time is their last."""
    forgeries, rounds = request.param
    company = Company(anvil, deploy(anvil.url).factory, tmp_path_factory.mktemp("company"))
    found = arena(company, nursery, gang_of(forgeries), honest=len(forgeries) // 2 + 1, rounds=rounds)
    found.play()
    return found


def gang_of(forgeries: Sequence[Forgery]) -> list[Rogue]:
    """Each opens two of them."""
    pairs = zip(forgeries[::2], forgeries[1::2], strict=True)
    return [Rogue(account, {1: one, 2: other}) for account, (one, other) in zip(ACCOUNTS[1:], pairs, strict=False)]


def test_every_honest_worker_says_who_published_what_and_why_it_does_not_count(played: Arena) -> None:
    for worker in played.workers:
        for rogue in played.gang.rogues:
            for round, forgery in rogue.plan.items():
                (line,) = worker.said("update.rejected", sender=rogue.account, round=round)
                assert forgery.reason in line["reason"], forgery.name
                assert line["level"] == "warning"
        guilty = {rogue.account for rogue in played.gang.rogues}
        assert {line["sender"] for line in worker.said("update.rejected")} == guilty


def test_no_forgery_is_averaged_and_everybody_ends_with_the_same_model(played: Arena) -> None:
    """Every base and the final model are the mean of the honest models, recomputed here from their envelopes."""
    honest = sum(1 << played.index(worker.address) for worker in played.workers)
    assert [event.accepted for event in played.of(ev.RoundScored)] == [honest] * (len(played.bases) - 1)
    for event in played.of(ev.ModelCommitted):
        if played.honest(event.worker):
            assert event.base_hash == sha256(played.bases[event.round])
    final = sha256(played.bases[max(played.bases)])
    votes = {(event.worker, event.final_hash) for event in played.of(ev.FinalAttested)}
    assert votes == {(worker.address, final) for worker in played.workers}
    assert sha256(played.requester.home.result(played.task.address).read_bytes()) == final
    assert played.codes == {party.home.root.name: 0 for party in played.agents}


def test_the_culprits_pay_for_it_and_nobody_else_loses_a_wei(played: Arena) -> None:
    fines = {(e.worker, e.round, e.reason) for e in played.of(ev.WorkerPenalized)}
    assert fines == {(rogue.account, round, Fault.INVALID) for rogue in played.gang.rogues for round in (1, 2)}
    for rogue in played.gang.rogues:
        assert sum(e.amount for e in played.of(ev.WorkerPenalized) if e.worker == rogue.account) == COLLATERAL
        assert played.earned(rogue.account) == 0
    for worker in played.workers:
        wealth = worker.balance() + played.company.anvil.burnt_for_gas(worker.address)
        assert wealth == FUNDS + played.earned(worker.address)
    refund = sum(e.amount for e in played.of(ev.Refunded))
    earned = sum(played.earned(worker.address) for worker in played.workers)
    burned = sum(e.amount for e in played.of(ev.Burned))
    assert earned + refund + burned == REWARD + COLLATERAL * len(played.gang.rogues)
    assert earned > REWARD, "what the culprits lost went to the honest"
    assert played.company.locked(played.task) == 0


def test_nothing_hostile_is_left_in_any_home(played: Arena) -> None:
    """What could not be opened never came among the models; what was no model is cleared with its round."""
    assert played.left_behind() == []
    ours = {sha256(content).hex() for content in (*played.bases.values(), *played.models.values())}
    for party in played.agents:
        held = {path.stem: path for path in (played.network(party) / "models").iterdir()}
        assert held
        assert held.keys() <= ours
        assert all(sha256(path.read_bytes()).hex() == name for name, path in held.items())
