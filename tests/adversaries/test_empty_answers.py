"""A member whose model counts, but opens for all except one; who asks for it gets an answer from that member first, and
nothing is there. The victim loses nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from bfl_events import schema as ev
from bfl_events.commitment import address_bytes
from bfl_events.rules import CONTROL_LANES, pack_row
from bfl_events.schema import Phase
from tests.adversaries.arena import FUNDS, arena
from tests.adversaries.forgery import Forgery, two_content_keys, written
from tests.adversaries.rogue import Gang, Rogue
from tests.anvil import ACCOUNTS, CID, NodeError, deploy, start_anvil
from tests.crash.births import Nursery
from tests.crash.workbench import CLASSES, FEATURES, Workbench, drawn
from tests.system.company import Company
from tests.system.recompute import floats, sha256

NEED_MODEL, HERE_MODEL = 1, 2


@dataclass
class Denier(Gang):
    """One rogue, that scores fairly, answers every question at once with a CID that nobody has, and attests."""

    notices: Callable[[], list[ev.Notice]]
    answered: set[tuple[str, bytes, int]] = field(default_factory=set)

    def act(self, bases: Mapping[int, bytes]) -> None:
        (rogue,) = self.rogues
        for event in self.notices():
            asked = (event.sender, event.ref, event.round)
            if event.kind == NEED_MODEL and asked not in self.answered:
                self.answered.add(asked)
                self._send(rogue, "notice", HERE_MODEL, event.round, event.sender, event.ref, CID)
        if self.task.call("core")[0] == Phase.ATTEST and max(bases) > 1:
            with suppress(NodeError):          # it has, already
                self._send(rogue, "attestFinal", sha256(bases[max(bases)]), CID)
        super().act(bases)

    def _lies(self, rogue: Rogue, lanes: int) -> tuple[int, ...]:
        row = [9000] * lanes
        row[CONTROL_LANES + rogue.index] = 0
        return pack_row(row)


def trained(base: bytes) -> bytes:
    """A model as good as anybody's."""
    optimizer = SimpleNamespace(learning_rate=0.5)
    desk = SimpleNamespace(parts=SimpleNamespace(train=drawn("train rogue")),
                           settings=SimpleNamespace(training=SimpleNamespace(optimizer=optimizer)))
    _, values = floats(base)
    model = {"b": values[:CLASSES], "w": values[CLASSES:].reshape(CLASSES, FEATURES)}
    for epoch in range(3):
        model = Workbench._step(desk, model, np.random.default_rng(epoch))
    return written(model)


def test_an_empty_answer_to_who_was_left_out_costs_it_nothing(tmp_path: Path) -> None:
    with start_anvil(tmp_path, chain_id=31337) as anvil, Nursery(tmp_path) as nursery:
        victims: set[bytes] = set()
        serves = Forgery("serves all but one", "header tampered", two_content_keys(victims.__contains__), trained)
        company = Company(anvil, deploy(anvil.url).factory, tmp_path / "company")
        company.folder.mkdir()
        found = arena(company, nursery, [Rogue(ACCOUNTS[1], {1: serves})], honest=3, rounds=1, trainWindow=200)
        old, victim = found.gang, found.workers[-1]
        found.gang = Denier(company, old.task, old.rogues, old.readers, lambda: found.of(ev.Notice))
        victims.add(address_bytes(victim.address))
        found.play()
        assert serves.reason in victim.said("update.rejected", sender=ACCOUNTS[1])[0]["reason"]
        (scored,) = found.of(ev.RoundScored)
        assert scored.accepted == 0b1111, "the model counts, and the victim needs it"
        final = sha256(found.bases[2])
        assert {event.final_hash for event in found.of(ev.FinalAttested)} == {final}
        assert victim.address in {event.worker for event in found.of(ev.FinalAttested)}
        assert sha256(found.requester.home.result(found.task.address).read_bytes()) == final
        honest = {worker.address for worker in found.workers}
        assert not honest & {event.worker for event in found.of(ev.WorkerPenalized)}
        wealth = victim.balance() + anvil.burnt_for_gas(victim.address)
        assert wealth == FUNDS + found.earned(victim.address)
        empty = [event for event in found.of(ev.Notice) if event.kind == HERE_MODEL and event.sender == ACCOUNTS[1]]
        assert empty, "it was answered with nothing first"
        assert found.left_behind() == []
