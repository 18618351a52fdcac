"""What a transaction did, in sentences."""

from __future__ import annotations

import pytest

from agents.cli.earnings import movements
from bfl_events.schema import Record, Wei, WorkerPenalized
from bfl_events.settlement import Fault
from tests.core.tasks import BEGAN, TASK, account, task

TX = b"t" * 32


@pytest.mark.parametrize(("amount", "lost"), [(0, "lost nothing yet in round 2"), (10**17, "lost 0.1 ether")])
def test_a_low_model_is_a_warning_first_and_then_costs(amount: int, lost: str) -> None:
    low = WorkerPenalized(2, account(1), Fault.LOW, Wei(amount), Wei(10**18 - amount), 0)
    (said,) = movements(task(), [Record(7, b"b" * 32, BEGAN, 0, TX, TASK, low)], TX)
    assert lost in said
    assert "maxLow rounds of that in a row cost collateral" in said
